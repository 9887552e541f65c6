"""How far a partitioning is: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import click

from consumers.release.bytes_bar import bytes_bar
from stream.clock import Clock, SystemClock

EVERY_S = 10.0
WORDS = {"cut": "cutting", "merge": "merging"}


class Silent:
    """Says nothing."""

    def begin(self, phase: str, total: int) -> None:
        """A phase begins."""

    def advance(self, count: int) -> None:
        """Some of it is done."""


class Lines:
    """A line on stderr when a phase begins, and every ten seconds."""

    def __init__(self, table: str, clock: Clock | None = None) -> None:
        self._table, self._clock = table, clock or SystemClock()
        self._phase, self._total, self._done = "", 0, 0
        self._begun = self._said = self._clock.monotonic()

    def begin(self, phase: str, total: int) -> None:
        """A phase begins."""
        self._phase, self._total, self._done = phase, total, 0
        self._begun = self._said = self._clock.monotonic()
        self._say(f"{total / 1e6:.0f} MB")

    def advance(self, count: int) -> None:
        """Some of it is done."""
        self._done += count
        now = self._clock.monotonic()
        if now - self._said >= EVERY_S:
            self._said = now
            rate = self._done / (now - self._begun)
            left = (self._total - self._done) / rate if rate else 0.0
            share = 100 * self._done / max(self._total, 1)
            self._say(f"{share:.0f} %, {rate / 1e6:.0f} MB/s, {left:.0f} s left")

    def _say(self, text: str) -> None:
        click.echo(f"{self._table}: {WORDS.get(self._phase, self._phase)}, {text}", err=True)


class Bar:
    """A bar with rate and time left; a context manager."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        self._bar = bytes_bar()
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, phase: str, total: int) -> None:
        """A phase begins."""
        self._task = self._bar.add_task(f"{self._table}: {WORDS.get(phase, phase)}", total=total)

    def advance(self, count: int) -> None:
        """Some of it is done."""
        self._bar.advance(self._task, count)
