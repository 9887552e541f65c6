"""Opening the AlertDB's files for an audit: a folder or an object store, whole files by their names."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import obstore
from obstore import exceptions
from xxhash import xxh3_128

from stream.errors import Fatal, Held, Transient, Wrong, one_line

PIECE = 4 << 20
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_LINKED = {errno.ELOOP, errno.ENOTDIR}
_BROKEN = {errno.EIO, errno.EBADMSG, errno.EUCLEAN, errno.ENXIO}
_NAME = re.compile(r"\d{8}/\d{1,19}-[0-9a-f]{16}\.(avro|arrows|parquet|retired)")


class Absent(Exception):
    """There is no file of this name: it may just have been sealed, taken over or moved."""


class Unreadable(Held):
    """The disk does not give the bytes of a file that is there, or a link stands in its place."""

    def __init__(self, what: str) -> None:
        super().__init__("segment_damaged", what)


class File(Protocol):
    """An open file."""

    @property
    def size(self) -> int:
        """Bytes that it has now."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset`; fewer where the file ends; raises `Unreadable`."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Files(Protocol):
    """Where files lie."""

    def open(self, name: str) -> File:
        """Open a file; raises `Absent` and `Unreadable`."""
        ...

    def names(self) -> Iterator[str]:
        """The names of all files that look like segments'."""
        ...


class FolderFiles:
    """Files in night folders below a root; as for who writes there, neither may be a link."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise Transient("store_away", f"there is no folder {root}", "is the AlertDB's file system mounted?")
        self._root = root

    def open(self, name: str) -> File:
        """Open a file; raises `Absent` and `Unreadable`."""
        folder, _, file = _ours(name).partition("/")
        try:
            night = os.open(self._root / folder, _OPEN | os.O_DIRECTORY)
            try:
                return _FolderFile(os.open(file, _OPEN, dir_fd=night))
            finally:
                os.close(night)
        except FileNotFoundError:
            raise Absent(name) from None
        except OSError as error:
            if error.errno in _LINKED:
                raise Unreadable(f"{name} is a link, or lies behind one: no reader and no daemon follows it") from error
            if error.errno in _BROKEN:
                raise Unreadable(f"{name}: {error.strerror}") from error
            raise _trouble(name, error) from error

    def names(self) -> Iterator[str]:
        """The names of all files that look like segments'."""
        for path in sorted(self._root.glob("*/*")):
            name = path.relative_to(self._root).as_posix()
            if _NAME.fullmatch(name):
                yield name


class _FolderFile:
    def __init__(self, handle: int) -> None:
        self._handle = handle

    @property
    def size(self) -> int:
        return os.fstat(self._handle).st_size

    def read(self, offset: int, size: int) -> bytes:
        try:
            return os.pread(self._handle, size, offset)
        except OSError as error:
            raise Unreadable(f"byte {offset}: {error.strerror}") from error

    def close(self) -> None:
        os.close(self._handle)


class ObjectFiles:
    """Files in an object store."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def open(self, name: str) -> File:
        """Open a file; raises `Absent`."""
        try:
            return _ObjectFile(self._store, name, obstore.head(self._store, _ours(name))["size"])
        except FileNotFoundError:
            raise Absent(name) from None
        except exceptions.BaseError as error:
            raise _trouble(name, error) from error

    def names(self) -> Iterator[str]:
        """The names of all files that look like segments'."""
        try:
            for page in obstore.list(self._store):
                yield from sorted(found["path"] for found in page if _NAME.fullmatch(found["path"]))
        except exceptions.BaseError as error:
            raise _trouble("the store", error) from error


class _ObjectFile:
    def __init__(self, store: Any, name: str, size: int) -> None:
        self._store = store
        self._name = name
        self.size = size

    def read(self, offset: int, size: int) -> bytes:
        size = min(size, self.size - offset)
        if size <= 0:
            return b""
        try:
            return bytes(obstore.get_range(self._store, self._name, start=offset, length=size))
        except FileNotFoundError:
            raise Absent(self._name) from None
        except exceptions.BaseError as error:
            raise _trouble(self._name, error) from error

    def close(self) -> None:
        """Nothing is held."""


def open_files(setting: str) -> Files:
    """Open what the setting ``alertdb`` names: a folder, or the URL of an object store.

    Raises
    ------
    Wrong
        ``setting``: there is no such kind of store, or its URL or environment lacks what it needs.
    Transient
        ``store_away``.
    """
    if "://" not in setting:
        return FolderFiles(Path(setting))
    kind = ""
    try:
        kind = obstore.parse_scheme(setting)
        if kind == "http":
            raise ValueError("a web server cannot be listed; the host of an object store is AWS_ENDPOINT")
        return ObjectFiles(obstore.store.from_url(setting))
    except (exceptions.BaseError, ValueError, OSError) as error:
        if kind == "local":
            raise _trouble(setting, error) from error
        advice = "write a folder, or an object store's URL such as s3://bucket/prefix, its keys in the environment"
        raise Wrong("setting", f"alertdb: {setting}: {one_line(error)}", advice) from error


def read_whole(file: File, length: int) -> bytes:
    """The first `length` bytes, fewer where the file is shorter."""
    return b"".join(_pieces(file, length))


def digest_of(file: File, length: int) -> bytes:
    """The xxh3-128 of the first `length` bytes."""
    digest = xxh3_128()
    for piece in _pieces(file, length):
        digest.update(piece)
    return bytes(digest.digest())


def _pieces(file: File, length: int) -> Iterator[bytes]:
    at = 0
    while at < length and (piece := file.read(at, min(PIECE, length - at))):
        yield piece
        at += len(piece)


def _ours(name: str | None) -> str:
    if name is None or _NAME.fullmatch(name) is None:
        raise Absent(name)
    return name


def _trouble(name: str, error: Exception) -> Transient | Fatal:
    text = f"{name}: {one_line(error)}"
    refused = (PermissionError, exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
    if isinstance(error, refused):
        return Fatal("store_refused", text, "give this user the right to read there")
    return Transient("store_away", text, "is the AlertDB's store reachable?")
