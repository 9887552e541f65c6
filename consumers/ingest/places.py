"""Where to read from: the ledger's place of each partition, asked by the polling thread at every assignment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.ingest.holds import Holds, adopting
from consumers.ingest.silent import Silent
from stream.alert import Stream
from stream.clock import Clock, Deadline, SystemClock
from stream.commit import ledger
from stream.commit.identity import newest_generation, streams_of
from stream.commit.waiting import Tell, Waiter
from stream.errors import Held, SkyburstError, Transient
from stream.log import Log
from stream.tables.trouble import translate, translated
from stream.transport.source import Partition, Source

T = TypeVar("T")
Start = Literal["earliest", "latest"] | int
RETRY_S = 1.0
PLACES_S = 5.0
"""Seconds that one question to the ledger may take, and the questions of where logs begin: a rebalance waits for them,
and a member that does not poll for long is thrown out of the group."""
LOG_S = 2.0
LATER = -1
"""The place of a partition that cannot be told yet: it is asked for again."""

_log = Log("consumers.ingest.places")


@dataclass(slots=True)
class Places:
    """Gives the next offset of each partition; a partition that has none to give is held.

    Attributes
    ----------
    instance
        The database's instance id that this daemon began with.
    numbers, streams
        Each topic's stream number, and each number's stream: filled in here, read by the other stages.
    begins
        Where each place of the ledger began: filled in here, for the committer to tell in the files.
    start
        Where a partition without a ledger row begins; ``latest`` holds for those that a topic has when it is begun.
    """

    loop: asyncio.AbstractEventLoop
    engine: AsyncEngine
    instance: str
    holds: Holds
    tell: Tell
    start: Start
    numbers: dict[str, int]
    streams: dict[int, Stream]
    begins: dict[ledger.Place, int]
    stopped: Callable[[], bool] = lambda: False
    clock: Clock = field(default_factory=SystemClock)
    _waiter: Waiter = field(init=False)
    _silent: Silent = field(init=False)
    _bounds: dict[tuple[int, Partition], tuple[int, int]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._waiter, self._silent = Waiter(self.tell), Silent(LOG_S)

    def of(self, source: Source, parts: Sequence[Partition]) -> Mapping[Partition, int]:
        """Called in the polling thread: the ledger's places, `LATER` where they cannot be told; held ones are left out.

        A partition of -1 stands for a topic that was in trouble as a whole.

        Raises
        ------
        Transient
            The broker or the ledger does not answer.
        Fatal
            ``level1_instance``: a row was to be inserted, and the database is not the one that this daemon began with.
        """
        topics = self._topics(source, parts)
        parts = [part for part in parts if part[0] in topics and part[1] >= 0]
        if not parts:
            # What was asked for last may be gone: nobody waits for an answer any more.
            self.loop.call_soon_threadsafe(self._waiter.done)
            return {}
        known = self._ask(self._known(topics, parts))
        for part in parts:
            self.holds.bar(part, self.numbers[part[0]])
        missing = [part for part in parts if part not in known and part not in self.holds]
        if missing:
            begins = self._begins(source, missing)
            known = known | dict.fromkeys(missing, LATER)
            known |= self._ask(self._started(begins)) if begins else {}
        return {part: known[part] for part in parts if part in known and part not in self.holds}

    def _topics(self, source: Source, parts: Sequence[Partition]) -> dict[str, Stream]:
        """The topics as they are now; the partitions of one that is gone are held."""
        found: dict[str, Stream] = {}
        for topic in sorted({topic for topic, _ in parts}):
            try:
                found[topic] = source.stream_of(topic)
            except Held as error:
                for part in parts:
                    if part[0] == topic:
                        self.holds.hold(part, error.code, str(error), retry_s=RETRY_S)
            else:
                self.holds.release((topic, -1))
        return found

    def _ask(self, work: Coroutine[object, object, T]) -> T:
        """Done in the loop, and given up once it takes too long: what it writes it may write again."""
        asked = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return asked.result(PLACES_S)
        except TimeoutError:
            asked.cancel()
            raise Transient("level1_away", f"the ledger gave no place within {PLACES_S:.0f} s") from None

    def _begins(self, source: Source, parts: Sequence[Partition]) -> dict[Partition, int]:
        """Where partitions begin that the ledger has not had, as far as their brokers say so in time."""
        whole = self._passed_over(source, parts) if self.start == "latest" else {}
        together = {(topic, number) for topic, count in whole.items() for number in range(count)}
        # A round may end before all of a topic have answered: what was told stands until they have.
        kept = {part: self._bounds[key] for part in together if (key := self._stream_and(part)) in self._bounds}
        told, missed = self._silent.ask(source, {*parts, *together} - kept.keys(), Deadline.after(self.clock, PLACES_S))
        for part, error in missed.items():
            _log.warning("place_waits", error=error, topic=part[0], partition=part[1])
        told |= kept
        self._bounds = {self._stream_and(part): told[part] for part in together & told.keys()}
        short = {topic for topic, _ in together - told.keys()}
        told = {part: bounds for part, bounds in told.items() if part[0] not in short}
        if isinstance(self.start, int):
            return {part: self.start for part, (_, high) in told.items() if not self._beyond(part, self.start, high)}
        return {part: high if part[0] in whole else low for part, (low, high) in told.items()}

    def _stream_and(self, part: Partition) -> tuple[int, Partition]:
        """A partition of the topic as it is now: one that is made anew has another log."""
        return self.numbers[part[0]], part

    def _passed_over(self, source: Source, parts: Sequence[Partition]) -> dict[str, int]:
        """The topics that begin at their ends, and how many partitions each has: all of them begin at once.

        A partition that a topic gets later, when the daemon hears of it, has alerts already: it begins at its log's
        start.
        """
        counts: dict[str, int] = {}
        for topic, number in parts:
            counts[topic] = max(number + 1, counts.get(topic, 0) or source.partitions(topic))
        new = self._ask(self._never_begun(counts))
        return {topic: count for topic, count in counts.items() if topic in new}

    async def _never_begun(self, counts: Mapping[str, int]) -> set[str]:
        """The topics of which no partition, in no stream of their name, has a place."""
        found = set()
        with translated():
            for topic, count in counts.items():
                streams = await streams_of(self.engine, self.streams[self.numbers[topic]].cluster, topic)
                places = [(stream, number) for stream in streams for number in range(count)]
                if not await ledger.places(self.engine, places):
                    found.add(topic)
        return found

    def _beyond(self, part: Partition, start: int, end: int) -> bool:
        """Hold a partition that was to begin beyond its log: its next messages would be left out."""
        if start > end:
            text = f"it was to start at {start}, and the log ends at {end}: start at {end} or before"
            self.holds.hold(part, "start_beyond_log", text, missing=(end, start), retry_s=RETRY_S)
        return start > end

    async def _known(self, topics: Mapping[str, Stream], parts: Sequence[Partition]) -> dict[Partition, int]:
        while True:
            try:
                found = await self._read(topics, parts)
            except (SQLAlchemyError, OSError, SkyburstError) as error:
                cause = translate(error)
                if not isinstance(cause, Transient) or self.stopped():
                    raise cause from error
                await self._waiter.wait(cause)
                continue
            self._waiter.done()
            return found

    async def _read(self, topics: Mapping[str, Stream], parts: Sequence[Partition]) -> dict[Partition, int]:
        for topic, told in topics.items():
            # Asked each time: an operator may have begun a new generation.
            number, stream = await newest_generation(self.engine, told, self.instance)
            self.streams[number] = stream
            self.numbers[topic] = number
        wanted = {(self.numbers[topic], partition): (topic, partition) for topic, partition in parts}
        found = await ledger.places(self.engine, wanted)
        await self._learn(found)
        # Behind the places: what is marked meanwhile is seen, whoever marks it.
        for place, end in (await ledger.ahead(self.engine, found)).items():
            self._ahead(wanted[place], place[0], found[place], end)
        for topic in {topic for topic, _ in parts}:
            await self._recreated(topic, [p for p in parts if p[0] == topic], found)
        return {wanted[place]: offset for place, offset in found.items()}

    async def _learn(self, places: Iterable[ledger.Place]) -> None:
        """Where places began; that never changes."""
        self.begins |= await ledger.begins(self.engine, set(places) - self.begins.keys())

    def _ahead(self, part: Partition, stream: int, offset: int, end: int) -> None:
        """Hold what a daemon found ahead of its log, however far the log reaches now."""
        lost = "the broker lost what was acknowledged, and other messages may stand there now"
        text = f"the ledger is at {offset} and the log was found to end at {end}: {lost}; {adopting(part)}"
        missing = (end, offset) if end < offset else None
        self.holds.hold(part, "ledger_ahead", text, missing=missing, retry_s=RETRY_S, stream=stream)

    async def _recreated(self, topic: str, parts: Sequence[Partition], found: Mapping[tuple[int, int], int]) -> None:
        """Hold what has no place in this stream but had one in an earlier stream of the same name."""
        number = self.numbers[topic]
        fresh = [part for part in parts if (number, part[1]) not in found]
        if not fresh:
            return
        stream = self.streams[number]
        others = [n for n in await streams_of(self.engine, stream.cluster, topic) if n != number]
        before = await ledger.places(self.engine, [(n, part[1]) for n in others for part in fresh])
        for part in fresh:
            old = {n: offset for (n, partition), offset in before.items() if partition == part[1]}
            if old:
                last = max(old)
                self.holds.hold(
                    part,
                    "topic_recreated",
                    f"the topic was made again: stream {last} ended at {old[last]} in the ledger, this is stream "
                    f"{number}; `skyburst ledger adopt {number}` begins with the new one",
                    retry_s=RETRY_S,
                )

    async def _started(self, begins: Mapping[Partition, int]) -> dict[Partition, int]:
        wanted = {(self.numbers[topic], number): (topic, number) for topic, number in begins}
        starts = {place: begins[part] for place, part in wanted.items()}
        while True:
            try:
                found = await ledger.begin(self.engine, starts, self.instance)
                await self._learn(found)
            except (SQLAlchemyError, OSError, SkyburstError) as error:
                cause = translate(error)
                if not isinstance(cause, Transient) or self.stopped():
                    raise cause from error
                await self._waiter.wait(cause)
                continue
            self._waiter.done()
            return {wanted[place]: offset for place, offset in found.items()}
