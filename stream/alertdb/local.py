"""Segments in night folders of a file system, where they can be appended to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from xxhash import xxh3_128

from stream.alertdb.appending import AppendSegment
from stream.alertdb.cache import BlockCache
from stream.alertdb.container import SYNC_BYTES
from stream.alertdb.copying import copied_index, pieces
from stream.alertdb.damage import SegmentAbsent, disk_errors
from stream.alertdb.disk import Disk, RealDisk
from stream.alertdb.diskfile import DiskFile
from stream.alertdb.header import SegmentHeader
from stream.alertdb.names import Role, Token, file_name, night_of, number_of, parsed, random_token
from stream.alertdb.port import SegmentStore
from stream.alertdb.reader import SegmentReader
from stream.alertdb.segment import OpenSegment, Sealed, SegmentRef
from stream.alertdb.window import DiskWindow, Readable


class LocalStore:
    """The store on a file system that all daemons share: one host, or one POSIX file system.

    Parameters
    ----------
    folder
        The AlertDB's root; made where it is not there.
    disk
        The system calls; the machine's own unless a test holds them.
    token, marker
        Sources of the sixteen hex digits in names and of the sync markers.
    """

    appends = True

    def __init__(
        self,
        folder: Path,
        disk: Disk | None = None,
        *,
        token: Token = random_token,
        marker: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.folder = folder
        self._token = token
        self._marker = marker
        self._cache = BlockCache()
        with disk_errors(str(folder)):
            self._disk = RealDisk(folder) if disk is None else disk

    def create(self, header: SegmentHeader) -> OpenSegment:
        """Begin a segment under fresh names."""
        night, number = header.key.night, header.number
        return AppendSegment(
            self._disk, header, self._marker(SYNC_BYTES), lambda role: self._new_file(night, number, role)
        )

    def read(self, ref: SegmentRef) -> SegmentReader:
        """Open a segment's published bytes."""
        return SegmentReader.open(ref, self.window, self._cache)

    def window(self, name: str, length: int) -> Readable:
        """Open the first `length` bytes of one file."""
        return DiskWindow(self._disk, parsed(name), length)

    def whole(self, name: str) -> Readable | None:
        """Open all bytes that a file has; None where it is gone."""
        with disk_errors(name):
            try:
                fd = self._disk.open(parsed(name))
            except FileNotFoundError:
                return None
            try:
                size = self._disk.size(fd)
            finally:
                self._disk.close(fd)
        try:
            return self.window(name, size)
        except SegmentAbsent:
            return None

    def copy(self, ref: SegmentRef, number: int, source: SegmentStore | None = None) -> Sealed:
        """Copy a segment's published bytes to new files here, sealed."""
        night = night_of(ref.data_name)
        origin = self if source is None else source
        index_bytes, records = copied_index(origin, ref)
        data, index = self._new_file(night, number, "data"), None
        try:
            digest, at = xxh3_128(), 0
            for piece in pieces(origin, ref):
                digest.update(piece)
                at = data.write([piece], at)
            data.sync()
            index = self._new_file(night, number, "index")
            index.write([index_bytes], 0)
            index.sync()
            self._sync_folder(night)
        except BaseException:
            for file in (data, index):
                if file is not None:
                    file.discard()
            raise
        data.close()
        index.close()
        return Sealed(
            number=number,
            data_name=data.name,
            index_name=index.name,
            data_length=at,
            index_length=len(index_bytes),
            records=records,
            digest=digest.digest(),
            index_digest=xxh3_128(index_bytes).digest(),
        )

    def remove(self, name: str) -> None:
        """Remove a file, which may be gone already."""
        with disk_errors(name):
            try:
                self._disk.unlink(parsed(name))
            except FileNotFoundError:
                return

    def retire(self, ref: SegmentRef) -> str:
        """Leave a durable marker file for a segment whose packets are to go for good."""
        night = night_of(ref.data_name)
        marker = self._new_file(night, ref.number, "retired")
        try:
            marker.sync()
            self._sync_folder(night)
        finally:
            marker.close()
        return marker.name

    def names(self) -> Iterator[tuple[str, int]]:
        """Names of all files that look like ours, each with the number in it."""
        with disk_errors(str(self.folder)):
            for name in self._disk.names():
                if (number := number_of(name)) is not None:
                    yield name, number

    def free(self) -> int:
        """Bytes that may still be written."""
        with disk_errors(str(self.folder)):
            return self._disk.free()

    def _new_file(self, night: int, number: int, role: Role) -> DiskFile:
        folder, name = f"{night:08d}", file_name(night, number, self._token(), role)
        # Each time: somebody may have taken the folder, or the root, away and made another.
        with disk_errors(folder):
            self._disk.make_folder(folder)
        return DiskFile(self._disk, name)

    def _sync_folder(self, night: int) -> None:
        with disk_errors(f"{night:08d}"):
            self._disk.sync_folder(f"{night:08d}")
