"""Waiting for the database or the disk without losing anything: backoff with jitter, and somebody to tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from random import Random
from typing import Self

from stream.errors import SkyburstError
from stream.retry import Backoff

_BACKOFF = Backoff(first_s=0.02, longest_s=2.0)

Tell = Callable[[SkyburstError | None], None]
"""Called with what is waited for at each wait, and with None once when it is over: readiness, logs and metrics."""


class Waiter:
    """Waits longer each time until told that it is over. It has no deadline: nothing may be given up here.

    As a context it is over at the end, also where that is an error: whoever meets it does not wait for this any more.
    """

    def __init__(self, tell: Tell, backoff: Backoff = _BACKOFF) -> None:
        self._tell = tell
        self._backoff = backoff
        self._waits: Iterator[float] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None or issubclass(kind, Exception):
            self.done()

    async def wait(self, error: SkyburstError) -> None:
        """Tell `error` and wait."""
        if self._waits is None:
            self._waits = self._backoff.waits(Random())  # noqa: S311  (no secret)
        self._tell(error)
        await asyncio.sleep(next(self._waits))

    def done(self) -> None:
        """It worked: start over with the shortest wait."""
        if self._waits is not None:
            self._waits = None
            self._tell(None)
