"""Reading the topic of the announced visits: a thread of its own, beside the alerts and never in their way."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from stream import metrics
from stream.alert import Records
from stream.clock import Clock
from stream.commit import ledger
from stream.commit.announced import SINK, store
from stream.commit.batch import OffsetRange
from stream.commit.identity import stream_number
from stream.errors import Fatal, Fenced, Held, Poison, SkyburstError
from stream.log import Log
from stream.tables.limits import Limit, limits
from stream.tables.trouble import translate
from stream.transport.announcements import Announcement, VisitOpened, decode_announcement
from stream.transport.source import Partition, PartitionTrouble, Source

POLL_RECORDS, POLL_S, RETRY_S = 1000, 0.2, 5.0
JOIN_S = 5.0
"""Seconds after which a reader that was given no partition takes it that others have them all."""
FOR_GOOD = frozenset({"level1_instance", "instance_taken", "broker_fatal"})
"""What no waiting ends: the database is another one, or this reader of the topic is dead."""

_log = Log("consumers.ingest.announcements")
T = TypeVar("T")


@dataclass(slots=True)
class Announcements:
    """One reader of the topic; several daemons share its partitions as they share those of the alerts.

    Attributes
    ----------
    instance
        The database's instance id that this daemon began with.
    """

    source: Source
    topic: str
    engine: AsyncEngine
    instance: str
    clock: Clock
    loop: asyncio.AbstractEventLoop
    _stop: threading.Event = field(default_factory=threading.Event)
    _number: int = 0
    _next: dict[Partition, int] = field(default_factory=dict)
    _unplaced: set[Partition] = field(default_factory=set)
    _held: dict[Partition, float] = field(default_factory=dict)
    _begun: float = field(init=False)
    _joined: bool = False
    _said: str = ""
    _at_end: bool = False

    def __post_init__(self) -> None:
        self._begun = self.clock.monotonic()

    @property
    def at_end(self) -> bool:
        """Whether everything announced that can be read is stored; True also where there is no such topic."""
        return self._at_end

    def stop(self) -> None:
        """End the thread after what it does just now."""
        self._stop.set()

    def run(self) -> None:
        """The thread's body. What is in its way is waited for: alerts are taken all the same.

        Raises
        ------
        Fatal
            ``level1_instance``: another database stands at the URL, and nothing of this daemon goes into it.
            ``instance_taken``, ``broker_fatal``: librdkafka gives nothing any more.
        """
        try:
            self._until_done(self._subscribe)
            while not self._stop.is_set():
                self._until_done(self._turn)
        finally:
            self.source.close()

    def _until_done(self, work: Any) -> None:
        while not self._stop.is_set():
            try:
                work()
            except (SkyburstError, SQLAlchemyError, OSError) as error:
                self._at_end = True
                self._say(error)
                self._stop.wait(RETRY_S)
                continue
            return

    def _say(self, error: BaseException) -> None:
        """Log what is in the way, once as long as it is the same; raise what waiting does not end."""
        cause = translate(error)
        if isinstance(cause, Fatal) and cause.code in FOR_GOOD:
            raise cause from error
        if cause.code != self._said:
            _log.warning("announcements_wait", error=cause, topic=self.topic)
        self._said = cause.code

    def _subscribe(self) -> None:
        self.source.subscribe([self.topic], self._on_assign, self._on_leave, self._on_leave)

    def _turn(self) -> None:
        before = self.clock.monotonic() - RETRY_S
        due = self._unplaced | {part for part, at in self._held.items() if part not in self._next and at <= before}
        if due:
            for (topic, partition), offset in self._place(tuple(due)).items():
                self.source.seek(topic, partition, offset)
        records = self.source.poll(POLL_RECORDS, POLL_S)
        try:
            self._take(records)
        except Fenced as fenced:
            _log.warning("announcements_fenced", error=fenced)
            self._again()
        except BaseException:
            self._again()
            raise
        # What came before a trouble is stored: the partition starts again behind it.
        for trouble in self.source.troubles():
            self._trouble(trouble)
        ends = self.source.ends()
        for part in self._held.keys() & ends.keys():
            del self._held[part]
        joined = self._joined or self.clock.monotonic() - self._begun > JOIN_S
        read = self._next.keys() - self._held.keys()
        self._at_end = joined and not self._unplaced and all(part in ends for part in read)

    def _trouble(self, trouble: PartitionTrouble) -> None:
        """Step over what expired; place the partition again after a while where it is anything else."""
        part = (trouble.topic, trouble.partition)
        metrics.RETRIES.add(1, code=trouble.code)
        _log.error("announcements_held", code=trouble.code, topic=part[0], partition=part[1], message=trouble.detail)
        if trouble.missing is not None and trouble.code == "offsets_expired":
            self.source.seek(*part, trouble.missing[1])
        elif self._next.pop(part, None) is not None:
            self._held[part] = self.clock.monotonic()

    def _take(self, records: Sequence[Records]) -> None:
        told: list[Announcement] = []
        counts: Counter[Partition] = Counter()
        behind: dict[Partition, int] = {}
        for one in records:
            for partition, offset, value in zip(one.partition.tolist(), one.offset.tolist(), one.values, strict=True):
                part = (one.topic, partition)
                if part in self._next and offset >= self._next[part]:
                    counts[part] += value is not None
                    behind[part] = offset + 1
                    told += self._read(part, offset, value)
        reading = self.source.reading()
        ends = {part: self.source.position(*part) if part in reading else end for part, end in behind.items()}
        if not ends:
            return
        ranges = [OffsetRange(self._number, p[1], self._next[p], end, counts[p]) for p, end in sorted(ends.items())]
        self._ask(store(self.engine, told, ranges, self.instance, self.clock.now()))
        self._next |= ends
        for part in ends:
            self._held.pop(part, None)
        self._said = ""
        self.source.commit(ends)

    def _read(self, part: Partition, offset: int, value: bytes | None) -> list[Announcement]:
        if value is None:
            return []
        try:
            return [_storable(decode_announcement(value))]
        except Poison as poison:
            _log.error("announcement_refused", error=poison, topic=part[0], partition=part[1], offset=offset)
            return []

    def _again(self) -> None:
        """Read from the ledger's places on, at the next turn."""
        self._unplaced.update(self._next)
        self._next.clear()

    def _on_assign(self, parts: Sequence[Partition]) -> Mapping[Partition, int]:
        self._joined = True
        try:
            return self._place(parts)
        except (SkyburstError, SQLAlchemyError, OSError) as error:
            self._say(error)
            self._unplaced.update(parts)
            return {}

    def _place(self, parts: Sequence[Partition]) -> Mapping[Partition, int]:
        lows = self._lows(parts)
        if not lows:
            return {}
        self._number = self._ask(stream_number(self.engine, self.source.stream_of(self.topic), self.instance))
        starts = {(self._number, partition): low for (_, partition), low in lows.items()}
        found = self._ask(ledger.begin(self.engine, starts, self.instance, SINK))
        places = {part: found[self._number, part[1]] for part in lows}
        self._next |= places
        self._unplaced.difference_update(places)
        return places

    def _lows(self, parts: Sequence[Partition]) -> dict[Partition, int]:
        """Where the log of each begins; what is not there is asked for later.

        A topic that was made again may have fewer: until the group knows, they are ours, and the others go on.
        """
        lows: dict[Partition, int] = {}
        for part in parts:
            try:
                lows[part] = self.source.watermarks(*part)[0]
            except Held as held:
                self._say(held)
                self._unplaced.discard(part)
                self._held[part] = self.clock.monotonic()
        return lows

    def _on_leave(self, parts: Sequence[Partition]) -> None:
        for part in parts:
            self._next.pop(part, None)
            self._held.pop(part, None)
            self._unplaced.discard(part)

    def _ask(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()


def _storable(told: Announcement) -> Announcement:
    """What the tables hold of it: NaN and infinities are none.

    Raises
    ------
    Poison
        ``too_long``, ``out_of_range``: the server would refuse it, and with it the whole transaction.
    """
    into = limits("visits" if isinstance(told, VisitOpened) else "detector_closed")
    for name, value in asdict(told).items():
        limit = limits("surveys")["name"] if name == "survey" else into.get(name)
        if limit is not None:
            _fit(name, value, limit)
    if isinstance(told, VisitOpened):
        return replace(told, endOfReadout=_finite(told.endOfReadout), standsForNow=_finite(told.standsForNow))
    return told


def _fit(name: str, value: object, limit: Limit) -> None:
    if isinstance(value, str) and limit.length is not None and len(value) > limit.length:
        raise Poison("too_long", f"{name} has {len(value)} characters, more than {limit.length}")
    least, most = limit.least, limit.most
    if isinstance(value, int) and least is not None and most is not None and not least <= value <= most:
        raise Poison("out_of_range", f"{name} is {value}, not within {least} and {most}")


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
