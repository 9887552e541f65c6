"""A file under a fresh name on a disk: made, written at positions, synced; given up for good once the disk failed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from stream.alertdb.damage import disk_error
from stream.alertdb.disk import Bytes, Disk
from stream.errors import Transient

_MOST_BUFFERS = 900


class DiskFile:
    """One file of a segment, as its owner writes it.

    After an error other than a full disk it is never written or synced again: a kernel that could not write a page
    back forgets that it was dirty, so that the next sync would say yes to bytes which are not there.
    """

    def __init__(self, disk: Disk, name: str) -> None:
        """Make the file; its name must never have been used before."""
        self.name = name
        self.failed = False
        self._disk = disk
        try:
            self.fd = disk.create(name)
        except OSError as error:
            raise disk_error(error, name) from error

    def write(self, buffers: Sequence[Bytes], offset: int) -> int:
        """Write all of `buffers` at `offset`; return where they end.

        Raises
        ------
        Transient
            ``disk_full`` where only a part was taken; ``disk_failed``.
        """
        for low in range(0, len(buffers), _MOST_BUFFERS):
            some = buffers[low : low + _MOST_BUFFERS]
            size = sum(map(len, some))
            with self._failing():
                taken = self._disk.write(self.fd, some, offset)
            if taken != size:
                raise Transient("disk_full", f"{self.name}: {taken} of {size} bytes taken at {offset}", "make room")
            offset += size
        return offset

    def sync(self) -> None:
        """Make bytes and length durable.

        Raises
        ------
        Transient
            ``disk_failed``: also where the name leads to this file no more, since nobody would find what was synced.
        """
        with self._failing():
            self._disk.sync(self.fd)
            self.failed = not self._disk.leads(self.name, self.fd)
        if self.failed:
            text = f"{self.name} was taken away under its writer"
            raise Transient("disk_failed", text, "is the AlertDB's file system mounted, and in its place?")

    def release(self, offset: int, size: int) -> None:
        """Let the system forget synced bytes: a night would push everything else out of its memory."""
        with suppress(OSError):
            self._disk.release(self.fd, offset, size)

    def truncate(self, length: int) -> None:
        """Cut the file to `length` bytes."""
        with self._failing():
            self._disk.truncate(self.fd, length)

    def close(self) -> None:
        """Let go of the file, as it is."""
        if self.fd >= 0:
            with suppress(OSError):
                self._disk.close(self.fd)
            self.fd = -1

    def discard(self) -> None:
        """Close the file and take its name away: only for one that nobody was told of."""
        self.close()
        with suppress(OSError):
            self._disk.unlink(self.name)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        if self.failed:
            raise Transient("disk_failed", f"{self.name}: the disk failed before", "seal the segment by copying")
        try:
            yield
        except OSError as error:
            policy = disk_error(error, self.name)
            self.failed = policy.code != "disk_full"
            raise policy from error
