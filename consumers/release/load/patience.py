"""Waiting for a ledger's database that is away or busy, as its errors say."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from stream.clock import Clock, Deadline
from stream.errors import Fatal, SkyburstError, Transient
from stream.retry import Backoff, retrying
from stream.tables.trouble import translated


class Patient(Protocol):
    """Who waits."""

    @property
    def patience_s(self) -> float: ...

    @property
    def clock(self) -> Clock: ...


S = TypeVar("S", bound=Patient)
P = ParamSpec("P")
T = TypeVar("T")


def patient(
    method: Callable[Concatenate[S, P], Awaitable[T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Have a method, which may be done twice, done again while the database is away.

    Raises
    ------
    Transient
        ``release_ledger_away``: for longer than is waited. A lock that a frozen process has on an SQLite file is one.
    Fatal
        ``release_ledger``: what passes by no waiting.
    """

    @functools.wraps(method)
    async def patiently(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        async def once() -> T:
            try:
                with translated():
                    return await method(self, *args, **kwargs)
            except SkyburstError as error:
                raise _ours(error) from error

        deadline = Deadline.after(self.clock, self.patience_s)
        return await retrying(once, random=Random(), backoff=Backoff(longest_s=2.0), deadline=deadline)  # noqa: S311

    return patiently


def _ours(error: SkyburstError) -> SkyburstError:
    if error.__cause__ is None:
        return error
    said = error.message.removeprefix("Level-1 database: ")
    if isinstance(error, Transient):
        return Transient("release_ledger_away", f"the ledger cannot be written: {said}", "see its disk and its server")
    return Fatal("release_ledger", f"the ledger's database refused: {said}", "see --release-ledger")
