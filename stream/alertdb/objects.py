"""Segments in an object store, which cannot append: each is sealed at birth, two objects that are put once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore import exceptions, parse_scheme
from obstore.store import from_url
from xxhash import xxh3_128

from stream.alertdb.cache import BlockCache
from stream.alertdb.container import SYNC_BYTES
from stream.alertdb.copying import copied_index, pieces
from stream.alertdb.damage import SegmentAbsent, SegmentDamaged
from stream.alertdb.disk import Disk, RealDisk
from stream.alertdb.header import SegmentHeader
from stream.alertdb.names import Token, file_name, night_of, number_of, parsed, random_token
from stream.alertdb.port import SegmentStore
from stream.alertdb.putting import PutSegment
from stream.alertdb.reader import SegmentReader
from stream.alertdb.segment import OpenSegment, Sealed, SegmentRef
from stream.alertdb.window import Readable, check_range
from stream.errors import Fatal, Transient, Wrong, one_line

_ENDPOINTS = ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")

STORE_ADVICE = "write a folder, or an object store's URL such as s3://bucket/prefix, its keys in the environment"


class ObjectStore:
    """The store behind a URL, through obstore.

    Parameters
    ----------
    store
        An obstore store: memory, a folder, S3 and its like.
    token, marker
        Sources of the sixteen hex digits in names and of the sync markers.
    settle
        Called with the name of what was put, until which it need not be durable: a folder is not by itself.
    """

    appends = False

    def __init__(
        self,
        store: Any,
        *,
        token: Token = random_token,
        marker: Callable[[int], bytes] = os.urandom,
        settle: Callable[[str], None] | None = None,
    ) -> None:
        self._store = store
        self._settle = settle
        self._token = token
        self._marker = marker
        self._cache = BlockCache()

    @classmethod
    def at(cls, url: str) -> ObjectStore:
        """Open the store of a URL (``s3://bucket/prefix``, ``file:///folder``, ``memory://``); keys: environment.

        Nobody is asked yet: an object store that is away is found out with the first object.

        Raises
        ------
        Wrong
            ``setting``: there is no such kind of store, or its URL or environment lacks what it needs.
        Transient
            ``store_away``: the folder of a ``file://`` cannot be made or opened.
        """
        try:
            parts, kind = urlsplit(url), parse_scheme(url)
            if kind == "http":
                raise ValueError("a web server cannot be put to; the host of an object store is AWS_ENDPOINT")
            if kind == "s3" and _plain_endpoint():
                raise ValueError("the endpoint in the environment is http://, which only AWS_ALLOW_HTTP=true allows")
            if kind != "local":
                return cls(from_url(url))
        except (exceptions.BaseError, ValueError) as error:
            raise Wrong("setting", f"alertdb: {url}: {one_line(error)}", STORE_ADVICE) from error
        with _store_errors(url):
            disk = RealDisk(Path(unquote(parts.path)))
            return cls(from_url(url), settle=partial(_make_durable, disk))

    def create(self, header: SegmentHeader) -> OpenSegment:
        """Begin a segment under fresh names."""
        return PutSegment(header, self._marker(SYNC_BYTES), self._token, self._put)

    def read(self, ref: SegmentRef) -> SegmentReader:
        """Open a segment's published bytes."""
        return SegmentReader.open(ref, self.window, self._cache)

    def window(self, name: str, length: int) -> Readable:
        """Open the first `length` bytes of one object."""
        return ObjectWindow(self._store, parsed(name), length)

    def whole(self, name: str) -> Readable | None:
        """Open all bytes that an object has; None where it is gone."""
        with _store_errors(name):
            try:
                size = obstore.head(self._store, parsed(name))["size"]
            except FileNotFoundError:
                return None
        try:
            return self.window(name, size)
        except SegmentAbsent:
            return None

    def copy(self, ref: SegmentRef, number: int, source: SegmentStore | None = None) -> Sealed:
        """Copy a segment's published bytes to new objects here, sealed."""
        night = night_of(ref.data_name)
        origin = self if source is None else source
        index, records = copied_index(origin, ref)
        data_name = file_name(night, number, self._token(), "data")
        index_name = file_name(night, number, self._token(), "index")
        digest, length = xxh3_128(), 0
        # Not put() of an iterator: one that reads from obstore itself panics inside its runtime.
        with _store_errors(data_name):
            writer = obstore.open_writer(self._store, data_name)
        for piece in pieces(origin, ref):
            digest.update(piece)
            length += len(piece)
            with _store_errors(data_name):
                writer.write(piece)
        with _store_errors(data_name):
            writer.close()
            self._settled(data_name)
        self._put(index_name, index)
        return Sealed(
            number=number,
            data_name=data_name,
            index_name=index_name,
            data_length=length,
            index_length=len(index),
            records=records,
            digest=digest.digest(),
            index_digest=xxh3_128(index).digest(),
        )

    def remove(self, name: str) -> None:
        """Remove an object, which may be gone already."""
        with _store_errors(name):
            try:
                obstore.delete(self._store, parsed(name))
            except FileNotFoundError:
                return

    def retire(self, ref: SegmentRef) -> str:
        """Leave a marker object for a segment whose packets are to go for good."""
        name = file_name(night_of(ref.data_name), ref.number, self._token(), "retired")
        self._put(name, b"")
        return name

    def names(self) -> Iterator[tuple[str, int]]:
        """Names of all objects that look like ours, each with the number in it."""
        with _store_errors("the store"):
            for page in obstore.list(self._store):
                for found in page:
                    if (number := number_of(found["path"])) is not None:
                        yield found["path"], number

    def free(self) -> None:
        """An object store has no such limit."""
        return

    def _put(self, name: str, data: bytes | memoryview) -> None:
        with _store_errors(name):
            obstore.put(self._store, name, bytes(data), mode="create", use_multipart=False)
            self._settled(name)

    def _settled(self, name: str) -> None:
        if self._settle is not None:
            self._settle(name)


class ObjectWindow:
    """The first `length` bytes of an object."""

    def __init__(self, store: Any, name: str, length: int) -> None:
        self.name = name
        self.length = length
        self._store = store
        with _store_errors(name):
            try:
                size = obstore.head(store, name)["size"]
            except FileNotFoundError as error:
                raise SegmentAbsent(name) from error
        if size < length:
            raise SegmentDamaged(name, f"{length} bytes are published, the object has {size}")

    def read(self, offset: int, size: int) -> bytes:
        check_range(self, offset, size)
        if size == 0:
            return b""
        with _store_errors(self.name):
            try:
                data = bytes(obstore.get_range(self._store, self.name, start=offset, length=size))
            except FileNotFoundError as error:
                raise SegmentAbsent(self.name) from error
        if len(data) != size:
            raise SegmentDamaged(self.name, f"of {size} bytes from {offset} only {len(data)} came")
        return data

    def close(self) -> None:
        """Nothing is held."""


def _plain_endpoint() -> bool:
    """Whether the endpoint is one that obstore refuses with each request, and without a reason."""
    set_ = [os.environ.get(name, "") for name in _ENDPOINTS]
    return "AWS_ALLOW_HTTP" not in os.environ and any(one.lower().startswith("http://") for one in set_)


@contextmanager
def _store_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise Fatal("store_refused", f"{name}: {one_line(error)}", "look at the store's keys and rights") from error
    except exceptions.AlreadyExistsError as error:
        raise Transient("name_taken", f"{name}: {one_line(error)}", "a fresh number is tried") from error
    except (exceptions.BaseError, OSError) as error:
        raise Transient(
            "store_away", f"{name}: {one_line(error)}", "it is tried again; is the object store up?"
        ) from error


def _make_durable(disk: Disk, name: str) -> None:
    """Sync a file that was put, its folder, and the root that holds it, which may be new."""
    fd = disk.open(name)
    try:
        disk.sync(fd)
    finally:
        disk.close(fd)
    folder = name.partition("/")[0]
    disk.sync_folder(folder)
    disk.make_folder(folder)
