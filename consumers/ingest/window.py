"""Bytes in flight: what bounds the memory of the daemon, whatever stalls."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Window:
    """Counts the bytes between poll and commit; the poller waits while there are too many.

    Parameters
    ----------
    limit
        Bytes above which nothing more is polled.
    tell
        Called with each new count, for the gauge.
    """

    def __init__(self, limit: int, tell: Callable[[int], None]) -> None:
        self.limit = limit
        self._tell = tell
        self._taken = 0
        self._changed = threading.Condition()

    @property
    def taken(self) -> int:
        """Bytes in flight."""
        return self._taken

    def take(self, nbytes: int) -> None:
        """Count `nbytes` in."""
        with self._changed:
            self._taken += nbytes
            self._tell(self._taken)

    def give(self, nbytes: int) -> None:
        """Count `nbytes` out: committed or dropped."""
        with self._changed:
            self._taken -= nbytes
            self._tell(self._taken)
            self._changed.notify_all()

    def wait_below(self, nbytes: int, timeout_s: float) -> bool:
        """Wait until fewer than `nbytes` are in flight; False where `timeout_s` passes first."""
        with self._changed:
            return self._changed.wait_for(lambda: self._taken < nbytes, timeout_s)

    def wake(self) -> None:
        """Wake whoever waits, for shutdown."""
        with self._changed:
            self._changed.notify_all()
