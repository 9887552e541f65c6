"""Avro object container files as messages: the header, read once for all messages that begin alike, and the blocks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from stream.codec.gate import MAX_TEXT
from stream.codec.schema import WriterSchema
from stream.errors import Poison

MAGIC = b"Obj\x01"
SYNC = 16
"""Bytes of the sync marker after the header and after each block."""
MAX_RECORDS = 65_536
"""Records of one message."""
MIN_RECORD = 64
"""Bytes of a message for each of its records: a Level-1 row alone is larger than that."""
MAX_META = 1024
"""Entries of a header."""
_KEPT = 32
_KEPT_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Header:
    """A container's header up to its sync marker.

    Attributes
    ----------
    prefix
        Its bytes.
    schema
        The writer schema that it brings along, or the reason why that is refused.
    codec
        ``avro.codec``; ``null`` where there is none.
    plain
        Whether schema and codec are all that it says: anything else may be another in every message.
    """

    prefix: bytes
    schema: WriterSchema | Poison
    codec: bytes
    plain: bool


@dataclass(frozen=True, slots=True)
class Block:
    """One block: how many records it says, and where its bytes begin and end in the message."""

    records: int
    start: int
    end: int


def truncated(message: bytes) -> Poison:
    """The error of a container that ends too early."""
    return Poison("truncated", f"the container file ends inside its frame, after {len(message)} bytes")


def read_varint(message: bytes, p: int) -> tuple[int, int]:
    """A long at `p` and where it ends.

    Raises
    ------
    Poison
        ``truncated`` or ``varint``.
    """
    value = 0
    for i in range(10):
        if p + i >= len(message):
            raise truncated(message)
        byte = message[p + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            if value >> 64:
                break
            return (value >> 1) ^ -(value & 1), p + i + 1
    raise Poison("varint", f"a number of the container's frame is longer than 64 bits, at byte {p}")


def _read_bytes(message: bytes, p: int) -> tuple[bytes, int]:
    size, p = read_varint(message, p)
    if size < 0:
        raise Poison("bad_length", f"a length is negative, at byte {p}")
    if size > len(message) - p:
        raise truncated(message)
    return message[p : p + size], p + size


def _read_meta(message: bytes) -> tuple[dict[bytes, bytes], int]:
    """The entries of a header, and where they end."""
    meta: dict[bytes, bytes] = {}
    p = len(MAGIC)
    while True:
        count, p = read_varint(message, p)
        if count == 0:
            break
        if count < 0:
            count, (_, p) = -count, read_varint(message, p)
        if count > MAX_META - len(meta):
            raise Poison("bad_header", f"the container's header has more than {MAX_META} entries")
        for _ in range(count):
            begin = p
            key, p = _read_bytes(message, p)
            try:
                key.decode()
            except UnicodeDecodeError as error:
                raise Poison("bad_utf8", f"a key of the container's header is not UTF-8, at byte {begin}") from error
            meta[key], p = _read_bytes(message, p)
    return meta, p


def _schema(text: bytes | None) -> WriterSchema | Poison:
    if text is None or len(text) > MAX_TEXT:
        return Poison("schema_refused", "the container has no schema in its header, or one that is too long")
    try:
        return WriterSchema.of(text.decode())
    except UnicodeDecodeError:
        return Poison("schema_refused", "the container's schema is not UTF-8")
    except Poison as refused:
        return refused


class Headers:
    """Reads headers; of messages that begin with the same bytes, or have the same schema, only the first is parsed.

    Not for several threads at once.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Header] = OrderedDict()
        self._schemas: OrderedDict[bytes, WriterSchema | Poison] = OrderedDict()

    def read(self, message: bytes) -> Header:
        """The header of a message that begins with `MAGIC`.

        Raises
        ------
        Poison
            ``truncated``, ``varint``, ``bad_length``, ``bad_header`` or ``bad_utf8``: the header itself cannot be read.
        """
        for prefix in reversed(self._known):
            if message.startswith(prefix):
                if prefix is not next(reversed(self._known)):
                    self._known.move_to_end(prefix)
                return self._known[prefix]
        meta, end = _read_meta(message)
        schema, codec = self._schema(meta.get(b"avro.schema")), meta.get(b"avro.codec", b"null")
        header = Header(message[:end], schema, codec, meta.keys() <= {b"avro.schema", b"avro.codec"})
        if header.plain and end <= _KEPT_BYTES:
            self._known[header.prefix] = header
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return header

    def _schema(self, text: bytes | None) -> WriterSchema | Poison:
        schema = self._schemas.get(text) if text else None
        if schema is None:
            schema = _schema(text)
            if text and len(text) <= _KEPT_BYTES:
                self._schemas[text] = schema
                if len(self._schemas) > _KEPT:
                    self._schemas.popitem(last=False)
        return schema


def read_blocks(message: bytes, header: Header) -> Iterator[Block]:
    """The blocks of a container, each with its sync marker held against the header's.

    Raises
    ------
    Poison
        ``truncated``, ``varint``, ``bad_length``, ``bad_block`` or ``bad_sync``.
    """
    p = len(header.prefix) + SYNC
    sync = message[len(header.prefix) : p]
    if len(sync) < SYNC:
        raise truncated(message)
    while p < len(message):
        begin = p
        records, p = read_varint(message, p)
        size, p = read_varint(message, p)
        if records < 0 or size < 0:
            raise Poison("bad_block", f"a block's count or size is negative, at byte {begin}")
        if size + SYNC > len(message) - p:
            raise truncated(message)
        if message[p + size : p + size + SYNC] != sync:
            raise Poison("bad_sync", f"the sync marker after a block is not the header's, at byte {p + size}")
        yield Block(records, p, p + size)
        p += size + SYNC
