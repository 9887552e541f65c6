"""Polling: the one thread that owns the consumer, and hands what it gets to the event loop."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, TimeoutError
from typing import Protocol

import numpy as np

from consumers.ingest.batches import Assigned, Flush, News, Polled, Troubled, Unassigned
from consumers.ingest.places import LATER
from consumers.ingest.silent import Silent
from consumers.ingest.window import Window
from stream import metrics
from stream.alert import Records
from stream.clock import Clock, Deadline
from stream.errors import Held, SkyburstError, Transient
from stream.log import Log
from stream.transport.source import Partition, Source

POLL_RECORDS = 4000
POLL_BYTES = 8 << 20
POLL_S = 0.05
STALL_S = 2.0
LAG_S = 5.0
LAG_BUDGET_S = 2.0
"""Seconds that one round of asking for the lag may take: partitions without a leader answer late."""
LAG_PART_S = 1.0
RETRY_S = 0.5
LONGEST_RETRY_S = 10.0
WORTH = 10
"""Places are asked for again only so many times later than their last round took: nothing is polled meanwhile."""

_log = Log("consumers.ingest.poller")


class Keeper(Protocol):
    """What the polling thread asks of the event loop; every call blocks this thread."""

    def places(self, source: Source, parts: Sequence[Partition]) -> Mapping[Partition, int]:
        """The ledger's place of each partition that may be read now, `LATER` where it cannot be told yet.

        What is held is left out. A partition of -1 asks whether its whole topic can be read again. No parts tell that
        nobody waits for an answer any more.
        """
        ...

    def dropped(self) -> None:
        """Partitions were lost, or did not drain in time: drop what is in flight, start again from the ledger."""
        ...


class Poller:
    """Polls within the window of bytes in flight, and pauses where the stall is long.

    Parameters
    ----------
    post
        Takes news in order, from this thread.
    revoke_s
        Seconds that a revoke waits for what is in flight.
    """

    def __init__(
        self,
        source: Source,
        topics: Sequence[str],
        window: Window,
        keeper: Keeper,
        post: Callable[[News], None],
        clock: Clock,
        *,
        revoke_s: float,
    ) -> None:
        self._source = source
        self._topics = topics
        self._window = window
        self._keeper = keeper
        self._post = post
        self._clock = clock
        self._revoke_s = revoke_s
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._generation = 0
        self._position: dict[Partition, int] = {}
        self._stop = threading.Event()
        self._quiet = threading.Event()
        self._held: set[Partition] = set()
        self._unplaced: set[Partition] = set()
        self._trial: set[Partition] = set()
        self._silent = Silent(LAG_PART_S)
        self._stalling = False
        self._ledger: dict[Partition, int] = {}
        self._lags: dict[Partition, int] = {}
        self._asked = self._again = clock.monotonic()
        self._at_end = False
        self._ended: frozenset[Partition] = frozenset()
        self._away: str | None = None
        self.turned = clock.monotonic()

    def restart(self, generation: int) -> None:
        """Read every assigned partition from the ledger's place on, as `generation`. Any thread."""
        self._commands.put(lambda: self._restart(generation))

    def resume(self, parts: Sequence[Partition]) -> None:
        """Read partitions that were held from the ledger's place on. Any thread."""
        self._commands.put(lambda: self._resume(parts))

    def hold(self, parts: Sequence[Partition]) -> None:
        """Read no more of `parts` until `resume` or `restart`. Any thread."""
        self._commands.put(lambda: self._hold(parts))

    def tell(self, offsets: Mapping[Partition, int]) -> None:
        """Commit offsets to Kafka, for lag tools (step 4). Any thread."""
        self._commands.put(lambda: self._committed(offsets))

    def quiet(self, on: bool) -> None:
        """Stop taking records, but stay in the group; or take them again."""
        if on:
            self._quiet.set()
        else:
            self._quiet.clear()

    def lags(self) -> dict[Partition, int]:
        """Offsets between each partition's place in the ledger and the log's end, as last asked. Any thread."""
        return dict(self._lags)

    @property
    def away(self) -> str | None:
        """Why the broker cannot be reached just now; None while it can. Any thread."""
        return self._away

    @property
    def unplaced(self) -> frozenset[Partition]:
        """The partitions that are ours and whose place cannot be told yet. Any thread."""
        return frozenset(self._unplaced)

    @property
    def at_end(self) -> bool:
        """Whether every partition that is read stands at its end; those that are held or on trial do not count."""
        return self._at_end

    @property
    def ended(self) -> frozenset[Partition]:
        """The partitions that are read and stand at their end. Any thread."""
        return self._ended

    def stop(self) -> None:
        """End the thread: leave the group and close."""
        self._stop.set()
        self._window.wake()

    def run(self) -> None:
        """The thread's body."""
        try:
            self._subscribe()
            while not self._stop.is_set():
                self.turned = self._clock.monotonic()
                self._obey()
                self._place_again()
                if self._quiet.is_set() or not self._window.wait_below(self._window.limit, STALL_S):
                    self._stalled()
                    continue
                self._take(self._source.poll(POLL_RECORDS, POLL_S, POLL_BYTES))
        finally:
            self._source.close()

    def _subscribe(self) -> None:
        while not self._stop.is_set():
            try:
                self._source.subscribe(self._topics, self._on_assign, self._on_revoke, self._on_lost)
            except Transient as error:
                self._waits(error)
                self._stop.wait(RETRY_S)
                continue
            return

    def _waits(self, error: SkyburstError) -> None:
        self._away = str(error)
        _log.warning("broker_waits", error=error)

    def _obey(self) -> None:
        while True:
            try:
                command = self._commands.get_nowait()
            except queue.Empty:
                return
            command()

    def _take(self, records: list[Records]) -> None:
        self._away = self._source.away()
        kept: list[Records] = []
        moved: dict[Partition, int] = {}
        for one in records:
            metrics.arrived(one.topic, len(one), one.nbytes)
            mine = self._ours(one)
            if len(mine):
                kept.append(mine)
                moved.update(self._behind(mine))
        ends = self._source.ends()
        for part, end in ends.items():
            if part in self._position and end > moved.get(part, self._position[part]):
                moved[part] = end
        if moved:
            nbytes = sum(one.nbytes for one in kept)
            self._position.update(moved)
            self._trial.difference_update(moved)
            polled = Polled(self._generation, tuple(kept), moved, nbytes, self._clock.monotonic())
            self._window.take(polled.held)
            self._post(polled)
        self._trial.difference_update(ends)
        known = not self._unplaced and not self._source.joining()
        self._at_end = known and all(part in ends for part in self._position.keys() - self._trial)
        self._ended = frozenset(part for part in self._position if part in ends)
        troubles = self._source.troubles()
        if troubles:
            self._post(Troubled(tuple(troubles)))
        if self._clock.monotonic() - self._asked >= LAG_S:
            self._asked = self._clock.monotonic()
            self._measure_lag()

    def _ours(self, one: Records) -> Records:
        """What lies behind the places that were told: until it is placed again, a partition is read where it was."""
        rows = np.zeros(len(one), np.bool_)
        for partition in set(one.partition.tolist()):
            place = self._position.get((one.topic, partition))
            if place is not None:
                rows |= (one.partition == partition) & (one.offset >= place)
        return one if rows.all() else one.take(np.flatnonzero(rows))

    def _behind(self, one: Records) -> dict[Partition, int]:
        """The consumer's position behind these records; that of a partition which stopped behind them is gone."""
        reading = self._source.reading()
        found = {}
        for partition in set(one.partition.tolist()):
            part = (one.topic, partition)
            if part in reading:
                found[part] = self._source.position(*part)
            else:
                found[part] = int(one.offset[one.partition == partition].max()) + 1
        return found

    def _go_to(self, places: Mapping[Partition, int]) -> None:
        self._position.update(places)
        self._ledger.update(places)

    def _committed(self, offsets: Mapping[Partition, int]) -> None:
        self._source.commit(offsets)
        self._ledger.update({part: end for part, end in offsets.items() if end > self._ledger.get(part, end)})

    def _measure_lag(self) -> None:
        """Also of what is held, or waits for its commit: from the ledger's place."""
        lags = {part: lag for part, lag in self._lags.items() if part in self._ledger}
        told, _ = self._silent.ask(self._source, self._ledger, Deadline.after(self._clock, LAG_BUDGET_S))
        self._lags = lags | {part: max(0, high - self._ledger[part]) for part, (_, high) in told.items()}

    def _stalled(self) -> None:
        """Nothing can be taken for long: stay in the group with everything paused, go on at half."""
        parts = self._source.assigned() - self._held
        self._stalling = True
        self._source.pause(parts)
        metrics.PAUSED_PARTITIONS.set(len(parts))
        _log.info("polling_paused", inflight_bytes=self._window.taken, partitions=len(parts))
        while not self._stop.is_set():
            self.turned = self._clock.monotonic()
            self._obey()
            self._place_again()
            self._take(self._source.poll(POLL_RECORDS, POLL_S, POLL_BYTES))
            if not self._quiet.is_set() and self._window.wait_below(max(1, self._window.limit // 2), POLL_S):
                break
        self._stalling = False
        self._source.unpause(self._position.keys())
        metrics.PAUSED_PARTITIONS.set(0)

    def _restart(self, generation: int) -> None:
        self._generation = generation
        self._position.clear()
        self._resume(tuple(self._source.assigned()))

    def _resume(self, parts: Sequence[Partition]) -> None:
        assigned = self._source.assigned()
        mine = [part for part in parts if part in assigned or part[1] < 0]
        start = self._places(mine) if mine else {}
        self._post(Assigned(self._generation, start))
        self._source.pause([part for part in mine if part in assigned and (self._stalling or part not in start)])
        for (topic, partition), offset in start.items():
            self._source.seek(topic, partition, offset)
        self._go_to(start)
        self._trial.update(self._held & start.keys())
        self._held -= start.keys()
        if not self._stalling:
            self._source.unpause(start.keys())
        self._hold([part for part in mine if part not in start and part not in self._unplaced])

    def _places(self, parts: Sequence[Partition]) -> Mapping[Partition, int]:
        """The ledger's place of each part; none where it cannot be told yet: those are tried again."""
        begun = self._clock.monotonic()
        try:
            told = self._keeper.places(self._source, parts)
        except (Transient, Held) as error:
            # Held, too: a broker that has just come back does not know its topics for a moment.
            told = dict.fromkeys(parts, LATER)
            # Without the ledger or the whole broker nothing else goes on either: no reason to wait long.
            begun = self._clock.monotonic()
            _log.warning("places_wait", error=error)
        late = {part for part, place in told.items() if place == LATER}
        self._unplaced = (self._unplaced - set(parts)) | late
        if late:
            now = self._clock.monotonic()
            self._again = now + min(LONGEST_RETRY_S, max(RETRY_S, WORTH * (now - begun)))
        return {part: place for part, place in told.items() if place != LATER}

    def _place_again(self) -> None:
        if self._unplaced and self._clock.monotonic() >= self._again:
            self._resume(tuple(self._unplaced))

    def _hold(self, parts: Sequence[Partition]) -> None:
        fresh = [part for part in parts if part in self._source.assigned() and part not in self._held]
        self._source.pause(fresh)
        self._held.update(fresh)
        for part in fresh:
            self._position.pop(part, None)
            self._trial.discard(part)

    def _on_assign(self, parts: Sequence[Partition]) -> Mapping[Partition, int]:
        start = self._places(parts)
        self._held.update(part for part in parts if part not in start and part not in self._unplaced)
        self._go_to(start)
        if self._stalling:
            self._source.pause(parts)
        self._post(Assigned(self._generation, start))
        metrics.ASSIGNED_PARTITIONS.set(len(self._source.assigned()))
        metrics.REBALANCES.add(1, event="assigned")
        _log.info("assigned", partitions=len(parts), held=len(parts) - len(start))
        return start

    def _on_revoke(self, parts: Sequence[Partition]) -> None:
        metrics.REBALANCES.add(1, event="revoked")
        done: Future[None] = Future()
        self._post(Flush(done))
        try:
            done.result(self._revoke_s)
        except TimeoutError:
            _log.warning("revoke_deadline", code="revoke_deadline", partitions=len(parts))
            self._keeper.dropped()
        self._forget(parts)

    def _on_lost(self, parts: Sequence[Partition]) -> None:
        metrics.REBALANCES.add(1, event="lost")
        _log.warning("partitions_lost", code="partitions_lost", partitions=len(parts))
        self._keeper.dropped()
        self._forget(parts)

    def _forget(self, parts: Sequence[Partition]) -> None:
        asked = bool(self._unplaced)
        for part in parts:
            self._position.pop(part, None)
            self._ledger.pop(part, None)
            for some in (self._held, self._unplaced, self._trial):
                some.discard(part)
        if asked and not self._unplaced:
            self._keeper.places(self._source, ())
        self._silent.forget(parts)
        metrics.ASSIGNED_PARTITIONS.set(len(self._source.assigned().difference(parts)))
        self._lags = {part: lag for part, lag in self._lags.items() if part in self._ledger}
        self._post(Unassigned(frozenset(parts)))
