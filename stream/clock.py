"""Time, held in one place so that a test can hold it too."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Where wall-clock and monotonic time come from."""

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back: for ages, timeouts and deadlines."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass(slots=True)
class ManualClock:
    """A clock that a test moves by hand."""

    wall: float = 0.0
    ticks: float = 0.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.ticks

    def advance(self, seconds: float) -> None:
        """Move both clocks on by `seconds`."""
        self.wall += seconds
        self.ticks += seconds


@dataclass(frozen=True, slots=True)
class Deadline:
    """An instant on a monotonic clock by which something must be over, handed down instead of timeouts."""

    clock: Clock
    at: float

    @classmethod
    def after(cls, clock: Clock, seconds: float) -> Deadline:
        """The deadline `seconds` from now."""
        return cls(clock, clock.monotonic() + seconds)

    def left(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self.at - self.clock.monotonic())

    @property
    def passed(self) -> bool:
        """Whether the instant lies behind."""
        return self.left() <= 0.0
