"""When alerts are due: like the sky, so many a second, or as fast as the broker takes them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from stream.errors import Wrong

VISIT_EVERY_S = 39.0
"""A visit of the survey that this is made for."""
BURST_S = 5.0
"""Most of a visit's alerts come within this (DMTN-165)."""
NOMINAL = 10_000
"""Alerts of a visit of which nobody told the number (LSE-61 nAlertVisitAvg)."""


class Pace(Protocol):
    """Seconds from the start of the run; `alerts_before` counts all alerts of the run's earlier visits."""

    def opens(self, visit: int, alerts_before: int) -> float | None:
        """The readout of the run's visit number `visit` (0, 1, …) ends; None is whenever it is its turn."""
        ...

    def due(self, visit: int, alert: int, expected: int | None, alerts_before: int) -> float | None:
        """Alert number `alert` (0, 1, …) of that visit is to be sent; None is at once."""
        ...


@dataclass(frozen=True, slots=True)
class Sky:
    """A visit every `visit_every_s` seconds, its alerts evenly within the `burst_s` seconds after its readout."""

    visit_every_s: float = VISIT_EVERY_S
    burst_s: float = BURST_S

    def opens(self, visit: int, alerts_before: int) -> float | None:
        return visit * self.visit_every_s

    def due(self, visit: int, alert: int, expected: int | None, alerts_before: int) -> float | None:
        return visit * self.visit_every_s + self.burst_s * alert / max(1, NOMINAL if expected is None else expected)


@dataclass(frozen=True, slots=True)
class Steady:
    """`per_s` alerts a second, one visit after the other."""

    per_s: float

    def opens(self, visit: int, alerts_before: int) -> float | None:
        return alerts_before / self.per_s

    def due(self, visit: int, alert: int, expected: int | None, alerts_before: int) -> float | None:
        return (alerts_before + alert) / self.per_s


@dataclass(frozen=True, slots=True)
class Flat:
    """No pace: whenever the broker takes it."""

    def opens(self, visit: int, alerts_before: int) -> float | None:
        return None

    def due(self, visit: int, alert: int, expected: int | None, alerts_before: int) -> float | None:
        return None


def parse_pace(text: str, visit_every_s: float = VISIT_EVERY_S, burst_s: float = BURST_S) -> Pace:
    """``sky``, ``max``, or alerts a second.

    Raises
    ------
    stream.errors.Wrong
        ``pace``: neither of them, or seconds of ``sky`` that never pass.
    """
    if text == "sky":
        for name, seconds in (("--visit-every", visit_every_s), ("--burst", burst_s)):
            if not math.isfinite(seconds):
                raise Wrong("pace", f"{name} {seconds} is no time", "give seconds")
        return Sky(visit_every_s, burst_s)
    if text == "max":
        return Flat()
    try:
        per_s = float(text)
    except ValueError:
        per_s = 0.0
    if not 0.0 < per_s < float("inf"):
        raise Wrong("pace", f"--pace {text} is no pace", "use sky, max, or a number of alerts a second")
    return Steady(per_s)
