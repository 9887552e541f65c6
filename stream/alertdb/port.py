"""Where segments lie: the port that every way of keeping them passes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from stream.alertdb.header import SegmentHeader
from stream.alertdb.reader import SegmentReader
from stream.alertdb.segment import OpenSegment, Sealed, SegmentRef
from stream.alertdb.window import Readable


class SegmentStore(Protocol):
    """A place for segments. Whether an appended segment exists is the database's to say, never the store's."""

    @property
    def appends(self) -> bool:
        """Whether an open segment takes more than one append; if not, each batch makes segments of its own."""
        ...

    def create(self, header: SegmentHeader) -> OpenSegment:
        """Begin a segment under fresh names.

        Raises
        ------
        Transient
            ``disk_full``, ``disk_failed``, ``store_away``, ``too_many_files``.
        Fatal
            ``store_refused``: this user may not write there.
        """
        ...

    def read(self, ref: SegmentRef) -> SegmentReader:
        """Open a segment's published bytes; SegmentAbsent where a file is not there, SegmentDamaged where too short."""
        ...

    def window(self, name: str, length: int) -> Readable:
        """Open the first `length` bytes of one file; errors as in `read`."""
        ...

    def whole(self, name: str) -> Readable | None:
        """Open all bytes that a file has, published or not; None where it is gone."""
        ...

    def copy(self, ref: SegmentRef, number: int, source: SegmentStore | None = None) -> Sealed:
        """Copy a segment's published bytes, of `source` or of this store, to new files here, sealed.

        It takes open segments of dead or frozen owners as well as sealed ones, and changes nothing in the old files.

        Parameters
        ----------
        ref
            Where the published bytes are.
        number
            A fresh number, for the new files' names.
        """
        ...

    def remove(self, name: str) -> None:
        """Remove a file, which may be gone already. KEEPING says which may go."""
        ...

    def retire(self, ref: SegmentRef) -> str:
        """Leave a marker file for a segment whose packets are to go for good, and return its name; it is durable."""
        ...

    def names(self) -> Iterator[tuple[str, int]]:
        """Names of all files that look like ours, each with the number in it; `names.role_of` tells what each is."""
        ...

    def free(self) -> int | None:
        """Bytes that may still be written; None where the store has no such limit."""
        ...
