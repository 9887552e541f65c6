"""The two forms of an index as files: the Arrow stream of an open segment, the Parquet of a sealed one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stream.alertdb.damage import SegmentAbsent, SegmentDamaged
from stream.alertdb.index import NOTE_KEY, SCHEMA, SCHEMA_BYTES, check_note, encode_note
from stream.alertdb.names import role_of
from stream.alertdb.rowdigest import row_digest
from stream.alertdb.window import Readable, Window

ROW_GROUP = 1024
COMMITS_KEY = b"skyburst.commits"
UNREADABLE = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, IndexError, OverflowError, MemoryError)
"""What Arrow raises on bytes that are not what it wrote."""

_FEW_VALUES = ["stream", "partition", "part", "visit", "detector", "chunk", "headers.list.element.key", "code"]


@dataclass(frozen=True, slots=True)
class Commit:
    """One index batch: a commit's note, and which rows of the index are its (``first`` up to ``first + rows``)."""

    note: dict[str, Any]
    first: int
    rows: int


def read_stream(source: Readable, start: int = 0) -> Iterator[tuple[Any, bytes]]:
    """Yield the batches of an open index and their notes, both unchecked, from the one that begins at byte `start`."""
    begin = start or len(SCHEMA_BYTES)
    if start == 0 and source.read(0, len(SCHEMA_BYTES)) != SCHEMA_BYTES:
        raise SegmentDamaged(source.name, "this is not the beginning of an index of this version")
    # The schema is ours, so that a growing index can be read on from where it was left.
    data = source.read(begin, source.length - begin)
    try:
        reader = pa.ipc.open_stream(pa.py_buffer(SCHEMA_BYTES + data))
        while True:
            rows, metadata = reader.read_next_batch_with_custom_metadata()
            rows.validate()
            yield rows, metadata[NOTE_KEY]
    except StopIteration:
        return
    except UNREADABLE as error:
        raise SegmentDamaged(source.name, f"the index cannot be read: {error}") from error


def read_commits(source: Readable) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield the batches of an open index and their notes; `to_parquet` holds them against each other."""
    for rows, note in read_stream(source):
        yield rows, parse_note(note, source.name)


def parse_note(note: bytes, name: str) -> dict[str, Any]:
    """Return the note in a batch's metadata; SegmentDamaged where it is not what was published."""
    try:
        return check_note(json.loads(note))
    except ValueError as error:
        raise SegmentDamaged(name, f"the note of a commit cannot be read: {error}") from error


def check_rows(rows: Any, note: Mapping[str, Any], name: str) -> None:
    """Raise SegmentDamaged unless a commit's index rows are what its note says."""
    try:
        rows.validate(full=True)
        sound = row_digest(rows) == note.get("rows")
    except UNREADABLE:
        sound = False
    if not sound:
        raise SegmentDamaged(name, f"the index rows of commit {note.get('commit')} are not what was published")


def to_parquet(batches: Iterable[tuple[Any, dict[str, Any]]], name: str) -> tuple[memoryview, int]:
    """Return index batches with their notes as the bytes of a Parquet file, and how many rows it has.

    Raises
    ------
    SegmentDamaged
        A batch is not what its note says, so that a sealed index always is what was published.
    """
    commits: list[bytes] = []
    waiting: list[Any] = []
    rows = held = 0
    sink = pa.BufferOutputStream()
    options = {"compression": "zstd", "use_dictionary": _FEW_VALUES, "write_page_checksum": True}
    with pq.ParquetWriter(sink, SCHEMA, **options) as writer:
        for batch, note in batches:
            check_rows(batch, note, name)
            commits.append(b'{"rows":%d,"note":%b}' % (batch.num_rows, encode_note(note)))
            waiting.append(batch)
            rows, held = rows + batch.num_rows, held + batch.num_rows
            if held >= ROW_GROUP:
                writer.write_table(pa.Table.from_batches(waiting, SCHEMA), row_group_size=_group_rows(held))
                waiting, held = [], 0
        if held:
            writer.write_table(pa.Table.from_batches(waiting, SCHEMA), row_group_size=_group_rows(held))
        writer.add_key_value_metadata({COMMITS_KEY: b"[%b]" % b",".join(commits)})
    return memoryview(sink.getvalue()), rows


def _group_rows(held: int) -> int:
    """Rows a group: as few as a fetch wants to read, but no group of a few left over."""
    return -(-held // max(1, held // ROW_GROUP))


def parquet_commits(file: Any, name: str) -> tuple[Commit, ...]:
    """Return the commits of a sealed index from its file metadata."""
    try:
        kept = json.loads(file.metadata.metadata[COMMITS_KEY])
        commits: list[Commit] = []
        first = 0
        for entry in kept:
            commits.append(Commit(check_note(entry["note"]), first, int(entry["rows"])))
            first += commits[-1].rows
    except (KeyError, TypeError, ValueError) as error:
        raise SegmentDamaged(name, f"the index lacks its commits: {error!r}") from error
    if first != file.metadata.num_rows:
        raise SegmentDamaged(name, f"the commits have {first} rows, the index {file.metadata.num_rows}")
    return tuple(commits)


def notes_of(index: Readable | None) -> list[dict[str, Any]]:
    """The notes of the commits in an index file, which is closed, as far as they can be read; none where it is gone."""
    if index is None:
        return []
    found: list[dict[str, Any]] = []
    try:
        if role_of(index.name) == "index":
            with pq.ParquetFile(Window(index)) as file:
                return [commit.note for commit in parquet_commits(file, index.name)]
        for _, note in read_commits(index):
            found.append(note)
    except (SegmentAbsent, SegmentDamaged, *UNREADABLE):
        pass
    finally:
        index.close()
    return found
