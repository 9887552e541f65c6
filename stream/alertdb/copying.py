"""The published bytes of a segment on their way into new files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from stream.alertdb.indexfile import parquet_commits, read_commits, to_parquet
from stream.alertdb.names import role_of
from stream.alertdb.segment import SegmentRef

if TYPE_CHECKING:
    from stream.alertdb.port import SegmentStore

PIECE_BYTES = 4 * 1024 * 1024


def pieces(source: SegmentStore, ref: SegmentRef) -> Iterator[bytes]:
    """Yield the published bytes of a segment's data file, in pieces of at most 4 MiB."""
    window = source.window(ref.data_name, ref.data_length)
    try:
        for at in range(0, ref.data_length, PIECE_BYTES):
            yield window.read(at, min(PIECE_BYTES, ref.data_length - at))
    finally:
        window.close()


def copied_index(source: SegmentStore, ref: SegmentRef) -> tuple[bytes | memoryview, int]:
    """Return a segment's published index as the bytes of a Parquet file, and how many rows it has."""
    window = source.window(ref.index_name, ref.index_length)
    try:
        if role_of(ref.index_name) == "open_index":
            return to_parquet(read_commits(window), window.name)
        data = window.read(0, ref.index_length)
        commits = parquet_commits(pq.ParquetFile(pa.py_buffer(data)), window.name)
        return data, sum(commit.rows for commit in commits)
    finally:
        window.close()
