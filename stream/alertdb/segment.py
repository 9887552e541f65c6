"""A segment as its owner writes it, and what the owner tells the database: lengths, names, digests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stream.alertdb.header import SegmentHeader

if TYPE_CHECKING:
    from stream.alertdb.blocks import Block


@dataclass(frozen=True, slots=True)
class SegmentRef:
    """Where a segment's published bytes are: what its row in table ``segments`` says.

    Attributes
    ----------
    number
        The segment's number.
    data_name, index_name
        Names of the two files, relative to the store.
    data_length, index_length
        Published lengths in bytes: what lies beyond does not exist.
    """

    number: int
    data_name: str
    index_name: str
    data_length: int
    index_length: int


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append has made of a segment, once it is published.

    Attributes
    ----------
    base
        Byte of the data file where it began: the published length before.
    data_length, index_length
        The new lengths, bytes.
    records
        Rows of the index then.
    block_offsets
        ``int64[blocks]``: where each block begins in the data file.
    running
        The digest of the data file up to the new length.
    """

    base: int
    data_length: int
    index_length: int
    records: int
    block_offsets: NDArray[np.int64]
    running: Any = field(repr=False, compare=False)

    @classmethod
    def beginning(cls, data_length: int, index_length: int, running: Any) -> Appended:
        """Return what stands before the first append: a header, and the digest of it."""
        return cls(data_length, data_length, index_length, 0, np.empty(0, np.int64), running)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed pair of files, durable, that no row names yet.

    Attributes
    ----------
    number
        The number in the files' names: the segment's own, or that of the copy.
    data_name, index_name
        Names of the files; the index is Parquet.
    data_length, index_length
        Lengths of the whole files, bytes.
    records
        Rows of the index.
    digest, index_digest
        xxh3-128 of the two files.
    """

    number: int
    data_name: str
    index_name: str
    data_length: int
    index_length: int
    records: int
    digest: bytes
    index_digest: bytes

    def ref(self, number: int) -> SegmentRef:
        """Return where segment `number` lies, once its row names these files."""
        return SegmentRef(number, self.data_name, self.index_name, self.data_length, self.index_length)


class OpenSegment(Protocol):
    """A segment that its owner still writes.

    Not for two threads at once, but that one may publish while another appends behind that, and syncs.
    """

    @property
    def header(self) -> SegmentHeader:
        """What it was born with."""
        ...

    @property
    def ref(self) -> SegmentRef:
        """Where it is, at the lengths published so far."""
        ...

    @property
    def tip(self) -> SegmentRef:
        """Where it is, with what was appended and is not published yet."""
        ...

    @property
    def records(self) -> int:
        """Published rows of the index."""
        ...

    @property
    def unpublished(self) -> int:
        """Commits that were appended and are not published."""
        ...

    @property
    def failed(self) -> bool:
        """Whether the disk failed under it: seal it by copying (`SegmentStore.copy`), and take a new one."""
        ...

    def append(
        self, blocks: Sequence[Block], rows: Any, note: Mapping[str, object], *, behind: bool = False
    ) -> Appended:
        """Write blocks and index rows at the published lengths, over whatever was appended but not published.

        Parameters
        ----------
        blocks
            As `BlockPlan.compress` made them.
        rows
            From `index_batch`; block offsets count from the first of `blocks`.
        note
            The commit's note; the digests ``data`` and ``rows`` are added to it.
        behind
            Write behind what was appended but not published, which stays: it may still be published.

        Raises
        ------
        Transient
            ``disk_full``: wait and append again. ``disk_failed``: this file is never written again; seal it by
            copying (`SegmentStore.copy`) and take a new one.
        """
        ...

    def sync(self) -> None:
        """Make what was appended, and at first the files' names, durable; errors as in `append`."""
        ...

    def publish(self, appended: Appended) -> None:
        """Take note that the transaction that names these lengths is committed."""
        ...

    def holds(self, appended: Appended) -> bool:
        """Whether `appended` still stands right behind what is published: only then can it be published itself."""
        ...

    def seal(self) -> Sealed:
        """Write the index anew as Parquet, cut the data to its published length, make both durable, and let go of them.

        Nothing can be appended from its beginning on. The open index is still there: whoever has made the row name
        the sealed files removes it. Where it fails with ``disk_full`` it can be called again.
        """
        ...

    def close(self) -> None:
        """Let go of the files, as they are."""
        ...
