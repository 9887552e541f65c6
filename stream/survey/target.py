"""What a survey file may feed: the Level-1 columns that come from a packet, and the bits of ``flags``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["int", "float", "text"]


@dataclass(frozen=True, slots=True)
class Target:
    """One Level-1 column that a packet feeds: its name, its kind, and whether an alert can do without it."""

    name: str
    kind: Kind
    required: bool = False


TARGETS = (
    Target("diaSourceId", "int", required=True),
    Target("diaObjectId", "int"),
    Target("ssObjectId", "int"),
    Target("parentDiaSourceId", "int"),
    Target("objectName", "text"),
    Target("ssObjectName", "text"),
    Target("visit", "int", required=True),
    Target("detector", "int", required=True),
    Target("band", "text"),
    Target("midpointMjdTai", "float", required=True),
    Target("ra", "float", required=True),
    Target("dec", "float", required=True),
    Target("raErr", "float"),
    Target("decErr", "float"),
    Target("psfFlux", "float"),
    Target("psfFluxErr", "float"),
    Target("apFlux", "float"),
    Target("apFluxErr", "float"),
    Target("scienceFlux", "float"),
    Target("scienceFluxErr", "float"),
    Target("snr", "float"),
    Target("reliability", "float"),
    Target("extendedness", "float"),
    Target("timeProcessedMjdTai", "float"),
)
"""In the order of the table; ``night`` comes before them and ``flags`` after, each made by its own rule."""

FLAG_BITS = {
    name: bit
    for bit, name in enumerate(
        (
            "negative",
            "dipole",
            "centroid",
            "psfFlux",
            "apFlux",
            "shape",
            "forcedPsfFlux",
            "edge",
            "saturated",
            "bad",
            "cosmicRay",
            "interpolated",
            "suspect",
            "streak",
            "noData",
            "injected",
            "injectedTemplate",
            "trail",
            "glintTrail",
        )
    )
}
"""Bits of ``flags`` by name, the same for every survey."""
