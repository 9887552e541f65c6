"""Preparing a batch: check every packet, place it, plan the segments' blocks. CPU work, in a thread of its own."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field

from consumers.ingest.aside import put_aside
from consumers.ingest.batches import RECORD_BYTES, RawBatch
from consumers.ingest.flat import Flat, flatten, halves, shorten
from consumers.ingest.pack import Share, Started, aside_share, shares
from consumers.ingest.place import Placer
from consumers.ingest.unknown import UnknownSchemas, Waits
from stream.alert import RecordId, Refusal, Stream
from stream.clock import Clock, SystemClock
from stream.codec.decoder import Checked, Decoder
from stream.commit.batch import Batch
from stream.transport.source import Partition

MOST_RECORDS = 8_192
"""Records of one commit beyond one for each message, which is all that was counted before they are known."""


class TooManyRecords(Exception):
    """The batch has more than `MOST_RECORDS`: `halves` are to be prepared instead, one after the other."""

    def __init__(self, raw: RawBatch) -> None:
        super().__init__()
        self.halves = halves(raw)


@dataclass(slots=True)
class Prepared:
    """A batch whose blocks are being compressed.

    Attributes
    ----------
    nbytes
        Bytes of its messages as they came.
    held
        Bytes that it counts as in flight: as they came, once it is finished its compressed blocks; and what each record
        takes besides.
    waits
        Partitions that stop before their first packet whose schema cannot be had.
    """

    generation: int
    nbytes: int
    held: int
    at: float
    flat: Flat
    shares: list[Started]
    waits: Mapping[Partition, Waits]
    refused: tuple[Refusal, ...]
    seconds: dict[str, float] = field(default_factory=dict)

    def finish(self, survey: int, survey_digest: str) -> Batch:
        """The batch for the committer; waits for the blocks, so call it from a thread."""
        started = time.perf_counter()
        works = [share.finish(self.flat) for share in self.shares]
        self.seconds["compress"] = time.perf_counter() - started
        # Lets go of the packets as they came, while their batch waits for its commit.
        self.shares.clear()
        compressed = sum(len(block.payload) for work in works for block in work.blocks)
        self.held = min(self.held, compressed + RECORD_BYTES * sum(map(len, works)))
        return Batch(self.flat.ranges(), tuple(works), survey, survey_digest)

    def cancel(self) -> None:
        """The batch is dropped: blocks that nobody has begun are not compressed."""
        for share in self.shares:
            share.cancel()


@dataclass(slots=True)
class Preparer:
    """Prepares batches of one survey, one after the other.

    Attributes
    ----------
    numbers, streams
        Each topic's stream number, and each number's stream.
    unknown
        Judges packets whose schema cannot be had.
    nights
        Night (YYYYMMDD) of announced visits, for packets whose own time cannot be read.
    refuse
        Records of which the database's server has refused a value, with code and reason: they go to quarantine.
    """

    decoder: Decoder
    placer: Placer
    pool: Executor
    numbers: dict[str, int] = field(default_factory=dict)
    streams: dict[int, Stream] = field(default_factory=dict)
    unknown: UnknownSchemas = field(default_factory=UnknownSchemas)
    nights: Mapping[int, int] = field(default_factory=dict)
    refuse: dict[RecordId, tuple[str, str]] = field(default_factory=dict)
    clock: Clock = field(default_factory=SystemClock)

    def prepare(self, raw: RawBatch) -> Prepared:
        """Check, place and plan `raw`, and start the compressing of its blocks.

        Raises
        ------
        TooManyRecords
            Its containers have more than one commit may; a single one may have any number.
        """
        return self._prepare(raw, may_halve=True)

    def _prepare(self, raw: RawBatch, *, may_halve: bool) -> Prepared:
        started = time.perf_counter()
        flat, values = flatten(raw, self.numbers)
        checked = self.decoder.check(values)
        del values
        if may_halve and len(flat) > 1 and sum(len(g.message) for g in checked.groups) - len(flat) > MOST_RECORDS:
            raise TooManyRecords(raw)
        refused = {refusal.row: refusal for refusal in (*self._known_bad(flat), *checked.refused)}
        denied, waits = self.unknown.judge(checked, flat, {number: topic for topic, number in self.numbers.items()})
        refused |= denied
        if waits:
            short = self._prepare(shorten(raw, {part: wait.offset for part, wait in waits.items()}), may_halve=False)
            short.waits = {**short.waits, **waits}
            return short
        placed_at = time.perf_counter()
        planned = self._plan(checked, flat, refused)
        compressing = [share.start(self.pool, hurried=raw.hurried) for share in planned]
        seconds = {"check": placed_at - started, "place": time.perf_counter() - placed_at}
        more = max(0, sum(len(share.message) for share in planned) - len(flat))
        held, told = raw.held + RECORD_BYTES * more, tuple(refused.values())
        return Prepared(raw.generation, raw.nbytes, held, raw.at, flat, compressing, {}, told, seconds)

    def _known_bad(self, flat: Flat) -> list[Refusal]:
        if not self.refuse:
            return []
        cells = (flat.stream.tolist(), flat.partition.tolist(), flat.offset.tolist())
        found = enumerate(self.refuse.get(RecordId(*cell)) for cell in zip(*cells, strict=True))
        return [Refusal(row, *said) for row, said in found if said]

    def _plan(self, checked: Checked, flat: Flat, refused: dict[int, Refusal]) -> list[Share]:
        """Plan all segments' shares, and add what cannot be placed to `refused`."""
        placed = [self.placer.place(group, flat, refused) for group in checked.groups]
        for one in placed:
            refused |= {refusal.row: refusal for refusal in one.refused}
        legible = {message: each for one in placed for message, each in one.legible.items()}
        streams, survey = self.streams, self.placer.survey
        planned = [share for one in placed for share in shares(checked, one, flat, survey.name, streams)]
        now = self.clock.now()
        asides = put_aside(flat, checked, tuple(refused.values()), legible, streams, survey, self.nights, now)
        return planned + [aside_share(aside) for aside in asides]


def by_code(refused: Collection[Refusal]) -> Counter[str]:
    """How many records were refused for each code."""
    return Counter(refusal.code for refusal in refused)
