"""A queue of the event loop that other threads fill, read with a time limit that can lose nothing."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """First in, first out. `put` from any thread, `get` from the loop.

    ``wait_for`` around a queue's ``get`` can lose the item that arrives as it is cancelled; here an item leaves only
    when it is handed over.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._items: deque[T] = deque()
        self._some = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> None:
        """Add `item`; any thread."""
        self._items.append(item)
        self._loop.call_soon_threadsafe(self._some.set)

    async def get(self, timeout_s: float | None = None) -> T | None:
        """The next item, or None once `timeout_s` seconds passed without one."""
        if not self._items:
            self._some.clear()
            if not self._items:
                try:
                    async with asyncio.timeout(timeout_s):
                        await self._some.wait()
                except TimeoutError:
                    pass
        return self._items.popleft() if self._items else None
