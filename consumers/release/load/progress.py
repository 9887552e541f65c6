"""What a load tells while it runs: a bar with rate and time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self, TextIO

import click

from consumers.release.bytes_bar import bytes_bar
from stream.clock import Clock, SystemClock
from stream.retry import Waiting


class Progress(Protocol):
    """Hears of what is done."""

    def begins(self, rows: int, nbytes: int, transactions: int) -> None:
        """All that is to be done, of which `done` says what was."""
        ...

    def done(self, rows: int, nbytes: int) -> None:
        """A transaction stands."""
        ...

    def under_way(self, share: float, key: str, nbytes: int) -> None:
        """So much of a transaction's contributions is loaded."""
        ...

    def says(self, text: str) -> None:
        """Something that a reader should know."""
        ...

    def waits(self, waiting: Waiting) -> None:
        """Something is away, and is waited for."""
        ...


class Silent:
    """Tells nothing."""

    def begins(self, rows: int, nbytes: int, transactions: int) -> None: ...

    def done(self, rows: int, nbytes: int) -> None: ...

    def under_way(self, share: float, key: str, nbytes: int) -> None: ...

    def says(self, text: str) -> None: ...

    def waits(self, waiting: Waiting) -> None: ...


@dataclass(slots=True)
class Lines:
    """A line on `out` every `every_s` seconds."""

    out: TextIO = field(default_factory=lambda: sys.stderr)
    every_s: float = 10.0
    clock: Clock = field(default_factory=SystemClock)
    _total: tuple[int, int] = (0, 0)
    _done: tuple[int, int] = (0, 0)
    _begun: float = 0.0
    _last: float = 0.0
    _shares: dict[str, float] = field(default_factory=dict)

    def begins(self, rows: int, nbytes: int, transactions: int) -> None:
        self._total, self._begun = (rows, nbytes), self.clock.monotonic()
        self._last = self._begun
        self.says(f"loading {rows:,} rows, {nbytes / 1e6:,.1f} MB, in {transactions} transactions")

    def done(self, rows: int, nbytes: int) -> None:
        self._done = (self._done[0] + rows, self._done[1] + nbytes)
        self._tell()

    def under_way(self, share: float, key: str, nbytes: int) -> None:
        self._shares[key] = share * nbytes if share < 1 else 0.0
        self._tell()

    def says(self, text: str) -> None:
        click.echo(text, file=self.out)

    def waits(self, waiting: Waiting) -> None:
        self.says(f"waiting {waiting.wait_s:.1f} s, try {waiting.tries}: {waiting.error.message}")

    def _tell(self) -> None:
        now = self.clock.monotonic()
        if now - self._last < self.every_s:
            return
        self._last = now
        nbytes = self._done[1] + sum(self._shares.values())
        rate = nbytes / max(now - self._begun, 1e-9)
        left = (self._total[1] - nbytes) / rate if rate else float("inf")
        self.says(
            f"{self._done[0]:,} of {self._total[0]:,} rows committed, {nbytes / 1e6:,.1f} MB loaded,"
            f" {rate / 1e6:,.1f} MB/s, {left:,.0f} s left"
        )


class Bar(AbstractContextManager["Bar"]):
    """A bar on a terminal, by bytes."""

    def __init__(self) -> None:
        self._bar = bytes_bar()
        self._task = self._bar.add_task("load", total=None)
        self._done = 0
        self._shares: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begins(self, rows: int, nbytes: int, transactions: int) -> None:
        self._bar.update(self._task, total=nbytes)

    def done(self, rows: int, nbytes: int) -> None:
        self._done += nbytes
        self._show()

    def under_way(self, share: float, key: str, nbytes: int) -> None:
        self._shares[key] = share * nbytes if share < 1 else 0.0
        self._show()

    def says(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False)

    def waits(self, waiting: Waiting) -> None:
        self.says(f"waiting {waiting.wait_s:.1f} s, try {waiting.tries}: {waiting.error.message}")

    def _show(self) -> None:
        self._bar.update(self._task, completed=self._done + sum(self._shares.values()))
