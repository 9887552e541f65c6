"""What each part of the release's benchmark is given, and what it gives.

A part is a module of this folder with ``def measure(run: Run) -> Part``; `tests.bench_release.__main__` names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.measures import Measure


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the benchmark.

    Parameters
    ----------
    folder
        Empty, on the disk that is measured; wiped at the end.
    kept
        Stays between runs: for inputs that take long to make.
    scale
        1 of the whole benchmark, 0.1 of a quick one: so much of every size.
    rounds
        How often what is compared is measured, in turn.
    """

    folder: Path
    kept: Path
    scale: float = 1.0
    rounds: int = 3

    def scaled(self, count: int) -> int:
        """So much of `count` as this run takes, 1 at least."""
        return max(1, int(count * self.scale))

    def say(self, text: str) -> None:
        """A line for whoever watches."""
        print(f"  {text}", flush=True)


@dataclass(frozen=True, slots=True)
class Part:
    """What a part measured.

    Parameters
    ----------
    measures
        Figures beside their targets, in the order of the page.
    told
        Lines of the page's table below: what, and its figure, each with its unit.
    rounds
        Every round, as JSON can have it.
    """

    measures: tuple[Measure, ...]
    told: tuple[tuple[str, str], ...] = ()
    rounds: Mapping[str, object] = field(default_factory=dict)
