"""A segment sealed at birth: gathered in memory by one append, put as two objects by sync."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xxhash import xxh3_128

from stream.alertdb.header import SegmentHeader
from stream.alertdb.indexfile import to_parquet
from stream.alertdb.names import Token, file_name
from stream.alertdb.packing import pack
from stream.alertdb.segment import Appended, Sealed, SegmentRef
from stream.errors import Fatal

if TYPE_CHECKING:
    from stream.alertdb.blocks import Block

Put = Callable[[str, bytes | memoryview], None]
"""Puts bytes under a name that must be new."""


@dataclass(frozen=True, slots=True)
class Born:
    """The two objects that a put segment is."""

    data: bytes
    index: memoryview
    appended: Appended


class PutSegment:
    """An open segment of an `ObjectStore`: one append, one sync, and it is sealed.

    Whatever becomes of the batch, it takes no other: a batch that is done again makes a segment with a fresh number.
    """

    def __init__(self, header: SegmentHeader, marker: bytes, token: Token, put: Put) -> None:
        night, number = header.key.night, header.number
        self.header = header
        self._marker = marker
        self._put = put
        self._data_name = file_name(night, number, token(), "data")
        self._index_name = file_name(night, number, token(), "index")
        self._born: Born | None = None
        self._synced = False
        self._published = False

    @property
    def ref(self) -> SegmentRef:
        """Where it is; of no length until its one append is published."""
        if self._born is None or not self._published:
            return SegmentRef(self.header.number, self._data_name, self._index_name, 0, 0)
        return self._sealed().ref(self.header.number)

    @property
    def tip(self) -> SegmentRef:
        """As `ref`: nothing is appended behind its one append."""
        return self.ref

    @property
    def records(self) -> int:
        """Published rows of the index."""
        return self._born.appended.records if self._born is not None and self._published else 0

    @property
    def unpublished(self) -> int:
        """Whether its one append is not published: 0 or 1."""
        return int(self._born is not None and not self._published)

    @property
    def failed(self) -> bool:
        """Nothing that was put can fail afterwards."""
        return False

    def append(
        self, blocks: Sequence[Block], rows: Any, note: Mapping[str, object], *, behind: bool = False
    ) -> Appended:
        """Take the one batch of this segment, which can lie `behind` nothing."""
        if self._born is not None:
            raise Fatal("segment_sealing", f"{self._data_name} is sealed at birth: each batch makes a new segment")
        head = self.header.encode(self._marker)
        packed = pack(blocks, rows, note, base=len(head), sync=self._marker, running=xxh3_128(head))
        index, records = to_parquet([(packed.rows, packed.note)], self._index_name)
        appended = Appended(
            base=len(head),
            data_length=packed.end,
            index_length=len(index),
            records=records,
            block_offsets=packed.block_offsets,
            running=packed.running,
        )
        self._born = Born(b"".join((head, *packed.buffers)), index, appended)
        return appended

    def sync(self) -> None:
        """Put both objects. After an error the segment is spent: make another with a fresh number."""
        born = self._whole()
        if self._synced:
            raise Fatal("segment_sealing", f"{self._data_name} is put once")
        self._synced = True
        self._put(self._data_name, born.data)
        self._put(self._index_name, born.index)

    def publish(self, appended: Appended) -> None:
        """Take note that the transaction that names it is committed."""
        if not self.holds(appended):
            raise Fatal("segment_positions", f"{self._data_name}: published is not what was appended")
        self._published = True

    def holds(self, appended: Appended) -> bool:
        """Whether `appended` is its one append."""
        return appended is self._whole().appended

    def seal(self) -> Sealed:
        """Return what it is, sealed since its sync; also before it is published, so that its row is born sealed."""
        if not self._synced:
            raise Fatal("segment_positions", f"{self._data_name} is not put yet")
        return self._sealed()

    def close(self) -> None:
        """Let go of the memory."""
        if self._born is not None:
            self._born = Born(b"", memoryview(b""), self._born.appended)

    def _whole(self) -> Born:
        if self._born is None:
            raise Fatal("segment_positions", f"nothing was appended to {self._data_name}")
        return self._born

    def _sealed(self) -> Sealed:
        born = self._whole()
        return Sealed(
            number=self.header.number,
            data_name=self._data_name,
            index_name=self._index_name,
            data_length=born.appended.data_length,
            index_length=born.appended.index_length,
            records=born.appended.records,
            digest=born.appended.running.digest(),
            index_digest=xxh3_128(born.index).digest(),
        )
