"""The few system calls that a segment is kept with, behind a port, so that a double can forget what was not synced."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from stream.alertdb.direct import DirectWriter
from stream.alertdb.names import is_folder, number_of

Bytes = bytes | memoryview


class Disk(Protocol):
    """Files in night folders below one root. Names are ``YYYYMMDD/file``; errors are OSError.

    Nothing survives a crash for sure but bytes and lengths of synced files whose folder, and whose folder's parent,
    were synced after they came into being.
    """

    def make_folder(self, folder: str) -> None:
        """Make the folder unless it is there, and sync the root that holds it."""
        ...

    def sync_folder(self, folder: str) -> None:
        """Make the entries of the folder durable."""
        ...

    def create(self, name: str) -> int:
        """Make a file of a new name for reading and writing; FileExistsError where the name is taken."""
        ...

    def open(self, name: str) -> int:
        """Open a file for reading."""
        ...

    def close(self, fd: int) -> None:
        """Close it."""
        ...

    def write(self, fd: int, buffers: Sequence[Bytes], offset: int) -> int:
        """Write at `offset`; return how many bytes were taken, which a full disk makes fewer."""
        ...

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Return at most `size` bytes from `offset`."""
        ...

    def size(self, fd: int) -> int:
        """Length of the file in bytes."""
        ...

    def truncate(self, fd: int, length: int) -> None:
        """Cut the file to `length` bytes."""
        ...

    def sync(self, fd: int) -> None:
        """Make the file's bytes and length durable."""
        ...

    def leads(self, name: str, fd: int) -> bool:
        """Whether `name` finds this very file: neither it nor a folder above it was removed, moved or replaced."""
        ...

    def release(self, fd: int, offset: int, size: int) -> None:
        """Tell that these synced bytes will hardly be read soon, so that they need not stay in memory."""
        ...

    def unlink(self, name: str) -> None:
        """Take the file's name away."""
        ...

    def names(self) -> Iterator[str]:
        """Names of all segment files."""
        ...

    def free(self) -> int:
        """Bytes that may still be written."""
        ...


class RealDisk:
    """The machine's file system below `root`, which is made, durably, with what it lacks of parents."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._direct = DirectWriter()
        missing = [folder for folder in (root, *root.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            _sync_path(folder.parent)

    def make_folder(self, folder: str) -> None:
        with self._folder("") as root:
            with suppress(FileExistsError):
                os.mkdir(folder, dir_fd=root)
            # Also where another process made it a moment ago: it may not have come to its sync.
            os.fsync(root)

    def sync_folder(self, folder: str) -> None:
        with self._folder(folder) as fd:
            os.fsync(fd)

    def create(self, name: str) -> int:
        return self._open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)

    def open(self, name: str) -> int:
        return self._open(name, os.O_RDONLY)

    def close(self, fd: int) -> None:
        self._direct.close(fd)
        os.close(fd)

    def write(self, fd: int, buffers: Sequence[Bytes], offset: int) -> int:
        return self._direct.write(fd, buffers, offset)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def truncate(self, fd: int, length: int) -> None:
        os.ftruncate(fd, length)

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def leads(self, name: str, fd: int) -> bool:
        try:
            found = (self.root / name).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return os.path.samestat(found, os.fstat(fd))

    def release(self, fd: int, offset: int, size: int) -> None:
        os.posix_fadvise(fd, offset, size, os.POSIX_FADV_DONTNEED)

    def unlink(self, name: str) -> None:
        folder, _, file = name.partition("/")
        with self._folder(folder) as fd:
            os.unlink(file, dir_fd=fd)

    def names(self) -> Iterator[str]:
        for folder in sorted(path for path in self.root.iterdir() if is_folder(path.name) and path.is_dir()):
            for file in sorted(folder.iterdir()):
                name = f"{folder.name}/{file.name}"
                if number_of(name) is not None:
                    yield name

    def free(self) -> int:
        status = os.statvfs(self.root)
        return status.f_bavail * status.f_frsize

    def _open(self, name: str, flags: int) -> int:
        folder, _, file = name.partition("/")
        with self._folder(folder) as fd:
            return os.open(file, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640, dir_fd=fd)

    @contextmanager
    def _folder(self, folder: str) -> Iterator[int]:
        root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if not folder:
                yield root
                return
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
            try:
                yield fd
            finally:
                os.close(fd)
        finally:
            os.close(root)


def _sync_path(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
