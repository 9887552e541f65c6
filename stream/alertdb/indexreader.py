"""Reading the index of a segment, whichever form it has: where each datum lies, and what else is known of a row."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stream.alertdb.damage import SegmentDamaged
from stream.alertdb.index import SCHEMA
from stream.alertdb.indexfile import UNREADABLE, Commit, check_rows, parquet_commits, parse_note, read_stream
from stream.alertdb.window import Readable, Window

_KEPT_GROUPS = 4
_READ_WHOLE = 4 * 1024 * 1024


class Index(Protocol):
    """The published rows of a segment's index, in the order in which they were appended."""

    @property
    def commits(self) -> Sequence[Commit]:
        """The commits, in order."""
        ...

    def table(self, columns: Sequence[str] | None = None) -> Any:
        """Return the rows as a ``pa.Table``, with all or some of the columns, held against their digests."""
        ...

    def columns(self, names: Sequence[str]) -> Any:
        """Return columns of all rows, of which only those may be believed that `check` has not refused."""
        ...

    def rows(self, first: int, count: int, columns: Sequence[str] | None = None) -> Any:
        """Return `count` rows from `first` as a ``pa.Table``, held against their digests."""
        ...

    def check(self, row: int) -> None:
        """Raise SegmentDamaged where the index around `row` is not what was published."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class StreamIndex:
    """An open index. `follow` reads on where the published length has grown.

    A commit's rows are held against their digest when first one of them is asked for, not all at the beginning: an
    index of a night has a thousand commits.
    """

    def __init__(self, source: Readable) -> None:
        self._name = source.name
        self._read_to = 0
        self._batches: list[Any] = []
        self._notes: list[bytes] = []
        self._starts = [0]
        self._commits: list[Commit] = []
        self._sound: set[int] = set()
        self.follow(source)

    @property
    def commits(self) -> Sequence[Commit]:
        """The commits, in order."""
        for batch in range(len(self._commits), len(self._batches)):
            note = parse_note(self._notes[batch], self._name)
            self._commits.append(Commit(note, self._starts[batch], self._batches[batch].num_rows))
        return self._commits

    def follow(self, source: Readable) -> None:
        """Read what was published since, and close `source`."""
        try:
            for batch, note in read_stream(source, self._read_to):
                self._batches.append(batch)
                self._notes.append(note)
                self._starts.append(self._starts[-1] + batch.num_rows)
            self._read_to = source.length
        finally:
            source.close()

    def table(self, columns: Sequence[str] | None = None) -> Any:
        """Return the rows as a ``pa.Table``, held against their digests."""
        return self.rows(0, self._starts[-1], columns)

    def columns(self, names: Sequence[str]) -> Any:
        """Return columns of all rows, unchecked."""
        return self._joined(0, len(self._batches), names)

    def rows(self, first: int, count: int, columns: Sequence[str] | None = None) -> Any:
        """Return `count` rows from `first`, held against their digests."""
        low = max(0, bisect_right(self._starts, first) - 1)
        high = min(bisect_left(self._starts, first + count), len(self._batches))
        for batch in range(low, high):
            self._hold(batch)
        table = self._joined(low, high, SCHEMA.names if columns is None else columns)
        return table.slice(first - self._starts[low], count)

    def check(self, row: int) -> None:
        """Raise SegmentDamaged where the rows of `row`'s commit are not what was published."""
        self._hold(bisect_right(self._starts, row) - 1)

    def close(self) -> None:
        """Nothing is held but memory."""

    def _joined(self, low: int, high: int, names: Sequence[str]) -> Any:
        schema = pa.schema([SCHEMA.field(name) for name in names])
        return pa.Table.from_batches([batch.select(list(names)) for batch in self._batches[low:high]], schema)

    def _hold(self, batch: int) -> None:
        if batch not in self._sound:
            check_rows(self._batches[batch], parse_note(self._notes[batch], self._name), self._name)
            self._sound.add(batch)


class ParquetIndex:
    """A sealed index, read by groups of rows; the groups used last are kept."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        try:
            if source.length <= _READ_WHOLE:
                data = pa.BufferReader(source.read(0, source.length))
            else:
                data = pa.PythonFile(Window(source), mode="r")
            self._file = pq.ParquetFile(data, page_checksum_verification=True)
            if not self._file.schema_arrow.equals(SCHEMA):
                raise SegmentDamaged(source.name, "this is not an index of this version")
        except UNREADABLE as error:
            source.close()
            raise SegmentDamaged(source.name, f"the index cannot be read: {error}") from error
        except BaseException:
            source.close()
            raise
        sizes = [self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups)]
        self._starts = np.cumsum([0, *sizes])
        self._commits: Sequence[Commit] | None = None
        self._groups: dict[tuple[int, tuple[str, ...]], Any] = {}

    @property
    def commits(self) -> Sequence[Commit]:
        """The commits, in order; read when first asked for, since a fetch of one packet needs none of them."""
        if self._commits is None:
            self._commits = parquet_commits(self._file, self._source.name)
        return self._commits

    def table(self, columns: Sequence[str] | None = None) -> Any:
        """Return the rows as a ``pa.Table``."""
        return self.columns(SCHEMA.names if columns is None else columns)

    def columns(self, names: Sequence[str]) -> Any:
        """Return columns of all rows."""
        return self._read(range(len(self._starts) - 1), tuple(names))

    def rows(self, first: int, count: int, columns: Sequence[str] | None = None) -> Any:
        """Return `count` rows from `first`."""
        names = tuple(SCHEMA.names if columns is None else columns)
        low = max(0, int(np.searchsorted(self._starts, first, side="right")) - 1)
        high = int(np.searchsorted(self._starts, first + count, side="left"))
        groups = range(low, min(high, len(self._starts) - 1))
        table = self._group(low, names) if len(groups) == 1 else self._read(groups, names)
        return table.slice(first - int(self._starts[low]), count)

    def check(self, row: int) -> None:
        """Nothing to do: each page that is read is held against its checksum."""

    def close(self) -> None:
        """Let go of the file."""
        self._file.close(force=True)
        self._source.close()

    def _group(self, group: int, names: tuple[str, ...]) -> Any:
        kept = self._groups.pop((group, names), None)
        if kept is None:
            kept = self._read([group], names)
            while len(self._groups) >= _KEPT_GROUPS:
                self._groups.pop(next(iter(self._groups)))
        self._groups[group, names] = kept
        return kept

    def _read(self, groups: Sequence[int], names: tuple[str, ...]) -> Any:
        try:
            table = self._file.read_row_groups(list(groups), columns=list(names), use_threads=False)
            return table.select(list(names)).replace_schema_metadata(None)
        except UNREADABLE as error:
            raise SegmentDamaged(self._source.name, f"the index cannot be read: {error}") from error


class Places:
    """Where each row's datum lies, in NumPy columns: what every fetch begins with."""

    COLUMNS = ("blockOffset", "slot", "part", "datumStart", "datumSize", "digest")

    def __init__(self, index: Index) -> None:
        table = index.columns(self.COLUMNS)
        columns: Mapping[str, NDArray[Any]] = {
            name: table.column(name).to_numpy() for name in self.COLUMNS if name != "digest"
        }
        self.block_offset: NDArray[np.int64] = columns["blockOffset"]
        self.slot: NDArray[np.int32] = columns["slot"]
        self.part: NDArray[np.int32] = columns["part"]
        self.start: NDArray[np.int32] = columns["datumStart"]
        self.size: NDArray[np.int32] = columns["datumSize"]
        self._digest = table.column("digest").combine_chunks()
        self._blocks = np.unique(self.block_offset)

    def __len__(self) -> int:
        return len(self.block_offset)

    def digest(self, row: int) -> bytes:
        """Return the digest of a row's packet."""
        return bytes(self._digest[row].as_py())

    def find(self, block_offset: int, slot: int, part: int = 0) -> int | None:
        """Return the row whose datum lies there, None where there is none."""
        rows = np.flatnonzero((self.block_offset == block_offset) & (self.slot == slot) & (self.part == part))
        return int(rows[0]) if len(rows) else None

    def inflated(self, block_offset: int) -> tuple[int, int]:
        """Return how many datums a block has, and its bytes before compression."""
        rows = np.flatnonzero(self.block_offset == block_offset)
        return int(self.slot[rows].max()) + 1, int((self.start[rows] + self.size[rows]).max())

    def next_block(self, block_offset: int) -> int | None:
        """Return where the block after this one begins, None for the last."""
        at = int(np.searchsorted(self._blocks, block_offset, side="right"))
        return int(self._blocks[at]) if at < len(self._blocks) else None
