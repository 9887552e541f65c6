"""Reading a segment back: a packet by its place, whole messages, the index; published bytes only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import zstandard
from xxhash import xxh3_128_digest

from stream.alert import Header, RecordId
from stream.alertdb.cache import BlockCache
from stream.alertdb.container import SYNC_BYTES, Incomplete, leading_bytes, read_varint
from stream.alertdb.damage import SegmentAbsent, SegmentDamaged
from stream.alertdb.header import FileHeader, SegmentHeader, parse_segment_header
from stream.alertdb.indexfile import Commit
from stream.alertdb.indexreader import Index, ParquetIndex, Places, StreamIndex
from stream.alertdb.names import role_of
from stream.alertdb.segment import SegmentRef
from stream.alertdb.window import Readable

OpenWindow = Callable[[str, int], Readable]
_HEADER_GUESS = 64 * 1024
_MESSAGE = ("stream", "partition", "offset", "part", "timestamp", "key", "headers", "head", "tail")
_WHOLE = ("raw", "quarantine")


def read_header(data: Readable) -> FileHeader:
    """The header that a segment's data file begins with; SegmentDamaged where there is none, or not the whole of it."""
    size = min(_HEADER_GUESS, data.length)
    while True:
        try:
            return parse_segment_header(data.read(0, size))
        except Incomplete as error:
            if size == data.length:
                raise SegmentDamaged(data.name, f"the header is cut: {error}") from error
            size = min(size * 8, data.length)
        except (ValueError, KeyError) as error:
            raise SegmentDamaged(data.name, f"no segment header: {error}") from error


def head_of(data: Readable | None) -> SegmentHeader | None:
    """The header of a data file, which is closed; None where the file is gone, or has no whole header."""
    if data is None:
        return None
    try:
        return read_header(data).header
    except (SegmentAbsent, SegmentDamaged):
        return None
    finally:
        data.close()


@dataclass(frozen=True, slots=True)
class Message:
    """A Kafka message exactly as it came.

    Attributes
    ----------
    record
        Which one it was.
    value, key, headers
        Its bytes.
    timestamp
        Kafka's, ms since 1970-01-01 UTC, -1 for none.
    """

    record: RecordId
    value: bytes
    key: bytes | None
    headers: tuple[Header, ...]
    timestamp: int


class SegmentReader:
    """The published bytes of one segment. For one thread at a time; a context manager.

    Every packet that it gives has been held against its digest.
    """

    def __init__(self, ref: SegmentRef, data: Readable, index: Index, window: OpenWindow, cache: BlockCache) -> None:
        self.ref = ref
        self._data = data
        self._index = index
        self._window = window
        self._cache = cache
        self._file: FileHeader | None = None
        self._places: Places | None = None
        self._inflate = zstandard.ZstdDecompressor()

    @classmethod
    def open(cls, ref: SegmentRef, window: OpenWindow, cache: BlockCache) -> SegmentReader:
        """Open the files of `ref` through `window`."""
        data = window(ref.data_name, ref.data_length)
        try:
            source = window(ref.index_name, ref.index_length)
            index: Index = StreamIndex(source) if role_of(ref.index_name) == "open_index" else ParquetIndex(source)
        except BaseException:
            data.close()
            raise
        return cls(ref, data, index, window, cache)

    @property
    def header(self) -> SegmentHeader:
        """What the segment says of itself."""
        return self._head().header

    @property
    def commits(self) -> Sequence[Commit]:
        """The commits that it has parts of, in order: each one's note and its rows."""
        return self._index.commits

    def __len__(self) -> int:
        return len(self.places)

    def follow(self, ref: SegmentRef) -> bool:
        """Go on to later lengths of the same open segment, reading only what is new of its index.

        Returns
        -------
        bool
            False where `ref` names other files (it was sealed, copied or moved): open another reader then.
        """
        same = (ref.data_name, ref.index_name) == (self.ref.data_name, self.ref.index_name)
        if not same or not isinstance(self._index, StreamIndex) or ref.index_length < self.ref.index_length:
            return same and ref == self.ref
        data = self._window(ref.data_name, ref.data_length)
        self._data.close()
        self._data, self.ref, self._places = data, ref, None
        self._index.follow(self._window(ref.index_name, ref.index_length))
        return True

    @property
    def places(self) -> Places:
        """Where each row's datum lies."""
        if self._places is None:
            self._places = Places(self._index)
        return self._places

    def table(self, columns: Sequence[str] | None = None) -> Any:
        """Return the index as a ``pa.Table``: a row an alert, columns as in the reference of the format."""
        return self._index.table(columns)

    def find(self, block_offset: int, slot: int, part: int = 0) -> int:
        """Return the index row of the alert at (block offset, slot), as Level-1 names it.

        Raises
        ------
        SegmentDamaged
            No published row lies there.
        """
        row = self.places.find(block_offset, slot, part)
        if row is None:
            raise SegmentDamaged(self.ref.data_name, f"no alert is published in slot {slot}", block_offset)
        return row

    def datum(self, block_offset: int, slot: int) -> bytes:
        """Return the Avro datum at (block offset, slot): of the segment's schema, as it came.

        Raises
        ------
        SegmentDamaged
            It is not there, or not what was published.
        """
        return self._datum(self.find(block_offset, slot))

    def message(self, row: int) -> Message:
        """Return the whole message that index row `row` came in."""
        return self._message(row, self._index.rows(row, 1, _MESSAGE).to_pylist()[0])

    def messages(self, commit: Commit | None = None) -> Iterator[Message]:
        """Yield each message once, of one commit or of all, commit by commit in the order of their blocks."""
        for part in self.commits if commit is None else (commit,):
            if part.rows == 0:
                continue
            rows = np.arange(part.first, part.first + part.rows)
            places = self.places
            rows = rows[np.lexsort((places.part[rows], places.slot[rows], places.block_offset[rows]))]
            known = self._index.rows(part.first, part.rows, _MESSAGE)
            before = (-1, -1)
            for row in rows.tolist():
                place = (int(places.block_offset[row]), int(places.slot[row]))
                if place != before:
                    yield self._message(row, known.slice(row - part.first, 1).to_pylist()[0])
                before = place

    def close(self) -> None:
        """Let go of the files."""
        self._data.close()
        self._index.close()

    def __enter__(self) -> SegmentReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _head(self) -> FileHeader:
        if self._file is None:
            self._file = read_header(self._data)
        return self._file

    def _message(self, row: int, known: dict[str, Any]) -> Message:
        datum = self._datum(row)
        key = self.header.key
        if key.kind in _WHOLE:
            value = bytes(leading_bytes(datum))
        else:
            value = b"".join((key.prefix, known["head"], datum, known["tail"]))
        return Message(
            record=RecordId(known["stream"], known["partition"], known["offset"]),
            value=value,
            key=known["key"],
            headers=tuple((item["key"], item["value"]) for item in known["headers"]),
            timestamp=known["timestamp"],
        )

    def _datum(self, row: int) -> bytes:
        self._index.check(row)
        places = self.places
        block_offset, start = int(places.block_offset[row]), int(places.start[row])
        datum = self._block(block_offset)[start : start + int(places.size[row])]
        try:
            packet = leading_bytes(datum) if self.header.key.kind in _WHOLE else datum
            sound = xxh3_128_digest(packet) == places.digest(row)
        except ValueError:
            sound = False
        if not sound:
            record = self._index.rows(row, 1, ("stream", "partition", "offset")).to_pylist()[0]
            raise SegmentDamaged(self._data.name, f"the packet of {record} is not what was published", block_offset)
        return datum

    def _block(self, block_offset: int) -> bytes:
        block = self._cache.get(self._data.name, block_offset)
        if block is None:
            try:
                block = self._inflated(block_offset)
            except (ValueError, zstandard.ZstdError) as error:
                affected = self._affected(block_offset)
                raise SegmentDamaged(self._data.name, f"{error}; it holds {affected}", block_offset) from error
            self._cache.put(self._data.name, block_offset, block)
        return block

    def _inflated(self, block_offset: int) -> bytes:
        head, after = self._head(), self.places.next_block(block_offset)
        # A block is read up to the next one, or to the end: within a commit and between commits nothing lies between.
        end = self._data.length if after is None else after
        if not head.length <= block_offset < end:
            raise ValueError("it lies outside the published blocks")
        data = memoryview(self._data.read(block_offset, end - block_offset))
        count, at = read_varint(data, 0)
        size, at = read_varint(data, at)
        datums, length = self.places.inflated(block_offset)
        if count != datums:
            raise ValueError(f"it says {count} datums, the index {datums}")
        if at + size + SYNC_BYTES != len(data) or data[at + size :] != head.sync:
            raise ValueError("its size is wrong or its end is not the sync marker")
        frame = data[at : at + size]
        if (told := zstandard.frame_content_size(frame)) != length:
            raise ValueError(f"it says {told} bytes before compression, the index {length}")
        return self._inflate.decompress(frame)

    def _affected(self, block_offset: int) -> str:
        rows = np.flatnonzero(self.places.block_offset == block_offset)
        some = self.table(("stream", "partition", "offset")).take(rows[:5]).to_pylist()
        names = ", ".join(f"{row['stream']}/{row['partition']}/{row['offset']}" for row in some)
        more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
        return f"{len(rows)} rows, records {names}{more}"
