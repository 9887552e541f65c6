"""A block's streams: several are read, but no more than are worth their copies."""

from __future__ import annotations

import bz2
import lzma
import sys
from collections.abc import Callable

import pytest

from stream.codec.inflate import inflate
from stream.errors import Poison

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


@pytest.mark.parametrize(
    ("codec", "compress"), [(b"zstandard", zstd.compress), (b"bzip2", bz2.compress), (b"xz", lzma.compress)]
)
def test_a_block_of_several_streams_is_read_and_one_of_very_many_refused(
    codec: bytes, compress: Callable[[bytes], bytes]
) -> None:
    assert inflate(codec, compress(b"one") + compress(b"") + compress(b"two"), 100) == b"onetwo"
    for piece in (b"", b"x"):
        with pytest.raises(Poison, match="a block is not") as refused:
            inflate(codec, compress(piece) * 1000, 1 << 20)
        assert refused.value.code == "bad_compression"
