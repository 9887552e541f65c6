"""Where a visit's alerts lie: on which detector, at which pixel, at which position of the sky."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from producers.sources.synthetic_model import SkyField, Telescope
from stream.sky import reduce_ra

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Places:
    """Positions of `n` alerts: pixels on the detector, and degrees."""

    x: Floats
    y: Floats
    ra: Floats
    dec: Floats


@dataclass(frozen=True, slots=True)
class FocalPlane:
    """Detectors side by side, numbered by row, without those at the corners."""

    telescope: Telescope

    @property
    def centres(self) -> NDArray[np.int64]:
        """Row and column of each detector, ``int64[detectors, 2]``."""
        side, corner = self.telescope.detectors_a_side, self.telescope.corner
        rows, columns = np.divmod(np.arange(side * side), side)
        outer_row = (rows < corner) | (rows >= side - corner)
        outer_column = (columns < corner) | (columns >= side - corner)
        return np.stack([rows, columns], axis=1)[~(outer_row & outer_column)]

    def scatter(self, field: SkyField, detector: NDArray[np.int64], rng: Generator) -> Places:
        """A random place on each alert's detector, through the tangent plane about the field's centre."""
        telescope, n = self.telescope, len(detector)
        fraction = rng.random((n, 2))
        middle = telescope.detectors_a_side / 2.0
        plane = np.radians((self.centres[detector] + fraction - middle) * telescope.pitch)
        ra, dec = _untangent(plane[:, 1], plane[:, 0], np.radians(field.ra), np.radians(field.dec))
        pixels = fraction * telescope.pixels
        return Places(pixels[:, 1], pixels[:, 0], reduce_ra(ra), dec)


def _untangent(east: Floats, north: Floats, ra: float, dec: float) -> tuple[Floats, Floats]:
    """Degrees on the sky of points on the plane that touches it at a position; all in radians."""
    down = np.cos(dec) - north * np.sin(dec)
    return (
        np.degrees(ra + np.arctan2(east, down)),
        np.degrees(np.arctan2(np.sin(dec) + north * np.cos(dec), np.hypot(east, down))),
    )
