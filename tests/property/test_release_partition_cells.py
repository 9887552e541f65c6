"""Compiled code finds the same cells and neighbours as NumPy does, to the last bit of every border."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.release.partition.cells import Sky, find
from consumers.release.partition.reasons import FIELDS, INFINITE, KEPT, NAN, OFF_SKY
from stream.overlap import Overlap
from stream.sky import Floats, Layout, reduce_ra

LAYOUTS = (
    Layout(),
    Layout(85, 12, 0.01667),
    Layout(9, 1, 0.5),
    Layout(1, 1, 10.0),
    Layout(18, 10, 0.0),
    Layout(60, 6, 0.25),
)
SKIES = {layout: Sky.of(layout, Overlap(layout)) for layout in LAYOUTS}


def hold(layout: Layout, ra: Floats, dec: Floats) -> None:
    """Hold what is found against what `Layout.locate` and `Overlap.find` say."""
    longitude = reduce_ra(ra)
    chunk, sub_chunk = layout.locate(longitude, dec)
    near = Overlap(layout).find(longitude, dec)
    found = find(SKIES[layout], ra, dec, np.zeros(len(ra), np.int8))
    for mine, theirs in zip(
        (found.row, found.chunk, found.sub_chunk, *found.near), (np.arange(len(ra)), chunk, sub_chunk, *near)
    ):
        assert mine.dtype == theirs.dtype
        assert np.array_equal(mine, theirs)


def around(values: Floats) -> Floats:
    """Each value and the nearest numbers below and above it."""
    return np.concatenate((np.nextafter(values, -np.inf), values, np.nextafter(values, np.inf)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_cells_at_every_border_are_those_of_numpy(layout: Layout, rng: np.random.Generator) -> None:
    low, high, reach = Overlap(layout).edges
    over = layout.overlap
    borders = np.clip(around(np.concatenate((low, high, low + over, high - over, (low + high) / 2))), -90.0, 90.0)
    for dec in rng.permutation(borders)[:400]:
        line = min(int((dec + 90.0) / layout.grid.height), len(low) - 1)
        for near in range(max(0, line - 1), min(len(low), line + 2)):
            nth = rng.integers(0, int(layout.grid.cells_in[near]) + 1, 20) * layout.grid.width[near]
            ra = around(np.concatenate((nth, nth - reach[near], nth + reach[near], [0.0, 360.0, -0.0, -1e-300])))
            hold(layout, ra, np.full(len(ra), dec))


@settings(deadline=None)
@given(
    st.sampled_from(LAYOUTS),
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-90.0, 90.0)), min_size=1, max_size=30),
)
def test_cells_of_any_positions_are_those_of_numpy(layout: Layout, positions: list[tuple[float, float]]) -> None:
    ra, dec = np.array(positions).T.copy()
    hold(layout, ra, dec)


def test_cells_of_no_position_are_none_and_the_row_is_marked_with_the_first_reason() -> None:
    nan, inf = np.nan, np.inf
    told = [(1.0, 2.0), (nan, inf), (inf, 0.0), (1.0, -inf), (1.0, 90.1), (1.0, 90.0), (3.0, 4.0)]
    ra, dec = np.array(told).T.copy()
    why = np.array([KEPT] * 6 + [FIELDS], np.int8)
    found = find(SKIES[LAYOUTS[0]], ra, dec, why)
    assert why.tolist() == [KEPT, NAN, INFINITE, INFINITE, OFF_SKY, KEPT, FIELDS]
    assert found.row.tolist() == [0, 5]
    assert set(found.near.row.tolist()) <= {0, 1}


def test_cells_without_an_overlap_have_no_neighbours() -> None:
    ra, dec = np.zeros(3), np.array([-90.0, 0.0, 90.0])
    assert not len(find(Sky.of(Layout(), None), ra, dec, np.zeros(3, np.int8)).near.row)
