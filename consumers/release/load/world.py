"""What a loader stands on: the service, the ledger, the files, and how patient it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, TypeVar

from consumers.release.load.crossing import Crossing, nothing
from consumers.release.load.files import Files
from consumers.release.load.ledger import Ledger
from consumers.release.load.progress import Progress, Silent
from consumers.release.load.release import Release
from consumers.release.service import Controller, Location, LostAnswer, Unreachable, Wire, Worker
from stream.clock import Clock, Deadline, SystemClock
from stream.errors import Transient
from stream.retry import Backoff, retrying

T = TypeVar("T")
_CHUNKS = 500
"""Chunks that one request allocates."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much at once, and how long is waited.

    Parameters
    ----------
    in_flight
        Contributions submitted and not yet loaded, of all transactions of this loader.
    sending
        Requests with contributions under way at once.
    of_worker
        Contributions of the database that a worker loads at once; None for what it is set to.
    by_value
        Whether workers are sent the bytes.
    transactions
        Super-transactions open at once.
    unreachable_s
        How long a service that is away is waited for.
    readings
        How often a worker is asked to read again.
    check_files
        Whether files are held against the manifest before a commit.
    attempts
        How often a transaction is started anew where an answer was lost for good.
    """

    in_flight: int = 4096
    sending: int = 8
    of_worker: int | None = None
    by_value: bool = False
    transactions: int = 4
    unreachable_s: float = 300.0
    readings: int = 3
    check_files: bool = True
    attempts: int = 5


@dataclass(slots=True)
class World:
    """All that a load needs, and two things that it has seen.

    Attributes
    ----------
    ending
        Whether no transaction is left that nobody works on.
    usual_s
        How long contributions were last waited for, seconds.
    """

    release: Release
    controller: Controller
    wire: Wire
    ledger: Ledger
    files: Files
    limits: Limits = field(default_factory=Limits)
    clock: Clock = field(default_factory=SystemClock)
    random: Random = field(default_factory=Random)
    progress: Progress = field(default_factory=Silent)
    crossing: Crossing = nothing
    load: str = ""
    ending: bool = False
    usual_s: float = 0.0
    provenance: dict[str, Any] = field(default_factory=dict)
    _places: dict[int, Location] = field(default_factory=dict)
    _sending: asyncio.Semaphore | None = None

    @property
    def database(self) -> str:
        """The database's name."""
        return self.release.database.name

    @property
    def sending(self) -> asyncio.Semaphore:
        """Bounds the requests with contributions that are under way."""
        if self._sending is None:
            self._sending = asyncio.Semaphore(self.limits.sending)
        return self._sending

    def worker(self, url: str) -> Worker:
        """The worker at a place."""
        return Worker(self.wire, url)

    async def asked(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Say what may be said twice, until an answer comes or patience ends."""
        return await self._patiently(ask, Transient)

    async def told(self, tell: Callable[[], Awaitable[T]]) -> T:
        """Say what may not be said twice: again only where it was certainly not heard."""
        return await self._patiently(tell, Unreachable)

    async def _patiently(self, work: Callable[[], Awaitable[T]], again: type[Transient]) -> T:
        given_up: list[LostAnswer] = []

        async def once() -> T | None:
            try:
                return await work()
            except LostAnswer as error:
                if again is Transient:
                    raise
                given_up.append(error)
                return None

        deadline = Deadline.after(self.clock, self.limits.unreachable_s)
        backoff = Backoff(first_s=0.05, longest_s=5.0)
        done = await retrying(once, random=self.random, backoff=backoff, deadline=deadline, on_wait=self.progress.waits)
        if given_up:
            raise given_up[0]
        return done  # type: ignore[return-value]

    async def places(self, transaction: int, chunks: Sequence[int]) -> dict[int, Location]:
        """Where chunks are; those that are nowhere are allocated, many at a time. To ask twice is to be told twice."""
        lacking = [chunk for chunk in chunks if chunk not in self._places]
        for begin in range(0, len(lacking), _CHUNKS):
            some = lacking[begin : begin + _CHUNKS]
            found = await self.asked(partial(self.controller.chunks, transaction, some))
            self._places |= {place.chunk: place for place in found if place.chunk is not None}
        return {chunk: self._places[chunk] for chunk in chunks}
