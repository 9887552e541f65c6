"""Doing the same again while the world is away: backoff with jitter, for ``Transient`` alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Protocol, TypeVar

from stream.clock import Deadline
from stream.errors import Transient

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before each further try.

    Attributes
    ----------
    first_s, factor, longest_s
        The n-th wait is ``first_s * factor**n``, never more than `longest_s` seconds.
    jitter
        Share of each wait that is random: the wait lies in ``[(1 - jitter) * w, w]``, so that many daemons do not
        come back in the same instant.
    """

    first_s: float = 0.1
    factor: float = 2.0
    longest_s: float = 10.0
    jitter: float = 0.5

    def waits(self, random: Random) -> Iterator[float]:
        """The waits in seconds, without end."""
        wait = self.first_s
        while True:
            yield min(wait, self.longest_s) * (1.0 - self.jitter * random.random())
            wait = min(wait * self.factor, self.longest_s)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is being waited for: the error, which try failed (1 is the first), and the seconds until the next."""

    error: Transient
    tries: int
    wait_s: float


class Pause(Protocol):
    """Waits `seconds` or until `stop` is set, and says whether it was set."""

    async def __call__(self, seconds: float, stop: asyncio.Event | None) -> bool: ...


async def pause(seconds: float, stop: asyncio.Event | None) -> bool:
    """The pause of the event loop's own clock; ends at once when `stop` is set."""
    if stop is None:
        await asyncio.sleep(seconds)
        return False
    if not stop.is_set():
        waiter = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait([waiter], timeout=seconds)
        finally:
            waiter.cancel()
    return stop.is_set()


async def retrying(
    work: Callable[[], Awaitable[T]],
    *,
    random: Random,
    backoff: Backoff = Backoff(),
    stop: asyncio.Event | None = None,
    deadline: Deadline | None = None,
    on_wait: Callable[[Waiting], None] | None = None,
    pause: Pause = pause,
) -> T:
    """Do `work` until it comes to an end that is not ``Transient``, and return what it gave.

    `work` is never interrupted: neither `stop` nor `deadline` cuts a try short, they only end the waiting between
    tries. So it is safe around what may not be done twice, as long as `work` itself finds out how its last try ended.

    Parameters
    ----------
    on_wait
        Called before each wait: for the log, the counter of retries, and readiness.

    Raises
    ------
    Transient
        The last try's, once `stop` is set or `deadline` lies before the next try.
    SkyburstError
        Any other, at once.
    """
    for tries, wait_s in enumerate(backoff.waits(random), start=1):
        try:
            return await work()
        except Transient as error:
            if stop is not None and stop.is_set():
                raise
            if deadline is not None and deadline.left() <= wait_s:
                raise
            if on_wait is not None:
                on_wait(Waiting(error, tries, wait_s))
            if await pause(wait_s, stop):
                raise
    raise AssertionError("the waits have no end")
