"""Inflating the blocks of a container file, bounded: what is inflated is counted while it comes out."""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Callable, Mapping

import pyarrow as pa
import zstandard

from stream.errors import Poison

MAX_INFLATED = 32 * 1024 * 1024
"""Bytes that one message may inflate to."""
MAX_RATIO = 20
"""Bytes out for each byte in, beyond `ALLOWANCE`: alerts reach 2.5, a bomb a thousand."""
ALLOWANCE = 64 * 1024
"""Bytes out that any message may have."""


def bound(size: int) -> int:
    """Bytes that a message of `size` bytes may inflate to."""
    return min(MAX_INFLATED, ALLOWANCE + MAX_RATIO * size)


def broken(codec: str) -> Poison:
    """The error of a block that its codec does not read."""
    return Poison("bad_compression", f"a block is not {codec}")


def bomb(limit: int) -> Poison:
    """The error of a message that inflates beyond its bound."""
    return Poison("inflation", f"the message inflates to more than the {limit} bytes that its size allows")


def _plain(data: bytes, limit: int) -> bytes:
    return data


def _deflate(data: bytes, limit: int) -> bytes:
    machine = zlib.decompressobj(-15)
    out = machine.decompress(data, limit + 1)
    if len(out) <= limit and not machine.eof:
        raise broken("deflate")
    return out


def _bzip2(data: bytes, limit: int) -> bytes:
    machine = bz2.BZ2Decompressor()
    out = machine.decompress(data, limit + 1)
    if len(out) <= limit and not machine.eof:
        raise broken("bzip2")
    return out


def _zstandard(data: bytes, limit: int) -> bytes:
    machine = zstandard.ZstdDecompressor(max_window_size=MAX_INFLATED)
    with machine.stream_reader(data, read_across_frames=True) as reader:
        return reader.read(limit + 1)


def _snappy(data: bytes, limit: int) -> bytes:
    if len(data) < 5:
        raise broken("snappy")
    body, crc = data[:-4], int.from_bytes(data[-4:], "big")
    size, shift = 0, 0
    for byte in body[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if size > limit:
        raise bomb(limit)
    out: bytes = pa.Codec("snappy").decompress(body, size, asbytes=True)
    if zlib.crc32(out) != crc:
        raise broken("snappy")
    return out


_CODECS: Mapping[bytes, Callable[[bytes, int], bytes]] = {
    b"null": _plain,
    b"deflate": _deflate,
    b"bzip2": _bzip2,
    b"zstandard": _zstandard,
    b"snappy": _snappy,
}


def inflate(codec: bytes, data: bytes, limit: int) -> bytes:
    """Inflate one block.

    Parameters
    ----------
    codec
        ``avro.codec`` of the container's header.
    data
        The block's bytes.
    limit
        Bytes that may come out.

    Raises
    ------
    Poison
        ``inflation`` beyond the limit, ``bad_compression``, or ``codec`` for one that is not known.
    """
    machine = _CODECS.get(codec)
    if machine is None:
        raise Poison("codec", f"no such codec: {codec[:40]!r}")
    try:
        out = machine(data, limit)
    except (zlib.error, OSError, ValueError, EOFError, zstandard.ZstdError, pa.ArrowException) as error:
        raise broken(codec.decode()) from error
    if len(out) > limit:
        raise bomb(limit)
    return out
