"""The segment that is appended to: two files on a disk, written by their owner at positions that it knows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xxhash import xxh3_128

from stream.alertdb.damage import disk_errors
from stream.alertdb.disk import Disk
from stream.alertdb.diskfile import DiskFile
from stream.alertdb.header import SegmentHeader
from stream.alertdb.index import SCHEMA_BYTES, encode_batch
from stream.alertdb.indexfile import read_commits, to_parquet
from stream.alertdb.names import Role
from stream.alertdb.packing import pack
from stream.alertdb.segment import Appended, Sealed, SegmentRef
from stream.alertdb.window import DiskWindow
from stream.errors import Fatal, SkyburstError, Transient

if TYPE_CHECKING:
    from stream.alertdb.blocks import Block

NewFile = Callable[[Role], DiskFile]
"""Makes a file of the segment under a fresh name."""


class AppendSegment:
    """An open segment of a `LocalStore`; `OpenSegment` says what its methods promise."""

    def __init__(self, disk: Disk, header: SegmentHeader, marker: bytes, new_file: NewFile) -> None:
        self.header = header
        self._disk = disk
        self._marker = marker
        self._new_file = new_file
        self._sealing = False
        self._sealed: Sealed | None = None
        self._named = False
        self._again = False
        self._remains = False
        head = header.encode(marker)
        self._data = new_file("data")
        try:
            self._index = new_file("open_index")
            try:
                self._data.write([head], 0)
                self._index.write([SCHEMA_BYTES], 0)
            except BaseException:
                self._index.discard()
                raise
        except BaseException:
            self._data.discard()
            raise
        self._moving = threading.Lock()
        # What is published, then what was appended behind it. Replaced as a whole: one thread may publish the first of
        # the rest while another appends behind that.
        beginning = Appended.beginning(len(head), len(SCHEMA_BYTES), xxh3_128(head))
        self._ends: tuple[Appended, ...] = (beginning,)

    @property
    def ref(self) -> SegmentRef:
        """Where it is, at the lengths published so far."""
        return self._at(self._ends[0])

    @property
    def tip(self) -> SegmentRef:
        """Where it is, with what was appended and is not published yet."""
        return self._at(self._ends[-1])

    @property
    def records(self) -> int:
        """Published rows of the index."""
        return self._ends[0].records

    @property
    def unpublished(self) -> int:
        """Commits that were appended and are not published."""
        return len(self._ends) - 1

    @property
    def failed(self) -> bool:
        """Whether the disk failed under it: seal it by copying, and take a new one."""
        return self._data.failed or self._index.failed

    def append(
        self, blocks: Sequence[Block], rows: Any, note: Mapping[str, object], *, behind: bool = False
    ) -> Appended:
        """Write at the published lengths, over whatever was appended but not published; or `behind` that."""
        if self._sealing:
            raise Fatal("segment_sealing", f"{self._data.name} is being sealed: nothing is appended to it any more")
        if behind:
            self._remains = True
        else:
            self._drop()
        done = self._ends[-1]
        packed = pack(blocks, rows, note, base=done.data_length, sync=self._marker, running=done.running)
        message = memoryview(encode_batch(packed.rows, packed.note))
        if self._again:
            self._data.write([self.header.encode(self._marker)], 0)
            self._index.write([SCHEMA_BYTES], 0)
        self._data.write(packed.buffers, done.data_length)
        self._index.write([message], done.index_length)
        appended = Appended(
            base=done.data_length,
            data_length=packed.end,
            index_length=done.index_length + len(message),
            records=done.records + rows.num_rows,
            block_offsets=packed.block_offsets,
            running=packed.running,
        )
        with self._moving:
            self._ends = (*self._ends, appended)
        return appended

    def sync(self) -> None:
        """Make what was appended durable, and at first the files' names."""
        try:
            self._data.sync()
            self._index.sync()
        except SkyburstError:
            # Also of a full disk, which some file systems only notice here: the pages count as clean now, so that
            # only writing them again makes them durable. Before the first sync that is the files' heads, too.
            self._again = not self._named
            with self._moving:
                self._ends = self._ends[:1] + self._ends[1:-1]
            raise
        # A page used again costs a seventh of one that the machine touches for the first time (measured in a guest).
        last = self._ends[-1]
        self._data.release(last.base, last.data_length - last.base)
        if not self._named:
            self._sync_names()
            self._named, self._again = True, False

    def publish(self, appended: Appended) -> None:
        """Take note that the transaction that names these lengths is committed."""
        with self._moving:
            if not self.holds(appended):
                raise Fatal("segment_positions", f"{self._data.name}: published is not what was appended")
            self._ends = self._ends[1:]

    def holds(self, appended: Appended) -> bool:
        """Whether `appended` still stands right behind what is published."""
        return any(one is appended for one in self._ends[1:2])

    def seal(self) -> Sealed:
        """Write the index anew as Parquet, cut the data to its published length, make both durable, and let go."""
        if self._sealed is not None:
            return self._sealed
        if self.failed:
            raise Transient("disk_failed", f"{self._data.name}: the disk failed", "seal the segment by copying")
        self._sealing = True
        done = self._ends[0]
        window = DiskWindow(self._disk, self._index.name, done.index_length)
        try:
            parquet, records = to_parquet(read_commits(window), self._index.name)
        finally:
            window.close()
        index = self._new_file("index")
        try:
            index.write([parquet], 0)
            index.sync()
            self._data.truncate(done.data_length)
            self._data.sync()
            self._sync_names()
        except BaseException:
            index.discard()
            raise
        index.close()
        self.close()
        self._sealed = Sealed(
            number=self.header.number,
            data_name=self._data.name,
            index_name=index.name,
            data_length=done.data_length,
            index_length=len(parquet),
            records=records,
            digest=done.running.digest(),
            index_digest=xxh3_128(parquet).digest(),
        )
        return self._sealed

    def close(self) -> None:
        """Let go of the files, as they are."""
        self._data.close()
        self._index.close()

    def _drop(self) -> None:
        """Forget what is not published, and what was written behind that as well: it would tell of commits to come."""
        if self._remains:
            self._index.truncate(self._ends[0].index_length)
            self._remains = False
        with self._moving:
            self._ends = self._ends[:1]

    def _at(self, end: Appended) -> SegmentRef:
        return SegmentRef(self.header.number, self._data.name, self._index.name, end.data_length, end.index_length)

    def _sync_names(self) -> None:
        folder = self._data.name.partition("/")[0]
        with disk_errors(folder):
            self._disk.sync_folder(folder)
