"""What can be made to go wrong in the double, for tests of those who call it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from stream.clock import Clock


@dataclass(slots=True)
class _Loss:
    service: str
    method: str
    path: str
    left: int


@dataclass(slots=True)
class Troubles:
    """Switches that a test throws; all are off at first.

    Attributes
    ----------
    contribution_delay_s
        So long a contribution waits before its file is read, in state ``IN_PROGRESS``; what waits goes on when this is
        made less.
    """

    contribution_delay_s: float = 0.0
    _losses: list[_Loss] = field(default_factory=list)
    _reads: int = 0
    _hanging: bool = False

    def lose_answers(self, count: int = 1, *, method: str = "", path: str = "", service: str = "") -> None:
        """The next `count` calls of this method and path (its beginning) are done, and their answers are lost.

        Parameters
        ----------
        count
            How many.
        method, path, service
            Which: ``POST``, ``/ingest/file``, ``worker1``; empty is any.
        """
        self._losses.append(_Loss(service, method, path, count))

    def fail_reads(self, count: int) -> None:
        """The next `count` attempts to read a contribution by reference fail, as a file that is not there does."""
        self._reads += count

    @contextmanager
    def hang_publish(self) -> Iterator[None]:
        """Inside, a call that publishes does so and then gives no answer; it ends with the block."""
        self._hanging = True
        try:
            yield
        finally:
            self._hanging = False

    def loses(self, service: str, method: str, path: str) -> bool:
        """Whether the answer of this call is to be lost; counts it."""
        for loss in self._losses:
            fits = loss.service in ("", service) and loss.method in ("", method) and path.startswith(loss.path)
            if loss.left and fits:
                loss.left -= 1
                return True
        return False

    def read_fails(self) -> bool:
        """Whether this attempt to read is to fail; counts it."""
        if self._reads:
            self._reads -= 1
            return True
        return False

    async def delay(self, clock: Clock) -> None:
        """Wait as long as a contribution is to wait."""
        begun = clock.monotonic()
        while clock.monotonic() - begun < self.contribution_delay_s:
            await asyncio.sleep(0.01)

    async def publish_hangs(self) -> None:
        """Wait for the end of `hang_publish` where it is on."""
        # Looked at again and again, since the block may end in another thread.
        while self._hanging:
            await asyncio.sleep(0.01)
