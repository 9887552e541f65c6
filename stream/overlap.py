"""The overlap of Qserv's sub-chunks: which of its neighbours a position also belongs to.

Overlap is box-like: a sub-chunk reaches over its own edges by the layout's overlap, along the declination as it is and
along the right ascension by as much as that takes at the sub-stripe's highest declination.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stream.errors import Wrong
from stream.sky import Layout

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_POLE_DEG = 90.0 - 1.0 / 3600.0
SEAM_DEG = 360.0 - 0.001 / 3600.0
"""A cell that ends beyond this ends at 360 degrees."""


class Neighbours(NamedTuple):
    """Positions in the overlap of sub-chunks that they do not lie in.

    Parameters
    ----------
    row
        ``int64[m]``: which position, in order; one that lies in several overlaps is there several times.
    chunk, sub_chunk
        ``int32[m]``: the neighbour's ids. Its chunk may be the position's own.
    """

    row: Ints
    chunk: NDArray[np.int32]
    sub_chunk: NDArray[np.int32]


class Overlap:
    """Finds the neighbours of positions in a layout (Qserv's partitioner, sub-chunk overlap).

    Parameters
    ----------
    layout
        How the sky is cut, and how wide the overlap is.

    Raises
    ------
    Wrong
        Code ``bad_layout``: the overlap is wider than a sub-stripe is high.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._grid = layout.grid
        fine = self._grid.height
        if layout.overlap > fine:
            text = f"an overlap of {layout.overlap} degrees is wider than sub-stripes of {fine:g} degrees are high"
            raise Wrong("bad_layout", text, "take fewer sub-stripes or a smaller overlap")
        low = np.arange(len(self._grid.width)) * fine - 90.0
        high = (np.arange(len(self._grid.width)) + 1) * fine - 90.0
        highest = np.maximum(np.abs(low), np.abs(high))
        self._low, self._high = low, high
        self._reach = np.array([reach(layout.overlap, float(latitude)) for latitude in highest])

    @property
    def edges(self) -> Floats:
        """``float64[3, sub-stripes]``, degrees: lowest and highest declination, and the reach, for compiled code."""
        return np.stack((self._low, self._high, self._reach))

    def find(self, ra: ArrayLike, dec: ArrayLike) -> Neighbours:
        """The overlaps that positions lie in.

        Parameters
        ----------
        ra, dec
            Degrees, `n` of each, on the sky, `ra` in [0, 360] (see `stream.sky.Layout.locate`).

        Returns
        -------
        Neighbours
            In order of position, then of sub-stripe and sub-chunk.
        """
        longitude, latitude = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
        if self.layout.overlap == 0.0 or not longitude.size:
            nothing = np.zeros(0, dtype=np.int32)
            return Neighbours(np.zeros(0, dtype=np.int64), nothing, nothing)
        sub_stripe, cell = self._grid.cells(longitude, latitude)
        found = [self._beside(longitude, sub_stripe, cell)]
        last = len(self._low) - 1
        below = (latitude < self._low[sub_stripe] + self.layout.overlap) & (sub_stripe > 0)
        above = (latitude >= self._high[sub_stripe] - self.layout.overlap) & (sub_stripe < last)
        found += [self._across(longitude, sub_stripe, mask, step) for mask, step in ((below, -1), (above, 1))]
        row, line, column = (np.concatenate(parts) for parts in zip(*found))
        order = np.lexsort((column, line, row))
        row, line, column = row[order], line[order], column[order]
        once = np.ones(len(row), dtype=bool)
        once[1:] = (np.diff(row) != 0) | (np.diff(line) != 0) | (np.diff(column) != 0)
        return Neighbours(row[once], *self._grid.ids(line[once], column[once]))

    def _beside(self, longitude: Floats, sub_stripe: Ints, cell: Ints) -> tuple[Ints, Ints, Ints]:
        """Neighbours to the left and right in the same sub-stripe."""
        width, cells, alpha = self._grid.width[sub_stripe], self._grid.cells_in[sub_stripe], self._reach[sub_stripe]
        left, right = cell * width, (cell + 1) * width
        right[right > SEAM_DEG] = 360.0
        several = cells > 1
        to_left, to_right = several & (longitude < left + alpha), several & (longitude > right - alpha)
        rows = np.concatenate((np.flatnonzero(to_left), np.flatnonzero(to_right)))
        columns = np.concatenate(((cell - 1)[to_left], (cell + 1)[to_right]))
        lines = sub_stripe[rows]
        return rows, lines, columns % self._grid.cells_in[lines]

    def _across(
        self, longitude: Floats, sub_stripe: Ints, mask: NDArray[np.bool_], step: int
    ) -> tuple[Ints, Ints, Ints]:
        """Neighbours in the sub-stripe below or above: all that the reach of that sub-stripe touches."""
        rows = np.flatnonzero(mask)
        lines = sub_stripe[rows] + step
        width, cells, alpha = self._grid.width[lines], self._grid.cells_in[lines], self._reach[lines]
        first = np.floor((longitude[rows] - alpha) / width).astype(np.int64)
        last = np.floor((longitude[rows] + alpha) / width).astype(np.int64)
        count = np.minimum(last - first + 1, cells)
        repeated = np.repeat(np.arange(len(rows)), count)
        nth = np.arange(len(repeated)) - np.repeat(np.cumsum(count) - count, count)
        return rows[repeated], lines[repeated], (first[repeated] + nth) % cells[repeated]


def reach(overlap: float, latitude: float) -> float:
    """How far in right ascension `overlap` reaches at most at `latitude`, all in degrees."""
    if overlap == 0.0:
        return 0.0
    if abs(latitude) + overlap > _POLE_DEG:
        return 180.0
    # The sum and the difference in radians: taken in degrees, the last bit is another one than Qserv's.
    over, middle = math.radians(overlap), math.radians(latitude)
    y, x = math.sin(over), math.sqrt(abs(math.cos(middle - over) * math.cos(middle + over)))
    return math.degrees(abs(math.atan(y / x)))
