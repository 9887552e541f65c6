"""What a commit is made of: offset ranges, the work for each segment, quarantined records."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream.alert import Level1Column, RecordId, Stream
from stream.alertdb.blocks import Block, Placed
from stream.alertdb.header import SegmentKey

UNATTRIBUTED = -1
"""The visit, detector or id that stands in `visit_part` for packets that can be given none."""


def fresh_number() -> int:
    """A random 63-bit number that is never zero: a commit's id, a segment's number."""
    return secrets.randbits(63) or 1


@dataclass(frozen=True, slots=True, order=True)
class OffsetRange:
    """Offsets [start, end) of one partition that a commit takes off the ledger.

    `records` counts the messages in it that are kept, `tombstones` those without a value; the rest are holes
    (transaction markers, compaction).
    """

    stream: int
    partition: int
    start: int
    end: int
    records: int
    tombstones: int = 0


@dataclass(frozen=True, slots=True, order=True)
class Begin:
    """A place that the ledger has not had: `next` is where partition `partition` of stream `stream` begins."""

    stream: int
    partition: int
    next: int


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One record that goes to quarantine whole, and what could still be learnt about it.

    `night_from` says where the night comes from: ``alert``, ``announced`` (its visit's) or ``kafka`` (its
    timestamp, or where that is none in any calendar, the time at which it was polled). `midpoint` is the alert's own
    time (MJD TAI, days) where the night comes from it: the index keeps it, and tells so.
    """

    record: RecordId
    night: int
    night_from: str
    visit: int | None
    detector: int | None
    dia_source_id: int | None
    code: str
    reason: str
    size: int
    schema_id: int | None
    timestamp: int
    digest: bytes
    midpoint: float | None = None


@dataclass(frozen=True, slots=True)
class SegmentWork:
    """What one batch adds to one segment.

    Attributes
    ----------
    key, source, schema_id, schema_text
        Which segment, and what its header says; no source for quarantine.
    blocks
        Compressed blocks, in the order in which they are written.
    rows
        The index rows, `n` of them.
    placed
        Where each row's datum lies, from where the blocks will be appended, and its digest.
    records
        Messages among the rows (a container of several alerts is one message).
    level1
        Level-1 columns of the `n` rows but for segment, blockOffset, slot, digest and commitId; empty for quarantine.
    part
        ``int64[n]``: which record of its message each row is.
    timestamp
        ``int64[n]``: Kafka's, ms since 1970 UTC.
    quarantined
        For a quarantine segment, one for each row.
    """

    key: SegmentKey
    source: Stream | None
    schema_id: int | None
    schema_text: str
    blocks: Sequence[Block]
    rows: pa.RecordBatch
    placed: Placed
    records: int
    level1: Mapping[str, Level1Column]
    part: NDArray[np.int64]
    timestamp: NDArray[np.int64]
    quarantined: tuple[Quarantined, ...] = ()

    @property
    def shared(self) -> tuple[SegmentKey, int | None]:
        """What all work for one open segment has in common: a schema that is registered under two ids has two."""
        return self.key, self.schema_id

    def __len__(self) -> int:
        return len(self.part)


@dataclass(frozen=True, slots=True)
class Batch:
    """One commit's worth of records.

    Attributes
    ----------
    ranges
        What the ledger moves by, each partition at most once; empty for a re-drive.
    works
        What each segment gets.
    survey, survey_digest
        The survey's number and the digest of its file.
    reason
        Why the ledger moves where no packet does (an accepted gap, an adoption); empty otherwise.
    redriven
        Quarantined records that this batch publishes after a fix.
    accepted
        Whether the ranges are gaps that an operator accepts: table ``accepted_gaps`` gets them, with `reason`.
    begins
        Places that the ledger begins with (an adoption).
    retired
        Ranges of which no packet stays (a retirement): the ledger has passed them long ago.
    """

    ranges: tuple[OffsetRange, ...]
    works: tuple[SegmentWork, ...]
    survey: int
    survey_digest: str
    reason: str = ""
    redriven: tuple[RecordId, ...] = ()
    accepted: bool = False
    begins: tuple[Begin, ...] = ()
    retired: tuple[OffsetRange, ...] = ()

    @property
    def records(self) -> int:
        """Messages that the batch keeps."""
        return sum(work.records for work in self.works)

    @property
    def closed(self) -> tuple[tuple[int, int], ...]:
        """Stream and partition of the places that an adoption closes, since a new generation goes on instead."""
        return tuple((r.stream, r.partition) for r in self.ranges) if self.accepted and self.begins else ()

    @property
    def streams(self) -> frozenset[int]:
        """Numbers of the streams whose records it stands for."""
        places = {r.stream for r in (*self.ranges, *self.retired)} | {b.stream for b in self.begins}
        return frozenset(places | {r.stream for r in self.redriven})


@dataclass(frozen=True, slots=True)
class Committed:
    """What one commit did: its id and how many alerts were new, repeated, in conflict and quarantined.

    Attributes
    ----------
    data_bytes, index_bytes
        Bytes appended to the segments' two files.
    visit_parts
        Rows of `visit_part`.
    seconds
        What the steps took.
    again
        Whether its transaction was done a second time, since an id of it had a row.
    """

    commit: int
    new: int
    repeated: int
    conflicts: int
    quarantined: int
    data_bytes: int
    index_bytes: int
    visit_parts: int
    seconds: dict[str, float]
    again: bool = False

    @classmethod
    def nothing(cls) -> Committed:
        """What a batch without a range does."""
        return cls(0, 0, 0, 0, 0, 0, 0, 0, {})
