"""Arrays of earlier records: taken from a pool of encoded ones, in which each packet's own ids are written."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from producers.sources.distributions import Distribution, draw
from producers.sources.encoding import FieldType, Rows, Values, encode_rows, varint
from stream.errors import Fatal

OBJECT_IDS = (170_000_000_000_000_000, 170_000_000_000_000_000 + 2**44)
"""Of one year, like real ones; their varints have nine bytes each, so that one can be written over another."""

_SOURCE_IDS = (170_000_000_000_000_000, 170_000_000_000_000_000 + 2**36)

TIME_STEPS = 2.0**20
"""Times of a history are whole fractions of a day, 82 ms: real exposures are shared by records and repeat as bytes."""

PROCESSING_DAYS = 70.0 / 86400.0
"""From the middle of an exposure to its processing."""

_PER_DRAW = 4096


class HistoryPool:
    """Encoded records of one kind, laid side by side.

    A packet's history is a run of the pool; what belongs to the packet (its object's id, its position, times before
    its own) is written over the run. Runs follow one another, so that a record comes again only after the whole pool.

    Parameters
    ----------
    fields, rules
        The record's fields and their distributions.
    size
        Records in the pool.
    rng
        Where the pool comes from.
    """

    def __init__(self, fields: list[FieldType], rules: Mapping[str, Distribution], size: int, rng: Generator) -> None:
        self._size = size
        kinds = {field.name: field.kind for field in fields}
        self._written = {
            name: rule
            for name, rule in rules.items()
            if rule.is_ is not None and rule.when != "moving" and name in kinds
        }
        for name, rule in self._written.items():
            if rule.is_ not in {"long": _LONGS, "double": _DOUBLES}.get(kinds[name], ()):
                raise Fatal("synthetic_model", f"{name}: {rule.is_} cannot stand in a history's {kinds[name]}")
        rows = [self._draw(fields, rules, min(_PER_DRAW, size - at), rng) for at in range(0, size, _PER_DRAW)]
        starts = np.cumsum([0, *(len(part.buffer) for part in rows)])
        self._buffer = np.concatenate([part.buffer for part in rows])
        ends = [part.bounds[1:] + start for part, start in zip(rows, starts)]
        self._bounds = np.concatenate([np.zeros(1, dtype=np.int64), *ends])
        self._at = {
            name: np.concatenate([part.at[name] + start for part, start in zip(rows, starts)]) for name in self._written
        }
        self._there = {name: np.concatenate([part.there(name) for part in rows]) for name in self._written}

    def _draw(self, fields: list[FieldType], rules: Mapping[str, Distribution], n: int, rng: Generator) -> Rows:
        given: dict[str, Values] = {name: np.zeros(n) for name in _DOUBLES}
        given |= {name: rng.integers(*OBJECT_IDS, size=n) for name in _LONGS}
        never = np.zeros(n, dtype=np.bool_)
        return encode_rows(fields, draw(fields, rules, given, never, rng), n)

    def arrays(
        self,
        lengths: NDArray[np.int64],
        given: Mapping[str, Values],
        times: NDArray[np.float64],
        start: int,
        rng: Generator,
    ) -> list[bytes]:
        """Encoded arrays for a run of alerts.

        Parameters
        ----------
        lengths
            Records of each alert's array.
        given
            What belongs to each alert: ``object``, ``ra``, ``dec`` (degrees).
        times
            Each alert's `timelines`; its history takes the latest.
        start
            Where in the pool to begin; the caller moves on by the sum of `lengths`.
        """
        total = int(lengths.sum())
        first = start % self._size
        if first + total > self._size:
            first = 0
        low, high = int(self._bounds[first]), int(self._bounds[first + total])
        run = self._buffer[low:high].copy()
        owner = np.repeat(np.arange(len(lengths)), lengths)
        given = {name: given[name][owner] for name in ("object", "ra", "dec")}
        longest = times.shape[1]
        given["past"] = times[np.arange(longest) >= longest - lengths[:, None]]
        for name, rule in self._written.items():
            values = _values(rule, given, rng)
            there = self._there[name][first : first + total]
            places = self._at[name][first : first + total][there] - low
            run[places[:, None] + np.arange(values.shape[1])] = values[there]
        whole = run.tobytes()
        ends = np.concatenate([[0], np.cumsum(lengths)])
        cuts = (self._bounds[first + ends] - low).tolist()
        return [
            varint(count) + whole[begin:end] + b"\0" if count else b"\0"
            for count, (begin, end) in zip(lengths.tolist(), pairwise(cuts))
        ]

    @property
    def size(self) -> int:
        """Records in the pool: the most that one call of `arrays` can take."""
        return self._size


_LONGS = ("object", "source")
_DOUBLES = ("ra", "dec", "past", "processed")


def timelines(midpoint: Values, longest: int, past_days: float, rng: Generator) -> NDArray[np.float64]:
    """Times of earlier exposures of each alert's place, ``float64[n, longest]``, the oldest first.

    An alert's histories share one: a source and its forced counterpart come from the same exposure.
    """
    ages = rng.random((len(midpoint), longest)) * past_days
    ages.sort(axis=1)
    times: NDArray[np.float64] = midpoint[:, None] - 1e-3 - ages[:, ::-1]
    return np.floor(times * TIME_STEPS) / TIME_STEPS


def _values(rule: Distribution, given: Mapping[str, Values], rng: Generator) -> NDArray[np.uint8]:
    """The bytes to write over a field, a row each."""
    if rule.is_ == "source":
        return _nine_bytes(rng.integers(*_SOURCE_IDS, size=len(given["past"])))
    if rule.is_ == "object":
        return _nine_bytes(given["object"])
    values = given["past"] + PROCESSING_DAYS if rule.is_ == "processed" else given[str(rule.is_)]
    if rule.scatter:
        values = values + rng.normal(0.0, rule.scatter, len(values))
    if rule.step is not None:
        values = np.floor(values / rule.step) * rule.step
    return np.ascontiguousarray(values, dtype="<f8").view(np.uint8).reshape(-1, 8)


def _nine_bytes(ids: NDArray[np.int64]) -> NDArray[np.uint8]:
    zigzag = ids.astype(np.uint64) << np.uint64(1)
    body = (zigzag[:, None] >> np.arange(0, 63, 7, dtype=np.uint64)) & np.uint64(0x7F)
    body[:, :8] |= np.uint64(0x80)
    return body.astype(np.uint8)
