"""Windows on published bytes: what a reader may see of a file or an object, and nothing beyond."""

from __future__ import annotations

import io
from typing import Protocol

from stream.alertdb.damage import SegmentAbsent, SegmentDamaged, disk_error
from stream.alertdb.disk import Disk


class Readable(Protocol):
    """Published bytes that can be read anywhere: a window on a file or an object."""

    @property
    def name(self) -> str:
        """Name of the file, for messages."""
        ...

    @property
    def length(self) -> int:
        """Published length in bytes."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes from `offset`; SegmentDamaged where that reaches beyond the published length."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Window(io.RawIOBase):
    """A `Readable` as Arrow wants files."""

    def __init__(self, source: Readable) -> None:
        super().__init__()
        self._source = source
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.length}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._source.length - self._at)
        size = left if size is None or size < 0 else min(size, left)
        data = self._source.read(self._at, size)
        self._at += size
        return data

    def size(self) -> int:
        return self._source.length


class DiskWindow:
    """The first `length` bytes of a file on a disk."""

    def __init__(self, disk: Disk, name: str, length: int) -> None:
        self.name = name
        self.length = length
        self._disk = disk
        try:
            self._fd = disk.open(name)
        except FileNotFoundError as error:
            raise SegmentAbsent(name) from error
        except OSError as error:
            raise disk_error(error, name) from error
        if (size := disk.size(self._fd)) < length:
            self.close()
            raise SegmentDamaged(name, f"{length} bytes are published, the file has {size}")

    def read(self, offset: int, size: int) -> bytes:
        check_range(self, offset, size)
        try:
            data = self._disk.read(self._fd, size, offset)
        except OSError as error:
            raise disk_error(error, self.name) from error
        if len(data) != size:
            raise SegmentDamaged(self.name, f"of {size} bytes from {offset} only {len(data)} can be read")
        return data

    def close(self) -> None:
        if self._fd >= 0:
            self._disk.close(self._fd)
            self._fd = -1


def check_range(source: Readable, offset: int, size: int) -> None:
    """Raise SegmentDamaged unless `size` bytes from `offset` are published."""
    if offset < 0 or size < 0 or offset + size > source.length:
        raise SegmentDamaged(
            source.name, f"{size} bytes from {offset} reach beyond its published length of {source.length} bytes"
        )
