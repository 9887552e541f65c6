"""Counters, gauges and histograms that know their labels, take whole batches, and stay bounded."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from stream.clock import Clock, SystemClock

PREFIX = "skyburst_"
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Declared:
    """What a metric says about itself: for the reference, the dashboard's check and the registry.

    Attributes
    ----------
    name
        As in PromQL, with prefix, and ``_total`` for a counter; the series of a histogram add ``_bucket``, ``_sum`` and
        ``_count``.
    kind
        ``counter``, ``gauge`` or ``histogram``.
    limit
        Series at most; what comes beyond counts under the label values ``other``.
    known
        Label values of a counter that has these series from the start, at 0: what comes before the first scrape of a
        series is in no rate and no increase.
    """

    name: str
    kind: str
    doc: str
    labels: tuple[str, ...]
    limit: int
    buckets: tuple[float, ...] = ()
    known: tuple[tuple[str, ...], ...] = ()


class _Instrument(Collector):
    """Values by label values, behind one lock; the registry reads them through `collect`."""

    def __init__(self, declared: Declared, registry: CollectorRegistry) -> None:
        self.declared = declared
        self._lock = threading.Lock()
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        return [Metric(self.declared.name.removesuffix("_total"), self.declared.doc, self.declared.kind)]

    def _key(self, known: Iterable[tuple[str, ...]], labels: dict[str, str]) -> tuple[str, ...]:
        declared = self.declared
        if labels.keys() != set(declared.labels):
            raise ValueError(f"{declared.name} has the labels {declared.labels}, not {tuple(labels)}")
        key = tuple(str(labels[name]) for name in declared.labels)
        held = known if isinstance(known, dict) else dict.fromkeys(known)
        if key not in held and len(held) >= declared.limit:
            return (OTHER,) * len(key)
        return key


class Counter(_Instrument):
    """Only grows."""

    def __init__(self, declared: Declared, registry: CollectorRegistry) -> None:
        self._values: dict[tuple[str, ...], float] = dict.fromkeys(declared.known if declared.labels else [()], 0.0)
        super().__init__(declared, registry)

    def add(self, amount: float = 1.0, /, **labels: str) -> None:
        """Count `amount` more; raises ValueError for less than nothing or other labels than the declared ones."""
        if amount < 0:
            raise ValueError(f"{self.declared.name} only grows, not by {amount}")
        with self._lock:
            key = self._key(self._values, labels)
            self._values[key] = self._values.get(key, 0.0) + amount

    def value(self, **labels: str) -> float:
        """What was counted so far."""
        with self._lock:
            return self._values.get(self._key(self._values, labels), 0.0)

    def collect(self) -> Iterable[Metric]:
        name = self.declared.name.removesuffix("_total")
        family = CounterMetricFamily(name, self.declared.doc, labels=self.declared.labels)
        with self._lock:
            for key, value in self._values.items():
                family.add_metric(key, value)
        return [family]


class Gauge(_Instrument):
    """A value as it is now; `follow` has it asked for at each scrape."""

    def __init__(self, declared: Declared, registry: CollectorRegistry) -> None:
        self._values: dict[tuple[str, ...], float] = {}
        self._asked: dict[tuple[str, ...], Callable[[], float]] = {}
        super().__init__(declared, registry)

    def set(self, value: float, /, **labels: str) -> None:
        """The value is `value` from now on."""
        with self._lock:
            self._values[self._key(self._values, labels)] = float(value)

    def follow(self, ask: Callable[[], float], /, **labels: str) -> None:
        """Call `ask` at each scrape; it must be quick and must not raise."""
        with self._lock:
            self._asked[self._key(self._asked, labels)] = ask

    def drop(self, **labels: str) -> None:
        """Forget these label values, e.g. of a partition that was revoked."""
        with self._lock:
            key = self._key(self._values, labels)
            self._values.pop(key, None)
            self._asked.pop(key, None)

    def value(self, **labels: str) -> float | None:
        """The value as a scrape would see it, None where there is none."""
        with self._lock:
            key = self._key(self._values, labels)
            ask = self._asked.get(key)
            found = self._values.get(key)
        return ask() if ask is not None else found

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(self.declared.name, self.declared.doc, labels=self.declared.labels)
        with self._lock:
            values, asked = dict(self._values), dict(self._asked)
        for key, value in (values | {key: ask() for key, ask in asked.items()}).items():
            family.add_metric(key, value)
        return [family]


class Histogram(_Instrument):
    """How values are spread, by upper bounds that the declaration names."""

    def __init__(self, declared: Declared, registry: CollectorRegistry) -> None:
        self._bounds = np.asarray(declared.buckets, dtype=np.float64)
        self._counts: dict[tuple[str, ...], tuple[NDArray[np.int64], float]] = {}
        if not declared.labels:
            self._counts[()] = self._empty()
        super().__init__(declared, registry)

    def _empty(self) -> tuple[NDArray[np.int64], float]:
        return np.zeros(len(self._bounds) + 1, dtype=np.int64), 0.0

    def observe(self, values: ArrayLike, /, **labels: str) -> None:
        """Count one value, or every value of an array at once; NaN is not counted."""
        array = np.atleast_1d(np.asarray(values, dtype=np.float64))
        array = array[~np.isnan(array)]
        if not array.size:
            return
        found = np.bincount(np.searchsorted(self._bounds, array, side="left"), minlength=len(self._bounds) + 1)
        with self._lock:
            key = self._key(self._counts, labels)
            counts, total = self._counts.get(key) or self._empty()
            self._counts[key] = (counts + found, total + float(array.sum()))

    def count(self, **labels: str) -> int:
        """How many values were counted so far."""
        with self._lock:
            counts, _ = self._counts.get(self._key(self._counts, labels)) or self._empty()
            return int(counts.sum())

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(self.declared.name, self.declared.doc, labels=self.declared.labels)
        names = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        with self._lock:
            held = dict(self._counts)
        for key, (counts, total) in held.items():
            running: Sequence[int] = np.cumsum(counts).tolist()
            family.add_metric(key, list(zip(names, map(float, running))), total)
        return [family]


class RatePeak:
    """The most that arrived within any one second since the peak was last taken.

    Counted in tenths of a second, so a burst across the edge of two whole seconds is seen.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._slots: deque[tuple[int, int]] = deque()
        self._within = 0
        self._peak = 0

    def add(self, count: int) -> None:
        """`count` more arrived now."""
        with self._lock:
            slot = self._expire()
            if self._slots and self._slots[-1][0] == slot:
                count_before = self._slots.pop()[1]
                self._slots.append((slot, count_before + count))
            else:
                self._slots.append((slot, count))
            self._within += count
            self._peak = max(self._peak, self._within)

    def take(self) -> float:
        """The peak, which then begins anew at what the running second holds."""
        with self._lock:
            peak = self._peak
            self._expire()
            self._peak = self._within
            return float(peak)

    def _expire(self) -> int:
        slot = int(self._clock.monotonic() * 10)
        while self._slots and self._slots[0][0] <= slot - 10:
            self._within -= self._slots.popleft()[1]
        return slot
