"""Inflated blocks kept for the next reader, bounded by bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict

CACHE_BYTES = 32 * 1024 * 1024


class BlockCache:
    """The inflated blocks used last, at most `limit` bytes of them; for any number of threads.

    Published bytes never change and no file name is used twice, so that nothing in here can grow stale.
    """

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._limit = limit
        self._held = 0
        self._lock = threading.Lock()
        self._blocks: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    def get(self, name: str, block_offset: int) -> bytes | None:
        """Return the inflated block that begins at byte `block_offset` of file `name`, if it is here."""
        with self._lock:
            block = self._blocks.get((name, block_offset))
            if block is not None:
                self._blocks.move_to_end((name, block_offset))
            return block

    def put(self, name: str, block_offset: int, block: bytes) -> None:
        """Keep a block, and let go of those used longest ago."""
        with self._lock:
            before = self._blocks.pop((name, block_offset), b"")
            self._held += len(block) - len(before)
            self._blocks[name, block_offset] = block
            while self._held > self._limit:
                _, old = self._blocks.popitem(last=False)
                self._held -= len(old)
