"""What an operator decides about offsets that cannot be had: a gap that is accepted, a stream that is adopted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from stream.alert import Stream
from stream.commit import ledger
from stream.commit.bare import bare_work
from stream.commit.batch import Batch, Begin, OffsetRange
from stream.commit.committer import Committer
from stream.commit.identity import (
    generation,
    newest_generation,
    next_generation,
    streams_by_number,
    streams_of,
    told_id,
)
from stream.errors import Fenced, SkyburstError, Wrong

TRIES = 50
"""An adoption moves places of partitions that daemons go on committing: it looks again where one was faster."""

Bounds = Mapping[int, tuple[int, int]]
"""By partition the offset of the first record that the log keeps, and of the next one to be written."""

LogEnd = Callable[[Stream, int], Awaitable[int | None]]
"""Asks the broker for the offset that the next record of a stream's partition gets; None: its log is no more."""


@dataclass(frozen=True, slots=True)
class Where:
    """The quarantine segment that tells of it: survey number and name, the digest of its file, and the night."""

    survey: int
    name: str
    digest: str
    night: int

    def batch(
        self, ranges: tuple[OffsetRange, ...], reason: str, *, accepted: bool, begins: tuple[Begin, ...] = ()
    ) -> Batch:
        """A batch without a packet."""
        works = (bare_work(self.name, self.night),)
        return Batch(ranges, works, self.survey, self.digest, reason=reason, accepted=accepted, begins=begins)


async def accept_gap(
    committer: Committer, where: Where, gap: OffsetRange, reason: str, log_end: LogEnd | None = None
) -> int:
    """Move the ledger over offsets [start, end) that were not ingested, for good; gives the commit's id.

    Parameters
    ----------
    log_end
        Tells where the log ends, beyond which nothing can be given up: other records would come to stand there. None
        asks nobody.

    Raises
    ------
    Wrong
        ``gap``: no range, or no reason.
    SkyburstError
        ``stream_unknown``: the ledger does not have this partition.
        ``gap_beyond_log``: the log ends before the gap does.
    Fenced
        ``ledger_fenced``: it does not stand at the start of the gap.
    """
    if gap.end <= gap.start:
        raise Wrong("gap", f"[{gap.start}, {gap.end}) is no range of offsets", "END is the first offset that is wanted")
    if not reason.strip():
        raise Wrong("gap", "a gap needs a reason", "say with --reason why these offsets are given up")
    place = (gap.stream, gap.partition)
    at = (await ledger.places(committer.engine, [place])).get(place)
    if at is None:
        text = f"the ledger has no partition {gap.partition} of stream {gap.stream}"
        raise SkyburstError("stream_unknown", text, "see `skyburst ledger show`")
    if at != gap.start:
        text = f"the ledger of stream {gap.stream}, partition {gap.partition} stands at {at}, not at {gap.start}"
        raise Fenced("ledger_fenced", text, f"a gap begins where the ledger stands: {at}")
    if log_end is not None:
        await _within_log(committer, gap, log_end)
    return (await committer.commit(where.batch((gap,), reason, accepted=True))).commit


async def _within_log(committer: Committer, gap: OffsetRange, log_end: LogEnd) -> None:
    """Refuse what lies beyond the log of the stream; a place from which another generation goes on has none."""
    stream = (await streams_by_number(committer.engine, [gap.stream]))[gap.stream]
    if await _later_generation(committer, stream, gap.partition):
        return
    end = await log_end(stream, gap.partition)
    if end is None or gap.end <= end:
        return
    text = f"the log of {stream.topic}, partition {gap.partition} ends at {end}, before [{gap.start}, {gap.end}) does"
    if gap.start > end:
        advice = f"the ledger is ahead of its log: `skyburst ledger adopt {stream.topic}` goes on"
    else:
        advice = f"END is {end} at most" if gap.start < end else "no offset is missing"
    raise SkyburstError("gap_beyond_log", text, advice)


async def _later_generation(committer: Committer, stream: Stream, partition: int) -> bool:
    """Whether a later generation of `stream` has a place in this partition."""
    known = await streams_of(committer.engine, stream.cluster, stream.topic)
    mine = {number: one for number, one in known.items() if told_id(one) == told_id(stream)}
    later = [(number, partition) for number, one in mine.items() if generation(one) > generation(stream)]
    return bool(await ledger.places(committer.engine, later))


@dataclass(frozen=True, slots=True)
class Adopted:
    """What an adoption did: the stream that goes on, where its partitions begin, which places were closed for it."""

    number: int
    stream: Stream
    begins: tuple[Begin, ...]
    closed: tuple[OffsetRange, ...]


async def adopt(
    committer: Committer, where: Where, told: Stream, bounds: Bounds, at: int | None, ahead: Collection[int] = ()
) -> Adopted:
    """Begin the stream that the broker has now under a topic's name, where the ledger has none of it or lies ahead.

    A topic that was made again is a stream of its own: its partitions begin at the log's start, or at `at`. Where the
    ledger lies ahead of the log, the stream gets a new generation, so that no RecordId is ever given twice: what lay
    ahead begins at the log's start or at `at` (what is kept already comes as repeats), the others where they stand. The
    places of the generation before are closed by one offset each, which fences daemons that still commit to it.

    Parameters
    ----------
    told
        The topic as the broker tells it.
    bounds
        The log of each of its partitions.
    ahead
        Partitions that lay ahead of their log, though it has grown past the ledger since and no daemon has marked them.

    Raises
    ------
    SkyburstError
        ``nothing_to_adopt``: the ledger has every partition, and none lies ahead of its log.
        ``stream_unknown``: the topic does not have a partition of `ahead`.
        ``gap_beyond_log``: the log of a partition that is to begin at `at` ends before it.
    """
    if strange := sorted(set(ahead) - bounds.keys()):
        text = f"{told.topic} has no partition {strange[0]}"
        raise SkyburstError("stream_unknown", text, "see `skyburst ledger show`")
    for _ in range(TRIES):
        plan = await _plan(committer, told, bounds, at, ahead)
        if not plan.begins:
            text = f"the ledger has every partition of {told.topic}, none ahead of its log"
            advice = "see `skyburst status`; a log that has grown past the ledger before a daemon saw it needs --ahead"
            raise SkyburstError("nothing_to_adopt", text, advice)
        reason = f"adopted: {told.topic} goes on as stream {plan.number}"
        batch = where.batch(plan.closed, reason, accepted=bool(plan.closed), begins=plan.begins)
        try:
            await committer.commit(batch)
        except Fenced as fenced:
            if fenced.code != "ledger_fenced":
                raise
            continue
        return plan
    raise Fenced("ledger_fenced", f"daemons were faster {TRIES} times", "stop them for the adoption")


async def _plan(committer: Committer, told: Stream, bounds: Bounds, at: int | None, ahead: Collection[int]) -> Adopted:
    engine = committer.engine
    number, stream = await newest_generation(engine, told, committer.daemon.instance)
    now = await _ledger(committer, number, bounds)
    ahead = {*ahead, *await _marked(committer, number, bounds)}
    lost = [partition for partition, offset in now.items() if partition in ahead or offset > bounds[partition][1]]
    if lost:
        for partition in lost:
            _first(told, partition, bounds, at)
        number, stream = await next_generation(engine, stream, committer.daemon.instance)
        now = {}
    before = await _generation_before(committer, stream, bounds)
    for old in {old for old, _ in before.values()}:
        ahead |= await _marked(committer, old, before)
    begins, closed = [], []
    for partition, (_, high) in sorted(bounds.items()):
        if partition in now:
            continue
        place = before.get(partition)
        if place is None:
            begins.append(Begin(number, partition, _first(told, partition, bounds, at)))
            continue
        old, offset = place
        again = partition in ahead or offset > high
        begins.append(Begin(number, partition, _first(told, partition, bounds, at) if again else offset))
        closed.append(OffsetRange(old, partition, offset, offset + 1, 0))
    return Adopted(number, stream, tuple(begins), tuple(closed))


def _first(told: Stream, partition: int, bounds: Bounds, at: int | None) -> int:
    """Where a partition begins: the log's start, or `at`, behind which other records would come to stand."""
    low, high = bounds[partition]
    if at is not None and at > high:
        text = f"the log of {told.topic}, partition {partition} ends at {high}, before {at}"
        raise SkyburstError("gap_beyond_log", text, f"--at is {high} at most")
    return low if at is None else at


async def _ledger(committer: Committer, number: int, bounds: Bounds) -> dict[int, int]:
    found = await ledger.places(committer.engine, [(number, partition) for partition in bounds])
    return {partition: offset for (_, partition), offset in found.items()}


async def _marked(committer: Committer, number: int, partitions: Iterable[int]) -> set[int]:
    """The partitions of a stream that a daemon has found ahead of their log."""
    found = await ledger.ahead(committer.engine, [(number, partition) for partition in partitions])
    return {partition for _, partition in found}


async def _generation_before(committer: Committer, stream: Stream, bounds: Bounds) -> dict[int, tuple[int, int]]:
    """By partition the number of the generation before `stream` and its place in the ledger; none for the first."""
    wanted = generation(stream) - 1
    for old, one in (await streams_of(committer.engine, stream.cluster, stream.topic)).items():
        if told_id(one) == told_id(stream) and generation(one) == wanted:
            return {partition: (old, offset) for partition, offset in (await _ledger(committer, old, bounds)).items()}
    return {}
