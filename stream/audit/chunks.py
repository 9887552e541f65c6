"""Qserv's chunk and sub-chunk of a position, by the formulas of its partitioner and not by what placed the rows."""

from __future__ import annotations

from math import atan2, cos, degrees, floor, radians, sin, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


class Chunks:
    """A layout of the sky: declination stripes, and sub-stripes in each."""

    def __init__(self, stripes: int, sub_stripes: int) -> None:
        self.stripes, self.sub_stripes = stripes, sub_stripes
        chunks = np.array(_rows(stripes)).repeat(sub_stripes)
        self._per_chunk = np.array(_rows(stripes * sub_stripes)) // chunks
        self._along = self._per_chunk * chunks

    def locate(self, ra: ArrayLike, dec: ArrayLike) -> list[tuple[int, int]]:
        """Chunk and sub-chunk of each position (degrees, right ascension from 0 to 360)."""
        longitude, latitude = np.asarray(ra, np.float64), np.asarray(dec, np.float64)
        height = 180.0 / len(self._along)
        row: Any = np.minimum(np.floor((latitude + 90.0) / height).astype(int), len(self._along) - 1)
        along, per_chunk = self._along[row], self._per_chunk[row]
        cell = np.minimum(np.floor(longitude / (360.0 / along)).astype(int), along - 1)
        stripe, within = np.divmod(row, self.sub_stripes)
        chunk, rest = np.divmod(cell, per_chunk)
        ids = stripe * 2 * self.stripes + chunk, within * self._per_chunk.max() + rest
        return list(zip(*(each.tolist() for each in ids), strict=True))


def _rows(count: int) -> list[int]:
    """Into how many cells each of `count` declination rows of equal height is cut."""
    height = 180.0 / count
    return [_cells(max(abs(row * height - 90.0), abs((row + 1) * height - 90.0)), height) for row in range(count)]


def _cells(latitude: float, width: float) -> int:
    """How many cells of at least `width` degrees fit around the sky at a latitude."""
    if latitude > 90.0 - 1.0 / 3600.0 or width >= 180.0:
        return 1
    x = cos(radians(width)) - sin(radians(latitude)) ** 2
    u = cos(radians(latitude)) ** 2
    return floor(360.0 / abs(degrees(atan2(sqrt(abs(u * u - x * x)), x))))
