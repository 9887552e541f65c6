"""Where the rows of a batch go: by position and overlap, by a director's id, as pairs of two, or nowhere."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from consumers.release.partition import cells
from consumers.release.partition.cells import Sky
from consumers.release.partition.object_index import Found
from consumers.release.partition.reasons import KEPT, NO_KEY, TOO_FAR, UNKNOWN_KEY
from consumers.release.partition.writing import Ints, Places
from stream.sky import Floats

LEFT, RIGHT, BOTH = 1, 2, 3
"""Flags of a match table's row: which of its two rows lie in the chunk."""

Shorts = NDArray[np.int32]
Codes = NDArray[np.int8]


class Placed(NamedTuple):
    """The lines of a batch.

    Parameters
    ----------
    main
        In order of chunk, then row.
    overlap
        In order of chunk, then row.
    line
        ``int64[…]``: the line of `main` that each of `overlap` repeats.
    """

    main: Places
    overlap: Places
    line: Ints


def by_position(sky: Sky, ra: Floats, dec: Floats, why: Codes) -> Placed:
    """Places of rows by their positions, degrees; marks those without one in `why`, and leaves out all marked."""
    found = cells.find(sky, ra, dec, why)
    order = by_chunk(found.chunk)
    main = Places(found.row[order], found.chunk[order], found.sub_chunk[order])
    near = found.near
    if not len(near.row):
        return Placed(main, _none(), np.zeros(0, np.int64))
    line_of = np.empty(len(order), np.int64)
    line_of[order] = np.arange(len(order))
    sorting = by_chunk(near.chunk)
    row = near.row[sorting]
    return Placed(main, Places(found.row[row], near.chunk[sorting], near.sub_chunk[sorting]), line_of[row])


def by_key(found: Found, why: Codes) -> Placed:
    """Places of rows by what a director's index says of their keys."""
    _mark(why, ~found.known, UNKNOWN_KEY)
    rows = np.flatnonzero(why == KEPT)
    return _main(rows, found.chunk[rows], found.sub_chunk[rows])


def by_pair(left: Found, right: Found, reach: float, why: Codes) -> Placed:
    """Places of pairs (Qserv's rule for match tables).

    A pair within one chunk goes there. One across a border goes to both chunks, where its two are no farther from one
    another than `reach` degrees, the overlap. A pair with one id alone goes where that is.
    """
    has_left, has_right = left.asked, right.asked
    _mark(why, ~(has_left | has_right), NO_KEY)
    _mark(why, (has_left & ~left.known) | (has_right & ~right.known), UNKNOWN_KEY)
    across = has_left & has_right & (left.chunk != right.chunk) & (why == KEPT)
    _mark(why, across & (separation(left, right) > reach), TOO_FAR)
    kept = why == KEPT
    across &= kept
    flags = np.where(has_left & has_right, BOTH, np.where(has_left, LEFT, RIGHT)).astype(np.int32)
    flags[across] = LEFT
    first, second = np.flatnonzero(kept), np.flatnonzero(across)
    chunk = np.where(has_left, left.chunk, right.chunk)[first]
    sub_chunk = np.where(has_left, left.sub_chunk, right.sub_chunk)[first]
    return _main(
        np.concatenate((first, second)),
        np.concatenate((chunk, right.chunk[second])),
        np.concatenate((sub_chunk, right.sub_chunk[second])),
        np.concatenate((flags[first], np.full(len(second), RIGHT, np.int32))),
    )


def nowhere(count: int, why: Codes) -> Placed:
    """Places of a regular table's rows: none, in their order."""
    rows = np.flatnonzero(why == KEPT)
    return _main(rows, np.full(len(rows), -1, np.int32), np.full(len(rows), -1, np.int32))


def separation(left: Found, right: Found) -> Floats:
    """The angle between two positions each, degrees (haversine)."""
    ra1, dec1, ra2, dec2 = (np.radians(each) for each in (left.ra, left.dec, right.ra, right.dec))
    half = np.sin((dec2 - dec1) / 2) ** 2 + np.cos(dec1) * np.cos(dec2) * np.sin((ra2 - ra1) / 2) ** 2
    angle: Floats = np.degrees(2 * np.arcsin(np.sqrt(np.clip(half, 0.0, 1.0))))
    return angle


def by_chunk(chunk: Shorts) -> Ints:
    """The stable order of chunks; near ones as numbers of 16 bits, which NumPy sorts some times faster."""
    if len(chunk) and int(chunk.max()) - int(chunk.min()) < 1 << 16:
        return np.argsort((chunk - chunk.min()).astype(np.uint16), kind="stable")
    return np.argsort(chunk, kind="stable")


def _mark(why: Codes, mask: NDArray[np.bool_], code: int) -> None:
    why[mask & (why == KEPT)] = code


def _none() -> Places:
    return Places(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int32))


def _main(rows: Ints, chunk: Shorts, sub_chunk: Shorts, flags: Shorts | None = None) -> Placed:
    order = np.lexsort((rows, chunk))
    none = np.zeros(0, np.int32)
    main = Places(rows[order], chunk[order], sub_chunk[order], none if flags is None else flags[order])
    return Placed(main, _none(), np.zeros(0, np.int64))
