"""Reading an index with pyarrow alone: batches of rows with their commits' notes, held against the digests there."""

from __future__ import annotations

import io
import json
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_128

from stream.audit.files import File
from stream.audit.notes import Damaged, Note, parse_note, read_note

_BROKEN = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, IndexError, OverflowError, MemoryError)
_BUFFER = 1 << 20
_COLUMNS = [
    *("stream", "partition", "offset", "part", "timestamp", "key", "headers", "head", "tail", "diaSourceId"),
    *("diaObjectId", "visit", "detector", "midpointMjdTai", "ra", "dec", "chunk", "healpix"),
    *("blockOffset", "slot", "datumStart", "datumSize", "digest", "code", "reason"),
]


class Published(io.RawIOBase):
    """The first `length` bytes of a file, as Arrow and fastavro want files."""

    def __init__(self, file: File, length: int) -> None:
        super().__init__()
        self._file = file
        self._length = length
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def size(self) -> int:
        return self._length

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(self._at, min(len(buffer), max(0, self._length - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def read_index(name: str, file: File, length: int) -> Iterator[tuple[Any, Note]]:
    """Yield each commit's rows (``pa.Table``) and note, in the order of the index.

    Raises
    ------
    Damaged
        From here on the index cannot be read, or a note or rows are not what was published.
    """
    batches = _sealed(file, length) if name.endswith(".parquet") else _open(file, length)
    try:
        for rows, note in batches:
            check_rows(rows, note)
            yield rows, note
    except _BROKEN as error:
        raise Damaged(f"the index cannot be read: {_line(error)}") from error


def check_rows(rows: Any, note: Note) -> None:
    """Raises `Damaged` where the index rows of a commit are not those that its note is of."""
    if rows.schema.names != _COLUMNS:
        raise Damaged("the index does not have the columns of this format")
    try:
        rows.validate(full=True)
        same = row_digest(rows) == note.rows
    except _BROKEN as error:
        raise Damaged(f"the index rows of commit {note.commit} cannot be read: {_line(error)}") from error
    if not same:
        raise Damaged(f"the index rows of commit {note.commit} do not have their digest")


def open_batches(file: File, length: int) -> Iterator[tuple[Any, Note, int]]:
    """Yield what an open index has, unchecked, each batch with the byte after it; ends where the bytes are torn."""
    source = pa.PythonFile(io.BufferedReader(Published(file, length), _BUFFER), mode="r")
    try:
        reader = pa.ipc.open_stream(source)
        while True:
            batch, metadata = reader.read_next_batch_with_custom_metadata()
            yield pa.Table.from_batches([batch]), read_note(metadata[b"skyburst"]), source.tell()
    except (StopIteration, Damaged, *_BROKEN):
        return


def _open(file: File, length: int) -> Iterator[tuple[Any, Note]]:
    source = pa.PythonFile(io.BufferedReader(Published(file, length), _BUFFER), mode="r")
    reader = pa.ipc.open_stream(source)
    while source.tell() < length:
        try:
            batch, metadata = reader.read_next_batch_with_custom_metadata()
        except StopIteration:
            raise Damaged(f"the index ends at byte {source.tell()}, before its {length} published bytes") from None
        yield pa.Table.from_batches([batch]), read_note(metadata[b"skyburst"])


def _sealed(file: File, length: int) -> Iterator[tuple[Any, Note]]:
    parquet = pq.ParquetFile(pa.PythonFile(Published(file, length), mode="r"), page_checksum_verification=True)
    commits = deque(json.loads(parquet.metadata.metadata[b"skyburst.commits"]))
    waiting = parquet.schema_arrow.empty_table()
    groups = iter(range(parquet.num_row_groups))
    while commits:
        commit = commits.popleft()  # What was read is let go of: a rebuild has many indexes open.
        count = int(commit["rows"])
        while waiting.num_rows < count:
            group = next(groups, None)
            if group is None:
                raise Damaged("the index has fewer rows than its commits")
            waiting = pa.concat_tables([waiting, parquet.read_row_group(group, use_threads=False)])
        yield waiting.slice(0, count).replace_schema_metadata(None), parse_note(commit["note"])
        waiting = waiting.slice(count)
    if waiting.num_rows or next(groups, None) is not None:
        raise Damaged("the index has more rows than its commits")


def row_digest(rows: Any) -> str:
    """The digest (hex) of index rows as the reference of the format defines it."""
    digest = xxh3_128()
    for field in rows.schema:
        _digest(digest, field, rows.column(field.name).combine_chunks())
    return str(digest.hexdigest())


def _digest(digest: Any, field: Any, column: Any) -> None:
    digest.update(field.name.encode())
    kind = field.type
    if field.nullable:
        digest.update(bytes(column.is_valid().cast(pa.uint8()).to_pylist()))
    if pa.types.is_list(kind):
        lists = column.to_pylist()
        digest.update(np.array([len(one) for one in lists], "<i4").tobytes())
        for inner in kind.value_type:
            items = pa.array([item[inner.name] for one in lists for item in one], inner.type)
            _digest(digest, inner, items)
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        letter = "f" if pa.types.is_floating(kind) else "i"
        values = np.array(column.fill_null(0), f"<{letter}{kind.bit_width // 8}")
        digest.update(values.tobytes())
    else:
        texts = (value for value in column.to_pylist() if value is not None)
        there = [value.encode() if isinstance(value, str) else value for value in texts]
        digest.update(np.array([len(value) for value in there], "<i4").tobytes())
        digest.update(b"".join(there))


def _line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
