"""What travels between the stages of the daemon."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from stream.alert import Records
from stream.transport.source import Partition, PartitionTrouble

RECORD_BYTES = 4096
"""What a record takes of the memory beside its bytes: objects, rows, statements. Measured with messages of 600 bytes:
without it 80 MiB of them in flight made a peak of 970 MB, with it 540 to 610."""


def in_flight(records: Iterable[Records], nbytes: int) -> int:
    """Bytes that messages count as in flight, `nbytes` of values among them."""
    return nbytes + RECORD_BYTES * sum(map(len, records))


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll gave, and the consumer's position in each partition behind it.

    `generation` counts the resets: what was polled before the last one is dropped.
    """

    generation: int
    records: tuple[Records, ...]
    position: Mapping[Partition, int]
    nbytes: int
    at: float

    @property
    def held(self) -> int:
        """Bytes that it counts as in flight."""
        return in_flight(self.records, self.nbytes)


@dataclass(frozen=True, slots=True)
class Assigned:
    """Partitions that are now ours, or start again, each at its place in the ledger."""

    generation: int
    start: Mapping[Partition, int]


@dataclass(frozen=True, slots=True)
class Unassigned:
    """Partitions that are no longer ours."""

    parts: frozenset[Partition]


@dataclass(frozen=True, slots=True)
class Flush:
    """Close the open batch now; `done` is set once it and all before it are committed or dropped."""

    done: Future[None]


@dataclass(frozen=True, slots=True)
class Troubled:
    """Partitions that the source cannot read any more."""

    troubles: tuple[PartitionTrouble, ...]


News = Polled | Assigned | Unassigned | Flush | Troubled


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Records of one commit-to-be, and for each partition the offsets [start, end) that they stand for.

    `held` are the bytes that it counts as in flight. `hurried` tells that the daemon is behind, so that its blocks are
    made in a hurry.
    """

    generation: int
    records: tuple[Records, ...]
    bounds: Mapping[Partition, tuple[int, int]]
    nbytes: int
    at: float = field(default=0.0)
    hurried: bool = False
    held: int = 0


def age_s(records: Iterable[Records], now: float) -> float:
    """Seconds from Kafka's oldest timestamp in `records` to `now` (seconds since 1970 UTC); 0 where there is none."""
    written = [int(known.min()) for one in records if len(known := one.timestamp[one.timestamp >= 0])]
    return max(0.0, now - min(written) / 1000) if written else 0.0
