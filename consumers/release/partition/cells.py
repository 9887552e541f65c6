"""The cells of positions on the sky and of the neighbours in whose overlap they lie, found in one compiled pass.

It gives what `stream.sky.Layout.locate` and `stream.overlap.Overlap.find` give, bit for bit, by the same operations in
the same order: these go over all positions some forty times.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from consumers.release.partition.compiling import Kernel
from consumers.release.partition.memory import i64
from consumers.release.partition.reasons import INFINITE, KEPT, NAN, OFF_SKY
from consumers.release.partition.writing import Ints
from stream.codec.loads import compiled
from stream.overlap import SEAM_DEG, Neighbours, Overlap
from stream.sky import Floats, Layout

_HEIGHT, _OVERLAP, _SEAM = range(3)
_STRIPES, _SUB_STRIPES, _MOST = range(3)
_WIDTH, _LOW, _HIGH, _REACH = range(4)
_CHUNKS, _CELLS = range(2)


class Sky(NamedTuple):
    """How the sky is cut, as compiled code reads it.

    Parameters
    ----------
    reals
        ``float64[3]``, degrees: height of a sub-stripe; overlap, below 0 where neighbours are not wanted; the seam.
    numbers
        ``int64[3]``: stripes, sub-stripes of each, the most cells of a sub-stripe that any chunk has.
    edges
        ``float64[4, sub-stripes]``, degrees: width of a cell, lowest and highest declination, reach of the overlap.
    cells
        ``int64[2, sub-stripes]``: cells of a chunk, and of the whole sub-stripe.
    """

    reals: Floats
    numbers: Ints
    edges: Floats
    cells: Ints

    @classmethod
    def of(cls, layout: Layout, overlap: Overlap | None) -> Sky:
        """The sky of a layout; with its overlap where neighbours are wanted."""
        grid = layout.grid
        wide = layout.overlap if overlap is not None and layout.overlap > 0.0 else -1.0
        edges = np.zeros((4, len(grid.width)))
        edges[_WIDTH] = grid.width
        if overlap is not None:
            edges[_LOW:] = overlap.edges
        return cls(
            np.array((grid.height, wide, SEAM_DEG)),
            np.array((grid.stripes, grid.sub_stripes, int(grid.sub_chunks.max())), np.int64),
            edges,
            np.stack((grid.sub_chunks, grid.cells_in)),
        )


class Cells(NamedTuple):
    """Where positions lie.

    Parameters
    ----------
    row
        ``int64[m]``: those that lie somewhere, in order.
    chunk, sub_chunk
        ``int32[m]``: theirs.
    near
        The neighbours, by their place in `row`.
    """

    row: Ints
    chunk: NDArray[np.int32]
    sub_chunk: NDArray[np.int32]
    near: Neighbours


@compiled
def reduced(ra: float) -> float:
    """A right ascension in [0, 360) degrees, as `stream.sky.reduce_ra` has it."""
    if 0.0 < ra < 360.0:
        return ra
    rest: float = np.mod(ra, 360.0)
    return 0.0 if rest == 360.0 else rest


@compiled
def verdict(ra: float, dec: float) -> int:
    """Why a position has no place, or that it has."""
    if np.isnan(ra) or np.isnan(dec):
        return NAN
    if np.isinf(ra) or np.isinf(dec):
        return INFINITE
    return KEPT if abs(dec) <= 90.0 else OFF_SKY


@compiled
def put_ids(line: int, cell: int, numbers: Any, cells: Any, chunk: Any, sub_chunk: Any, at: int) -> None:
    """Set number `at` of the ids to those of a cell of a sub-stripe."""
    in_chunk, stripe = cells[_CHUNKS, line], line // numbers[_SUB_STRIPES]
    nth = cell // in_chunk
    chunk[at] = stripe * (2 * numbers[_STRIPES]) + nth
    sub_chunk[at] = (line - stripe * numbers[_SUB_STRIPES]) * numbers[_MOST] + (cell - nth * in_chunk)


@compiled
def put_across(row: int, longitude: float, line: int, numbers: Any, edges: Any, cells: Any, near: Any, at: int) -> int:
    """Add the cells of another sub-stripe that its reach touches, in order; how many there are then."""
    width, count, reach = edges[_WIDTH, line], cells[_CELLS, line], edges[_REACH, line]
    first = i64(np.floor((longitude - reach) / width))
    touched = min(i64(np.floor((longitude + reach) / width)) - first + 1, count)
    first %= count
    beyond = max(0, first + touched - count)
    for i in range(touched):
        if at < len(near[0]):
            near[0][at] = row
            put_ids(line, i if i < beyond else first + i - beyond, numbers, cells, near[1], near[2], at)
        at += 1
    return at


@compiled
def put_beside(
    row: int,
    longitude: float,
    line: int,
    cell: int,
    seam: float,
    numbers: Any,
    edges: Any,
    cells: Any,
    near: Any,
    at: int,
) -> int:
    """Add the cells to the left and right, in order; how many there are then."""
    width, count, reach = edges[_WIDTH, line], cells[_CELLS, line], edges[_REACH, line]
    if count < 2:
        return at
    left, right = cell * width, (cell + 1) * width
    if right > seam:
        right = 360.0
    before = (cell - 1) % count if longitude < left + reach else i64(-1)
    after = (cell + 1) % count if longitude > right - reach else i64(-1)
    if before == after:
        after = i64(-1)
    for found in (min(before, after), max(before, after)):
        if found >= 0:
            if at < len(near[0]):
                near[0][at] = row
                put_ids(line, found, numbers, cells, near[1], near[2], at)
            at += 1
    return at


def _find(stamp: int) -> Any:
    def find(
        ra: Any, dec: Any, why: Any, reals: Any, numbers: Any, edges: Any, cells: Any, row: Any, chunk: Any,
        sub_chunk: Any, near_row: Any, near_chunk: Any, near_sub_chunk: Any,
    ) -> tuple[int, int]:  # fmt: skip
        near, wide, last = (near_row, near_chunk, near_sub_chunk), reals[_OVERLAP], edges.shape[1] - 1
        n, m = 0, 0
        for i in range(len(ra)):
            if why[i] == KEPT:
                why[i] = verdict(ra[i], dec[i])
            if why[i] != KEPT:
                continue
            longitude, latitude = reduced(ra[i]), dec[i]
            line = min(i64(np.floor((latitude + 90.0) / reals[_HEIGHT])), last)
            cell = min(i64(np.floor(longitude / edges[_WIDTH, line])), cells[_CELLS, line] - 1)
            row[n] = i
            put_ids(line, cell, numbers, cells, chunk, sub_chunk, n)
            if wide > 0.0:
                if latitude < edges[_LOW, line] + wide and line > 0:
                    m = put_across(n, longitude, line - 1, numbers, edges, cells, near, m)
                m = put_beside(n, longitude, line, cell, reals[_SEAM], numbers, edges, cells, near, m)
                if latitude >= edges[_HIGH, line] - wide and line < last:
                    m = put_across(n, longitude, line + 1, numbers, edges, cells, near, m)
            n += 1
        return (n, m) if stamp else (0, 0)

    return find


_INTS, _SHORTS, _FLOATS = nb.int64[::1], nb.int32[::1], nb.float64[::1]
FIND = Kernel(
    _find,
    nb.types.Tuple((nb.int64, nb.int64))(  # type: ignore[no-untyped-call]
        _FLOATS, _FLOATS, nb.int8[::1], _FLOATS, _INTS, nb.float64[:, ::1], nb.int64[:, ::1],
        _INTS, _SHORTS, _SHORTS, _INTS, _SHORTS, _SHORTS,
    ),
)  # fmt: skip


def find(sky: Sky, ra: Floats, dec: Floats, why: NDArray[np.int8]) -> Cells:
    """Where positions lie, degrees; marks those that lie nowhere in `why`, and leaves out all that are marked."""
    count = len(ra)
    row, chunk, sub_chunk = np.empty(count, np.int64), np.empty(count, np.int32), np.empty(count, np.int32)
    room = 2 * count
    while True:
        near = (np.empty(room, np.int64), np.empty(room, np.int32), np.empty(room, np.int32))
        n, m = FIND()(ra, dec, why, *sky, row, chunk, sub_chunk, *near)
        if m <= room:
            return Cells(row[:n], chunk[:n], sub_chunk[:n], Neighbours(near[0][:m], near[1][:m], near[2][:m]))
        room = m
