"""The Avro object container file: its header, its varints and the frame of a block (Avro specification 1.12)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MAGIC = b"Obj\x01"
SYNC_BYTES = 16
VARINT_BYTES = 10


class Incomplete(ValueError):
    """The bytes end before the thing does: read more, or the file is cut."""


@dataclass(frozen=True, slots=True)
class ContainerHeader:
    """A container file's header: its metadata, its sync marker and how many bytes it takes."""

    metadata: Mapping[str, bytes]
    sync: bytes
    length: int


def varint(value: int) -> bytes:
    """Return `value` as Avro writes an int or a long: zigzag, seven bits a byte, least first."""
    rest = (value << 1) ^ (value >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def read_varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """Return the number at position `at` and the position after it; Incomplete, or ValueError above 64 bits."""
    rest = 0
    for taken in range(VARINT_BYTES):
        if at + taken >= len(data):
            raise Incomplete("the bytes end inside a number")
        byte = data[at + taken]
        rest |= (byte & 0x7F) << (7 * taken)
        if byte < 0x80:
            if rest >> 64:
                break
            return (rest >> 1) ^ -(rest & 1), at + taken + 1
    raise ValueError("a number of more than 64 bits")


def leading_bytes(datum: bytes | memoryview) -> memoryview:
    """Return the Avro ``bytes`` value that `datum` begins with: the whole message of a raw or quarantined record."""
    size, at = read_varint(datum, 0)
    if size < 0 or at + size > len(datum):
        raise Incomplete("the bytes end inside a value")
    return memoryview(datum)[at : at + size]


def encode_header(metadata: Mapping[str, bytes], sync: bytes) -> bytes:
    """Return the header of a container file with this metadata, in this order."""
    out = [MAGIC, varint(len(metadata))]
    for key, value in metadata.items():
        name = key.encode()
        out += [varint(len(name)), name, varint(len(value)), value]
    return b"".join([*out, varint(0), sync])


def parse_header(data: bytes) -> ContainerHeader:
    """Return the header that `data` begins with; Incomplete where it goes on beyond `data`, ValueError if none."""
    if data[:4] != MAGIC[: len(data)]:
        raise ValueError("no Avro object container file")
    metadata: dict[str, bytes] = {}
    at = 4
    while True:
        count, at = read_varint(data, at)
        if count == 0:
            break
        if count < 0:
            _, at = read_varint(data, at)
        for _ in range(abs(count)):
            name, at = _bytes_at(data, at)
            metadata[name.decode()], at = _bytes_at(data, at)
    sync = data[at : at + SYNC_BYTES]
    if len(sync) < SYNC_BYTES:
        raise Incomplete("the bytes end inside the sync marker")
    return ContainerHeader(metadata, sync, at + SYNC_BYTES)


def _bytes_at(data: bytes, at: int) -> tuple[bytes, int]:
    size, at = read_varint(data, at)
    if size < 0:
        raise ValueError("a negative length")
    if at + size > len(data):
        raise Incomplete("the bytes end inside a value")
    return data[at : at + size], at + size
