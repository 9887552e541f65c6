"""Inflating the blocks of a container file, bounded: what is inflated is counted while it comes out."""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import pyarrow as pa

from stream.errors import Poison

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_INFLATED = 32 * 1024 * 1024
"""Bytes that one message may inflate to."""
MAX_RATIO = 20
"""Bytes out for each byte in, beyond `ALLOWANCE`: alerts reach 2.5, a bomb a thousand."""
ALLOWANCE = 1024 * 1024
"""Bytes out that any message may have: an image of zeros is a thousand times smaller than itself."""
_MOST_STREAMS = 64
"""Streams or frames that a block may have; each costs a copy of what is behind it, and may be empty."""
_XZ_MEMORY = 96 * 1024 * 1024
"""Bytes that an xz stream may want for its dictionary: what the highest preset wants."""
_ZSTD_OPTIONS: Mapping[int, int] = {zstd.DecompressionParameter.window_log_max: MAX_INFLATED.bit_length() - 1}


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


class _Machine(Protocol):
    """Inflates one stream or frame; bz2, lzma and zstd have it alike."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _streams(name: str, machine: Callable[[], _Machine]) -> Callable[[bytes, int], bytes]:
    """Inflates a block of one stream or several, each whole, `_MOST_STREAMS` of them at most."""

    def inflated(data: bytes, limit: int) -> bytes:
        pieces: list[bytes] = []
        left = limit + 1
        while not pieces or data:
            if len(pieces) == _MOST_STREAMS:
                raise broken(name)
            one = machine()
            pieces.append(one.decompress(data, left))
            left -= len(pieces[-1])
            if not left:
                break
            if not one.eof:
                raise broken(name)
            data = one.unused_data
        return b"".join(pieces)

    return inflated


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
    b"bzip2": _streams("bzip2", bz2.BZ2Decompressor),
    b"xz": _streams("xz", partial(lzma.LZMADecompressor, memlimit=_XZ_MEMORY)),
    b"zstandard": _streams("zstandard", partial(zstd.ZstdDecompressor, options=_ZSTD_OPTIONS)),
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
    except (zlib.error, OSError, ValueError, EOFError, lzma.LZMAError, zstd.ZstdError, pa.ArrowException) as error:
        raise broken(codec.decode()) from error
    if len(out) > limit:
        raise bomb(limit)
    return out
