"""Whether a process lives and whether it can do its work: two questions, never mixed."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from stream.clock import Clock, SystemClock
from stream.metrics import WARNINGS


@dataclass(frozen=True, slots=True)
class Unready:
    """A reason not to be ready, or a warning: a stable code, what it is, since when (seconds since 1970 UTC)."""

    code: str
    text: str
    since: float


class Health:
    """Liveness driven by the loop itself, readiness by reasons that hold against it, and warnings that cost neither.

    Parameters
    ----------
    stale_s
        The process counts as dead once its loop has not turned for so many seconds.

    Notes
    -----
    A new Health is not ready: the reason ``starting`` holds until it is cleared. Threads may call every method.
    """

    def __init__(self, clock: Clock | None = None, *, stale_s: float = 30.0) -> None:
        self._clock = clock or SystemClock()
        self._stale_s = stale_s
        self._lock = threading.Lock()
        self._turned = self._clock.monotonic()
        self._reasons: dict[str, Unready] = {}
        self._warnings: dict[str, Unready] = {}
        self.set("starting", "the process has not got its partitions yet")

    def turned(self) -> None:
        """The loop turned now."""
        self._turned = self._clock.monotonic()

    def age(self) -> float:
        """Seconds since the loop last turned."""
        return max(0.0, self._clock.monotonic() - self._turned)

    def alive(self) -> bool:
        """Whether the loop turned within `stale_s` seconds."""
        return self.age() < self._stale_s

    def set(self, code: str, text: str | None) -> None:
        """Give a reason against readiness, or take it back with None; an unchanged reason keeps its instant."""
        self._note(self._reasons, code, text)

    def warn(self, code: str, text: str | None) -> None:
        """Warn of what is still to be mended while all goes on, or take it back with None."""
        self._note(self._warnings, code, text)
        WARNINGS.set(float(text is not None), code=code)

    def _note(self, noted: dict[str, Unready], code: str, text: str | None) -> None:
        with self._lock:
            if text is None:
                noted.pop(code, None)
                return
            before = noted.get(code)
            noted[code] = Unready(code, text, before.since if before else self._clock.now())

    def reasons(self) -> tuple[Unready, ...]:
        """What holds against readiness, by code."""
        with self._lock:
            return tuple(self._reasons[code] for code in sorted(self._reasons))

    def warnings(self) -> tuple[Unready, ...]:
        """What somebody should see to, by code."""
        with self._lock:
            return tuple(self._warnings[code] for code in sorted(self._warnings))

    def ready(self) -> bool:
        """Whether nothing holds against it and the loop turns."""
        return self.alive() and not self.reasons()
