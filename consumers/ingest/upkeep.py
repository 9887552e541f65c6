"""What the daemon does beside committing: sealing, takeover, sweeping, the disk's room, second tries."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.ingest.last_partition import LastPartition
from consumers.ingest.outcome import Outcome
from consumers.ingest.window import Window
from stream import metrics
from stream.alertdb.port import SegmentStore
from stream.alertdb.segment import SegmentRef
from stream.clock import Clock
from stream.commit.failpoints import Failpoints
from stream.commit.sealing import seal
from stream.commit.segments import Mine, OpenSegments
from stream.commit.sweep import Sweeper
from stream.commit.takeover import left_behind, take_over, take_over_own
from stream.errors import Fatal, SkyburstError, Transient
from stream.log import Log
from stream.tables.trouble import translate

_log = Log("consumers.ingest.upkeep")

TURN_S = 0.5
SETTLED_S = 2.0
"""Seconds that a turn waits for the moment between two commits."""
IDLE_SEAL_S = 600.0
SWEEP_RESTS = 9.0
"""Times as long as a sweep took before the next: to list an object store that keeps years takes minutes."""
FOREIGN, SET_BACK = "foreign_files", "set_back"
INDEX_SEAL_BYTES = 24 << 20
"""Bytes of an open index at which a segment is sealed: sealing holds the whole index in memory, twice as many bytes."""


@dataclass(slots=True)
class Upkeep:
    """Runs beside the pipeline; a failure here waits for its next turn, and loses nothing.

    Attributes
    ----------
    segment_bytes
        Size at which a segment is sealed.
    heartbeat_s, abandoned_s
        Seconds between heartbeats, and seconds without one after which a segment is sealed for its owner.
    reserve_bytes
        Free bytes below which readiness is false, and that a copy of a segment must leave.
    """

    engine: AsyncEngine
    store: SegmentStore
    segments: OpenSegments
    sweeper: Sweeper
    outcome: Outcome
    window: Window
    last_partition: LastPartition
    clock: Clock
    failpoints: Failpoints
    survey: int
    segment_bytes: int
    heartbeat_s: float
    abandoned_s: float
    reserve_bytes: int
    leaving: list[tuple[Mine, str]] = field(default_factory=list)
    _ending: asyncio.Event = field(default_factory=asyncio.Event)
    _turning: bool = False
    _looked: float = -1e9
    _sweeps: float = -1e9

    async def run(self) -> None:
        """Turn until told to end. Not to be cancelled in the middle of a turn: a segment is sealed by one thread."""
        while not await _passed(self._ending, TURN_S):
            self._turning = True
            await self._seal_due()
            await self._hear()
            await self._try("lateness", self._lateness)
            await self._try("left_behind", self._left_behind)
            await self._try("room", self._room)
            await self._try("last_partition", self.last_partition.look)
            self._turning = False

    async def retry(self) -> None:
        """Try held partitions again and again, whatever a turn waits for. May be cancelled."""
        while True:
            await self.outcome.retry_held()
            await asyncio.sleep(TURN_S)

    def end(self) -> None:
        """End after this turn."""
        self._ending.set()

    def leave(self, mine: Mine, error: SkyburstError) -> None:
        """A segment of ours was fenced, or its disk failed: the committer appends to it no more."""
        self.leaving.append((mine, error.code))

    async def finish(self) -> None:
        """Seal all segments: shutdown. None where a commit or a seal is cut short: others will seal them."""
        if self.segments.unsettled or self._turning:
            _log.warning("left_open", segments=sum(1 for _ in self.segments))
            return
        for mine in self.segments:
            self.segments.forget(mine.number)
            self.leaving.append((mine, "shutdown"))
        await self._seal_leaving()

    async def _try(self, what: str, work: Callable[[], Awaitable[None]]) -> bool:
        try:
            await work()
        except (SQLAlchemyError, OSError, SkyburstError) as error:
            cause = translate(error)
            if isinstance(cause, Fatal):
                raise cause from error
            _log.warning("upkeep_waits", error=cause, what=what)
            return False
        return True

    def _due(self) -> list[tuple[Mine, str]]:
        now = self.clock.monotonic()
        full = [(m, "full") for m in self.segments if self._is_full(m.segment.ref)]
        return full + [(m, "night") for m in self.segments if now - m.used > IDLE_SEAL_S]

    def _is_full(self, ref: SegmentRef) -> bool:
        return ref.data_length >= self.segment_bytes or ref.index_length >= INDEX_SEAL_BYTES

    async def _seal_due(self) -> None:
        if self._due():
            try:
                async with asyncio.timeout(SETTLED_S), self.segments.at_rest():
                    # Sealing cuts the file to its published length: never while a commit's outcome is open, as that
                    # of one which was cut short is for good.
                    for mine, reason in [] if self.segments.unsettled else self._due():
                        if self.segments.forget(mine.number) is not None:
                            self.leaving.append((mine, reason))
            except TimeoutError:
                _log.debug("seal_waits")
        await self._seal_leaving()

    async def _seal_leaving(self) -> None:
        for mine, reason in tuple(self.leaving):
            if await self._try("seal", partial(self._let_go, mine, reason)):
                self.leaving.remove((mine, reason))

    async def _let_go(self, mine: Mine, reason: str) -> None:
        if reason == "segment_fenced":
            await asyncio.to_thread(mine.segment.close)
        elif mine.segment.failed:
            await self._need_room(mine.segment.ref)
            await take_over_own(self.engine, self.store, mine, self.failpoints)
            metrics.SEGMENTS_SEALED.add(1, reason="failed")
        elif await seal(self.engine, self.store, mine, self.failpoints):
            metrics.SEGMENTS_SEALED.add(1, reason=reason)
            _log.info("sealed", segment=mine.number, reason=reason, bytes=mine.segment.ref.data_length)

    def give_time(self) -> None:
        """The database was away: the other daemons get the time to say that they live."""
        self._looked = self.clock.monotonic()

    async def _hear(self) -> None:
        """Ask the database, and note where it was away."""
        asked = self.clock.monotonic()
        answered = await self._try("allowance", self._allowance)
        if not answered or self.clock.monotonic() - asked >= self._between_looks_s:
            self.give_time()

    async def _allowance(self) -> None:
        self.outcome.allowed(await self.outcome.allowance.ask(self.engine, self.survey))

    async def _lateness(self) -> None:
        await self.outcome.lateness.look_up(self.clock.now())

    @property
    def _between_looks_s(self) -> float:
        """No less than a heartbeat."""
        return self.abandoned_s / 3

    async def _left_behind(self) -> None:
        if self.clock.monotonic() - self._looked < self._between_looks_s:
            return
        self._looked = self.clock.monotonic()
        for row in await left_behind(self.engine, self.abandoned_s, self.segments.daemon.id):
            await self._try("take_over", partial(self._take_over, row))
        if self._looked >= self._sweeps:
            await self._sweep()

    async def _sweep(self) -> None:
        mine = frozenset(m.number for m in self.segments) | {m.number for m, _ in self.leaving}
        began = self.clock.monotonic()
        gone = await self.sweeper.sweep(mine)
        ended = self.clock.monotonic()
        self._sweeps = ended + SWEEP_RESTS * (ended - began)
        metrics.ORPHAN_SEGMENTS.set(self.sweeper.orphans)
        self._tell(self.sweeper.foreign, self.sweeper.set_back)
        if gone:
            _log.info("swept", files=len(gone))

    def _tell(self, files: int, set_back: bool) -> None:
        text = f"{files} files in the AlertDB were written for another database, and stay" if files else None
        older = "Level-1 is an older state than the AlertDB: nothing without a row is swept" if set_back else None
        for code, said in ((FOREIGN, text), (SET_BACK, older)):
            before = {warning.code for warning in self.outcome.health.warnings()}
            self.outcome.health.warn(code, said)
            if said and code not in before:
                _log.warning(code, code=code, message=said)

    async def _need_room(self, ref: SegmentRef) -> None:
        """A copy that does not fit would fill the disk until it is given up, and live commits would find it full."""
        free, wanted = await asyncio.to_thread(self.store.free), ref.data_length + ref.index_length + self.reserve_bytes
        if free is not None and free < wanted:
            what = f"segment {ref.number} cannot be copied: {free} bytes free, {wanted} are wanted with the reserve"
            raise Transient("disk_full", what, "make room; it is copied then")

    async def _take_over(self, row: sa.Row[tuple[object, ...]]) -> None:
        await self._need_room(SegmentRef(row.segment, row.dataName, row.indexName, row.dataLength, row.indexLength))
        taken = await take_over(self.engine, self.store, row, self.failpoints)
        if taken is not None:
            metrics.SEGMENTS_SEALED.add(1, reason="takeover")
            _log.warning("taken_over", segment=taken.segment, copy=taken.copy, owner=taken.owner)

    async def _room(self) -> None:
        metrics.OPEN_SEGMENTS.set(sum(1 for _ in self.segments))
        free = await asyncio.to_thread(self.store.free)
        if free is not None:
            metrics.DISK_FREE.set(free)
            short = free < self.reserve_bytes
            text = f"{free} bytes free where segments are written, {self.reserve_bytes} are wanted" if short else None
            self.outcome.health.set("disk_reserve", text)


async def _passed(event: asyncio.Event, seconds: float) -> bool:
    """Wait for `event`, at most so long; whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
