"""Overlap against boxes drawn by hand: a row goes to each sub-chunk whose box, grown by the overlap, holds it."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from stream.overlap import Overlap, reach
from stream.sky import Layout

LAYOUTS = [Layout(18, 10, 0.5), Layout(6, 2, 3.0), Layout(85, 12, 0.01667), Layout(340, 3, 0.01667)]
OVERLAPS = {layout: Overlap(layout) for layout in LAYOUTS}


def boxes(layout: Layout, ra: float, dec: float) -> tuple[set[tuple[int, int]], float]:
    """The sub-chunks around a position whose grown boxes hold it, and how near it is to an edge of one."""
    grid = layout.grid
    held, nearest = set(), math.inf
    own = math.floor((dec + 90.0) / grid.height)
    for line in range(max(own - 2, 0), min(own + 3, len(grid.width))):
        low, high = line * grid.height - 90.0, (line + 1) * grid.height - 90.0
        alpha = reach(layout.overlap, max(abs(low), abs(high)))
        width, cells = float(grid.width[line]), int(grid.cells_in[line])
        for cell in range(cells):
            away = abs((ra - (cell + 0.5) * width + 180.0) % 360.0 - 180.0) - width / 2
            beyond = max(low - dec, dec - high)
            nearest = min(nearest, abs(away - alpha), abs(beyond - layout.overlap), abs(away), abs(beyond))
            if away <= alpha and beyond <= layout.overlap:
                in_chunk = cell // int(grid.sub_chunks[line])
                chunk = line // layout.sub_stripes * 2 * layout.stripes + in_chunk
                place = line % layout.sub_stripes * int(grid.sub_chunks.max())
                held.add((chunk, place + cell - in_chunk * int(grid.sub_chunks[line])))
    return held, nearest


@given(layout=st.sampled_from(LAYOUTS), ra=st.floats(0.0, 359.999), dec=st.floats(-89.9, 89.9))
def test_a_position_is_in_the_overlap_of_the_sub_chunks_whose_grown_boxes_hold_it(
    layout: Layout, ra: float, dec: float
) -> None:
    held, nearest = boxes(layout, ra, dec)
    if nearest < 1e-9:
        return
    own = tuple(int(each[0]) for each in layout.locate([ra], [dec]))
    found = OVERLAPS[layout].find([ra], [dec])
    neighbours = list(zip(found.chunk.tolist(), found.sub_chunk.tolist()))
    assert len(set(neighbours)) == len(neighbours)
    assert own not in neighbours
    assert {*neighbours, own} == held
