"""Reading a data file with fastavro alone: its header, and the blocks of one commit after the other."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, cast

import fastavro
from xxhash import xxh3_128, xxh3_128_hexdigest

from stream.audit.containers import Header, read_header
from stream.audit.files import File
from stream.audit.notes import Damaged, Note

_HEADER = 1 << 18
_LARGEST_HEADER = 1 << 25


@dataclass(frozen=True, slots=True)
class Head:
    """What a data file says of itself.

    Attributes
    ----------
    number
        The segment's number; a copy's header has that of what was copied.
    topic
        Cluster, topic and topic id that `stream` stands for; None for quarantine.
    prefix
        Bytes that every message begins with.
    schema
        The writer schema's JSON.
    length
        Bytes of the header.
    """

    number: int
    kind: str
    stream: int
    topic: tuple[str, str, str] | None
    survey: str
    night: int
    fingerprint: str
    schema_id: int | None
    survey_digest: str
    prefix: bytes
    schema: str
    version: str
    instance: str
    length: int


@dataclass(frozen=True, slots=True)
class Inflated:
    """One block: where it begins in the file, how many datums it holds, and their bytes one after the other."""

    offset: int
    count: int
    data: bytes


class _Feed:
    """Bytes handed to fastavro's reader piece by piece, at the positions that they have in the file."""

    def __init__(self) -> None:
        self._at = 0
        self._data = b""
        self._pos = 0

    def load(self, at: int, data: bytes) -> None:
        self._at, self._data, self._pos = at, data, 0

    @property
    def left(self) -> int:
        return len(self._data) - self._pos

    def read(self, size: int) -> bytes:
        piece = self._data[self._pos : self._pos + size]
        self._pos += len(piece)
        return piece

    def tell(self) -> int:
        return self._at + self._pos


class DataFile:
    """The published bytes of a data file, read once, from its beginning to its end.

    Raises
    ------
    Damaged
        There is no segment's header.
    """

    def __init__(self, file: File, length: int) -> None:
        self._file = file
        self._feed = _Feed()
        self._reader: Any = None
        for guess in (_HEADER, _LARGEST_HEADER):
            self._feed.load(0, file.read(0, min(length, guess)))
            try:
                header = read_header(cast(IO[bytes], self._feed))
                self.head = _parse(header, self._feed.tell())
                break
            except Exception as error:  # whatever fastavro raises on bytes that are no header
                if guess == _LARGEST_HEADER or length <= _HEADER:
                    raise Damaged(f"the file has no segment's header: {error!r}"[:300]) from error
        self._plain = header.plain
        self._digest = xxh3_128(file.read(0, self.head.length))
        self.at = self.head.length

    def blocks(self, note: Note) -> Iterator[Inflated]:
        """Yield the blocks that a commit appended, after its bytes were held against their digest.

        The bytes of a commit are in memory at once: they are no more than a batch.

        Raises
        ------
        Damaged
            Before the first block, or where the bytes are no blocks; the next commit can be read all the same.
        """
        if not self.head.length <= note.start <= note.end:
            raise Damaged(f"commit {note.commit} claims bytes {note.start} to {note.end}")
        data = self._file.read(note.start, note.end - note.start)
        if note.start == self.at:
            self._digest.update(data)
            self.at = note.end
        if xxh3_128_hexdigest(data) != note.digest:
            raise Damaged(f"bytes {note.start} to {note.end} of commit {note.commit} do not have their digest")
        if self._reader is None:
            self._feed.load(0, self._plain)
            self._reader = fastavro.block_reader(cast(IO[bytes], self._feed))
        self._feed.load(note.start, data)
        try:
            while self._feed.left:
                block = next(self._reader)
                yield Inflated(block.offset, block.num_records, block.bytes_.getvalue())
        except Exception as error:  # whatever fastavro and zstandard raise on bytes that are no block
            self._reader = None
            raise Damaged(f"the blocks of commit {note.commit} cannot be read: {error!r}"[:300]) from error

    def digest(self) -> bytes:
        """The xxh3-128 of the bytes from the file's beginning to `at`."""
        return bytes(self._digest.digest())


def _parse(header: Header, length: int) -> Head:
    def text(key: str) -> str:
        return header.text(f"skyburst.{key}")

    named = "skyburst.topic" in header.meta
    return Head(
        number=int(text("number")),
        kind=text("kind"),
        stream=int(text("stream")),
        topic=(text("cluster"), text("topic"), text("topicId")) if named else None,
        survey=text("survey"),
        night=int(text("night")),
        fingerprint=text("fingerprint"),
        schema_id=int(text("schemaId")) if "skyburst.schemaId" in header.meta else None,
        survey_digest=text("surveyDigest"),
        prefix=b64decode(text("prefix"), validate=True),
        schema=header.text("avro.schema"),
        version=text("version"),
        instance=text("instance"),
        length=length,
    )
