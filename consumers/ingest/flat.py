"""A batch's records laid flat: one array a field over all topics and polls, tombstones left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from consumers.ingest.batches import RawBatch, in_flight
from stream.alert import Header
from stream.commit.batch import OffsetRange
from stream.transport.source import Partition

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Flat:
    """The `n` messages of a batch that have a value, but for the values: those live on in what was checked.

    Attributes
    ----------
    keys, headers
        As they came.
    stream, partition, offset, timestamp
        ``int64[n]``; the stream's small number, Kafka's timestamp in ms since 1970 UTC.
    bounds
        For each partition (stream number, Kafka partition) the offsets [start, end) that the batch stands for.
    dead
        ``int64[m, 2]``: stream and partition of each tombstone.
    """

    keys: list[bytes | None]
    headers: list[tuple[Header, ...]]
    stream: NDArray[np.int64]
    partition: NDArray[np.int64]
    offset: NDArray[np.int64]
    timestamp: NDArray[np.int64]
    bounds: Mapping[tuple[int, int], tuple[int, int]]
    dead: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offset)

    def ranges(self) -> tuple[OffsetRange, ...]:
        """What the ledger moves by once the batch is committed."""
        alive = np.stack((self.stream, self.partition), axis=1)
        return tuple(
            OffsetRange(*place, *bound, _count(alive, place), _count(self.dead, place))
            for place, bound in sorted(self.bounds.items())
        )


def flatten(raw: RawBatch, numbers: Mapping[str, int]) -> tuple[Flat, list[bytes]]:
    """Lay `raw` flat and give its values beside it; `numbers` gives each topic's stream number."""
    values: list[bytes | None] = []
    keys: list[bytes | None] = []
    headers: list[tuple[Header, ...]] = []
    for records in raw.records:
        values += records.values
        keys += records.keys
        headers += records.headers
    stream = _joined([np.full(len(r), numbers[r.topic], np.int64) for r in raw.records])
    partition = _joined([r.partition for r in raw.records])
    offset = _joined([r.offset for r in raw.records])
    timestamp = _joined([r.timestamp for r in raw.records])
    bounds = {(numbers[topic], part): bound for (topic, part), bound in raw.bounds.items()}
    dead = np.zeros((0, 2), np.int64)
    if None in values:
        alive = np.array([value is not None for value in values])
        dead = np.stack((stream, partition), axis=1)[~alive]
        rows = np.flatnonzero(alive)
        keys, headers = _pick(keys, rows), _pick(headers, rows)
        stream, partition, offset, timestamp = (c[rows] for c in (stream, partition, offset, timestamp))
    whole = [value for value in values if value is not None]
    return Flat(keys, headers, stream, partition, offset, timestamp, bounds, dead), whole


def shorten(raw: RawBatch, ends: Mapping[Partition, int]) -> RawBatch:
    """The batch with some partitions ending earlier."""
    return _within(raw, {part: (start, ends.get(part, end)) for part, (start, end) in raw.bounds.items()})


def halves(raw: RawBatch) -> tuple[RawBatch, RawBatch]:
    """The batch as two, one behind the other in each partition; for one of at least two messages."""
    cuts, alone = dict[Partition, int](), 0
    for part, (start, end) in raw.bounds.items():
        known = [one.offset[one.partition == part[1]] for one in raw.records if one.topic == part[0]]
        offsets = np.sort(np.concatenate(known)) if known else np.zeros(0, np.int64)
        cuts[part] = int(offsets[len(offsets) // 2]) if len(offsets) > 1 else end
        if len(offsets) == 1:
            # Of the partitions with one message each, every second one waits for the second half.
            cuts[part], alone = (start if alone % 2 else end), alone + 1
    first, rest = shorten(raw, cuts), _within(raw, {part: (cuts[part], end) for part, (_, end) in raw.bounds.items()})
    nbytes = sum(one.nbytes for one in first.records)
    held = in_flight(first.records, nbytes)
    return replace(first, nbytes=nbytes, held=held), replace(rest, nbytes=raw.nbytes - nbytes, held=raw.held - held)


def _within(raw: RawBatch, bounds: Mapping[Partition, tuple[int, int]]) -> RawBatch:
    """What of the batch lies within narrower bounds of its partitions; what it counts for stays."""
    records = []
    for one in raw.records:
        start, end = np.array([bounds[one.topic, p] for p in one.partition.tolist()], np.int64).reshape(-1, 2).T
        records.append(one.take(np.flatnonzero((start <= one.offset) & (one.offset < end))))
    kept = {part: (start, end) for part, (start, end) in bounds.items() if start < end}
    return replace(raw, records=tuple(records), bounds=kept)


def _count(places: NDArray[np.int64], place: tuple[int, int]) -> int:
    return int(np.count_nonzero((places == place).all(axis=1)))


def _joined(pieces: Sequence[NDArray[np.integer]]) -> NDArray[np.int64]:
    return np.concatenate(pieces).astype(np.int64) if pieces else np.zeros(0, np.int64)


def _pick(column: list[T], rows: NDArray[np.int64]) -> list[T]:
    return [column[row] for row in rows.tolist()]
