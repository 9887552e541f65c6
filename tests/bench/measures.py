"""What is measured, each with its target: the table of what skyburst must reach on two cores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from tests.bench.archive import Looked
from tests.bench.drain import Rate
from tests.bench.live import Live
from tests.bench.stall import Stalled

RAW, ZSTD, DRAIN, NAIVE, MANY = "librdkafka alone", "zstd-1, one core", "skyburst ingest", "the naive way", "many rows"
READINGS = 8
"""How often a topic is read before its rounds."""
WARMING_UP = "skyburst ingest, once before"
"""Shown and kept, but in no ratio."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure beside its target: at least (`bound` ``>=``) or at most (``<=``)."""

    name: str
    value: float
    bound: str
    target: float
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.value >= self.target if self.bound == ">=" else self.value <= self.target

    def line(self) -> str:
        """For the terminal."""
        return f"{'met    ' if self.met else 'NOT MET'} {self.name}: {self.shown} ({self.wanted})"

    @property
    def shown(self) -> str:
        """The figure with its unit."""
        return f"{self.value:.3g} {self.unit}".strip() if self.value < 1000 else f"{self.value:.0f} {self.unit}".strip()

    @property
    def wanted(self) -> str:
        """The target with its bound and unit."""
        return f"{'at least' if self.bound == '>=' else 'at most'} {self.target:g} {self.unit}".strip()


@dataclass(slots=True)
class Results:
    """Everything that was measured in one run: the rounds of each drain by size and by what, and the others by name."""

    rates: dict[str, dict[str, list[Rate]]]
    lives: dict[str, Live]
    stalled: Stalled | None = None
    looked: Looked | None = None
    starts: list[float] | None = None

    def rate(self, size: str, what: str) -> float | None:
        """Median of alerts/s over the rounds."""
        rounds = self.rates.get(size, {}).get(what)
        return median(rate.alerts_s for rate in rounds) if rounds else None

    @property
    def peak(self) -> int:
        """Most memory of any daemon of this run, bytes."""
        drains = [r.peak for kinds in self.rates.values() for rounds in kinds.values() for r in rounds]
        return max([*drains, *(each.peak for each in self.lives.values()), self.stalled.peak if self.stalled else 0])


_RATIOS: Mapping[str, tuple[float, float]] = {"62k": (0.95, 7.0), "265k": (1.4, 30.0)}
"""By size: drain over one core of zstd-1, drain over the naive way."""


def measures(results: Results) -> list[Measure]:
    """The table, as far as it was measured."""
    return [*_drains(results), *_lives(results), *_others(results)]


def _drains(results: Results) -> list[Measure]:
    found = []
    for size, (of_zstd, of_naive) in _RATIOS.items():
        drained = results.rate(size, DRAIN)
        for what, target in ((ZSTD, of_zstd), (NAIVE, of_naive)):
            other = results.rate(size, what)
            if drained and other:
                found.append(Measure(f"drain of {size}B packets over {what}", drained / other, ">=", target))
    drained, many = results.rate("62k", DRAIN), results.rate("62k", MANY)
    if drained and many:
        name = "drain into the newest of four partitions of 5 million rows, over that into an empty Level-1"
        found.append(Measure(name, many / drained, ">=", 0.9))
    return found


def _lives(results: Results) -> list[Measure]:
    found = []
    if one := results.lives.get("live62"):
        found += [
            Measure("live at 260/s, 62 kB: p50", one.p50, "<=", 0.12, "s"),
            Measure("live at 260/s, 62 kB: p98", one.p98, "<=", 0.25, "s"),
            Measure("live at 260/s, 62 kB: max", one.most, "<=", 1.0, "s"),
        ]
    if one := results.lives.get("real"):
        found.append(Measure("live at 260/s, real sizes: p98", one.p98, "<=", 0.4, "s"))
    if one := results.lives.get("burst"):
        found.append(Measure("burst of 10,000 of 62 kB in 5 s: all within", one.all_s, "<=", 5.7, "s"))
    if one := results.lives.get("visit"):
        found.append(Measure("visit of 40,000 in 20 s: all within", one.all_s, "<=", 21.5, "s"))
    if results.lives:
        found.append(Measure("lost", float(sum(each.lost for each in results.lives.values())), "<=", 0.0))
    return found


def _others(results: Results) -> list[Measure]:
    found = []
    if results.peak:
        name = "peak memory of the daemon over all runs"
        if results.stalled:
            name += ", packets of 4 MiB and a stalled database among them"
        found.append(Measure(name, results.peak / 1e6, "<=", 700.0, "MB"))
    if results.stalled:
        found.append(Measure("lost while the database stalled", float(results.stalled.lost), "<=", 0.0))
    if results.looked:
        found.append(Measure("alert by id, median", results.looked.median * 1000, "<=", 5.0, "ms"))
        found.append(Measure("alert by id, p99", results.looked.p99 * 1000, "<=", 25.0, "ms"))
    if results.starts:
        found.append(Measure("warm start to first commit", median(results.starts), "<=", 5.0, "s"))
    return found
