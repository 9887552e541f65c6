"""How a replay shows itself: a bar on a terminal, plain lines elsewhere, nothing where nobody looks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol, TextIO

from stream.clock import Clock
from stream.visit import Visit


@dataclass(slots=True)
class Tally:
    """What became of a run's messages.

    Attributes
    ----------
    taken
        Messages that the source gave.
    skipped
        Of these, what an earlier run had acknowledged.
    sent, acknowledged, unacknowledged
        What this run sent, and what the broker said to it.
    nbytes
        Bytes of the values acknowledged.
    visits
        Visits opened by this run.
    announced, unannounced
        Records on the topic ``visits``, acknowledged and not.
    begun, ended
        Monotonic seconds.
    """

    taken: int = 0
    skipped: int = 0
    sent: int = 0
    acknowledged: int = 0
    unacknowledged: int = 0
    nbytes: int = 0
    visits: int = 0
    announced: int = 0
    unannounced: int = 0
    begun: float = 0.0
    ended: float = 0.0

    @property
    def rate(self) -> float:
        """Messages acknowledged a second."""
        return self.acknowledged / max(self.ended - self.begun, 1e-9)


class Watch(Protocol):
    """Looks on at a replay."""

    def opened(self, visit: Visit, tally: Tally) -> None:
        """A visit begins."""
        ...

    def turned(self, tally: Tally) -> None:
        """Time went by; called often."""
        ...

    def closed(self, visit: Visit, tally: Tally) -> None:
        """All of a visit was handed to the publisher."""
        ...

    def done(self, tally: Tally) -> None:
        """The run is over."""
        ...


class Unwatched:
    """Shows nothing."""

    def opened(self, visit: Visit, tally: Tally) -> None:
        pass

    def turned(self, tally: Tally) -> None:
        pass

    def closed(self, visit: Visit, tally: Tally) -> None:
        pass

    def done(self, tally: Tally) -> None:
        pass


@dataclass(slots=True)
class Lines:
    """A line for each visit and one every `every_s` seconds."""

    say: Callable[[str], None]
    clock: Clock
    every_s: float = 5.0
    _last: float = field(default=float("-inf"))
    _acknowledged: int = 0

    def opened(self, visit: Visit, tally: Tally) -> None:
        expected = "" if visit.expected is None else f", {visit.expected} alerts"
        self.say(f"{_name(visit)}{expected}")
        if self._last == float("-inf"):
            self._last = self.clock.monotonic()

    def turned(self, tally: Tally) -> None:
        now = self.clock.monotonic()
        if now - self._last >= self.every_s:
            rate = (tally.acknowledged - self._acknowledged) / (now - self._last)
            self._last, self._acknowledged = now, tally.acknowledged
            self.say(f"  sent {tally.sent}, acknowledged {tally.acknowledged}{_bad(tally)}, {rate:.0f}/s")

    def closed(self, visit: Visit, tally: Tally) -> None:
        self.say(f"{_name(visit)}: all sent; of the run acknowledged {tally.acknowledged}{_bad(tally)}")

    def done(self, tally: Tally) -> None:
        pass


class Bar:
    """A progress bar of rich: of the visit where its size is known, else of what was sent."""

    def __init__(self, file: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            console=Console(file=file),
            transient=False,
        )
        self._task = self._progress.add_task("waiting for the first visit", total=None, rate="")
        self._before = 0
        self._progress.start()

    def opened(self, visit: Visit, tally: Tally) -> None:
        self._before = tally.acknowledged
        self._progress.reset(self._task, total=visit.expected, description=_name(visit), rate="")

    def turned(self, tally: Tally) -> None:
        rate = f"{tally.rate:.0f}/s{_bad(tally)}"
        self._progress.update(self._task, completed=max(0, tally.acknowledged - self._before), rate=rate)

    def closed(self, visit: Visit, tally: Tally) -> None:
        self.turned(tally)

    def done(self, tally: Tally) -> None:
        self.turned(tally)
        self._progress.stop()


def watch_for(file: TextIO | None, clock: Clock) -> Watch:
    """The watch that fits `file`: a bar where it is a terminal, else lines; None is a stream that was closed."""
    if file is None:
        return Unwatched()
    if file.isatty():
        return Bar(file)

    def say(text: str) -> None:
        # A reader that is gone, or a log on a full disk, is no reason to stop sending.
        with suppress(OSError):
            print(text, file=file, flush=True)

    return Lines(say, clock)


def _name(visit: Visit) -> str:
    return f"visit {visit.visit} of night {visit.night}" if visit.visit >= 0 else "alerts of no known visit"


def _bad(tally: Tally) -> str:
    return f", NOT ACKNOWLEDGED {tally.unacknowledged}" if tally.unacknowledged else ""
