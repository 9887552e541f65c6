"""Blocks of a segment: which alerts share one, and their bytes gathered, digested and compressed without the GIL."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import zstandard
from numpy.typing import NDArray
from xxhash import xxh3_128_digest

from stream.alertdb.container import SYNC_BYTES, varint
from stream.alertdb.gather import gather

OWN_BLOCK_BYTES = 256 * 1024
MOST_BLOCK_BYTES = 1024 * 1024


def _fast(min_match: int, target_length: int) -> zstandard.ZstdCompressionParameters:
    """Level 1's strategy with a hash table that fits the first cache."""
    return zstandard.ZstdCompressionParameters(
        strategy=zstandard.STRATEGY_FAST,
        window_log=18,
        chain_log=12,
        hash_log=12,
        search_log=1,
        min_match=min_match,
        target_length=target_length,
    )


_USUAL = _fast(5, 2)
"""Shorter matches and longer steps: two thirds faster than level 1 on real packets for 8 % more bytes."""
_HURRIED = _fast(7, 6)
"""Longer steps still: two to three times as fast as level 1, for 7 (ZTF) to 31 % (made packets) more bytes.

Any zstd reads both. Figures are in ``docs/decisions/compression.md``.
"""
_KEPT_SCRATCH = 8 * 1024 * 1024
_thread = threading.local()


@dataclass(frozen=True, slots=True)
class Datums:
    """The Avro datums of a batch for one segment.

    Attributes
    ----------
    buffer
        ``uint8[:]``, contiguous.
    start, end
        ``int64[n]``: datum i is ``buffer[start[i]:end[i]]``.
    packet_start, packet_end
        ``int64[n]``: what the digest is of. It is the datum itself, but for raw and quarantined messages, whose datum
        holds the message behind a length: there it is the message.
    """

    buffer: NDArray[np.uint8]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    packet_start: NDArray[np.int64]
    packet_end: NDArray[np.int64]

    @classmethod
    def slices(cls, buffer: NDArray[np.uint8], start: NDArray[np.int64], end: NDArray[np.int64]) -> Datums:
        """Return datums that lie in `buffer` as they came: wire and container messages."""
        return cls(buffer, start, end, start, end)

    @classmethod
    def whole(cls, messages: Sequence[bytes | memoryview]) -> Datums:
        """Return messages as datums of the schema ``bytes``, for raw segments."""
        lead = [varint(len(message)) for message in messages]
        return cls.led([piece for pair in zip(lead, messages) for piece in (*pair, b"")], lead, messages)

    @classmethod
    def led(
        cls, pieces: Sequence[bytes | memoryview], lead: Sequence[bytes], messages: Sequence[bytes | memoryview]
    ) -> Datums:
        """Return datums of three pieces each: a message's length, the message, and what follows it."""
        joined = np.frombuffer(b"".join(pieces), np.uint8)
        size = np.fromiter(map(len, pieces), np.int64, len(pieces)).reshape(-1, 3).sum(axis=1)
        end = np.cumsum(size)
        start = end - size
        packet_start = start + np.fromiter(map(len, lead), np.int64, len(lead))
        packet_end = packet_start + np.fromiter(map(len, messages), np.int64, len(messages))
        return cls(joined, start, end, packet_start, packet_end)

    def __len__(self) -> int:
        return len(self.start)


@dataclass(frozen=True, slots=True)
class Block:
    """A compressed block: how many datums, their zstd frame, and each one's xxh3-128 (``uint8[count, 16]``)."""

    count: int
    payload: bytes
    digest: NDArray[np.uint8]

    def lead(self) -> bytes:
        """Return the two numbers before the frame, as an Avro container file has them."""
        return varint(self.count) + varint(len(self.payload))


@dataclass(frozen=True, slots=True)
class Placed:
    """Where each datum of a plan lies, in the datums' own order.

    Attributes
    ----------
    block_offset
        ``int64[n]``, bytes from where the blocks will be appended.
    slot
        ``int32[n]``: which datum of its block.
    start, size
        ``int32[n]``: bytes within the inflated block.
    digest
        ``uint8[n, 16]``, xxh3-128.
    """

    block_offset: NDArray[np.int64]
    slot: NDArray[np.int32]
    start: NDArray[np.int32]
    size: NDArray[np.int32]
    digest: NDArray[np.uint8]

    def take(self, datum: NDArray[np.integer]) -> Placed:
        """Return the places of rows that may share datums: row i's is that of ``datum[i]``."""
        return Placed(
            self.block_offset[datum], self.slot[datum], self.start[datum], self.size[datum], self.digest[datum]
        )


def plan_blocks(chunk: NDArray[np.integer], size: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the order in which datums are written, and the bounds of the blocks in that order.

    A sky chunk with at least 256 KiB of datums has blocks of its own; the rest share blocks, ordered by chunk. A block
    holds at most 1 MiB before compression, unless it is one datum.

    Parameters
    ----------
    chunk
        ``int[n]``, any number that stands for a place on the sky.
    size
        ``int64[n]``, bytes of each datum.

    Returns
    -------
    order, bounds
        ``int64[n]`` and ``int64[blocks + 1]``: block i holds the datums ``order[bounds[i]:bounds[i + 1]]``.
    """
    if len(size) == 0:
        return np.empty(0, np.int64), np.zeros(1, np.int64)
    order = np.argsort(chunk, kind="stable")
    sorted_chunk = chunk[order]
    first = np.flatnonzero(np.concatenate(([True], sorted_chunk[1:] != sorted_chunk[:-1])))
    length = np.diff(np.append(first, len(order)))
    own = np.add.reduceat(size[order], first) >= OWN_BLOCK_BYTES
    own_row = np.repeat(own, length)
    order = np.concatenate((order[own_row], order[~own_row]))
    groups = np.cumsum(length[own]).tolist()
    if not own.all():
        groups.append(len(order))
    return order, _cut(size[order], groups)


def _cut(size: NDArray[np.int64], groups: list[int]) -> NDArray[np.int64]:
    total = np.cumsum(size)
    bounds = [0]
    for end in groups:
        while bounds[-1] < end:
            low = bounds[-1]
            before = int(total[low - 1]) if low else 0
            high = int(np.searchsorted(total, before + MOST_BLOCK_BYTES, side="right"))
            bounds.append(min(max(high, low + 1), end))
    return np.array(bounds, np.int64)


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """The blocks that a batch's datums for one segment will make; each can be compressed by any thread."""

    datums: Datums
    order: NDArray[np.int64]
    bounds: NDArray[np.int64]

    @classmethod
    def of(cls, datums: Datums, chunk: NDArray[np.integer]) -> BlockPlan:
        """Plan the blocks of `datums`, whose sky chunks are `chunk` (``int[n]``)."""
        return cls(datums, *plan_blocks(chunk, datums.end - datums.start))

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def compress(self, index: int, *, hurried: bool = False) -> Block:
        """Gather, digest and compress block `index`; from several threads at once if one likes.

        `hurried` is for whoever is behind: less of a processor's time, for more room.
        """
        rows = self.order[self.bounds[index] : self.bounds[index + 1]]
        datums = self.datums
        start, end = datums.start[rows], datums.end[rows]
        size = end - start
        out = _scratch(int(size.sum()))
        gather(datums.buffer, start, end, out)
        shift = np.cumsum(size) - size - start
        view = out.data
        packets = zip((datums.packet_start[rows] + shift).tolist(), (datums.packet_end[rows] + shift).tolist())
        digest = b"".join([xxh3_128_digest(view[low:high]) for low, high in packets])
        payload: bytes = _compressor(hurried).compress(view)
        return Block(len(rows), payload, np.frombuffer(digest, np.uint8).reshape(-1, 16))

    def place(self, blocks: Sequence[Block]) -> Placed:
        """Return where each datum will lie once `blocks`, all of this plan and in its order, are appended."""
        count = np.diff(self.bounds)
        rows, size = len(self.order), (self.datums.end - self.datums.start)[self.order]
        length = np.fromiter((block_length(block) for block in blocks), np.int64, len(blocks))
        block = np.repeat(np.arange(len(count)), count)
        total = np.cumsum(size) - size
        first = self.bounds[:-1]
        digest = np.concatenate([block.digest for block in blocks]) if rows else np.empty((0, 16), np.uint8)
        back = np.empty(rows, np.int64)
        back[self.order] = np.arange(rows)
        return Placed(
            (np.cumsum(length) - length)[block][back],
            (np.arange(rows) - first[block]).astype(np.int32)[back],
            (total - total[first[block]]).astype(np.int32)[back] if rows else np.empty(0, np.int32),
            size.astype(np.int32)[back],
            digest[back],
        )


def block_length(block: Block) -> int:
    """Return the bytes that a block takes in the file: numbers, zstd frame and sync marker."""
    return len(block.lead()) + len(block.payload) + SYNC_BYTES


def _scratch(size: int) -> NDArray[np.uint8]:
    kept: NDArray[np.uint8] | None = getattr(_thread, "scratch", None)
    if kept is None or len(kept) < size:
        kept = np.empty(max(size, MOST_BLOCK_BYTES), np.uint8)
        if len(kept) <= _KEPT_SCRATCH:
            _thread.scratch = kept
    return kept[:size]


def _compressor(hurried: bool) -> zstandard.ZstdCompressor:
    name = "hurried" if hurried else "usual"
    kept: zstandard.ZstdCompressor | None = getattr(_thread, name, None)
    if kept is None:
        kept = zstandard.ZstdCompressor(compression_params=_HURRIED if hurried else _USUAL)
        setattr(_thread, name, kept)
    return kept
