"""Qserv's chunks and sub-chunks: equal to what its own partitioner gave, and to the known sizes of layouts."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from stream.errors import Wrong
from stream.sky import Layout, off_sky, reduce_ra

EDGES = [(340, 3, 0.01667), (60, 18, 0.025), (85, 12, 0.01667), (85, 12, 0.0)]


@pytest.mark.parametrize(("stripes", "sub_stripes", "overlap"), EDGES)
def test_sky_every_edge_point_lands_where_the_partitioner_put_it(
    shared_data: Path, stripes: int, sub_stripes: int, overlap: float
) -> None:
    name = f"edge_s{stripes}_ss{sub_stripes}_ov{overlap:g}"
    folder = shared_data / "qserv" / "edge_layouts"
    with (folder / f"{name}_input.csv").open() as file:
        points = {int(row["id"]): (float(row["ra"]), float(row["dec"])) for row in csv.DictReader(file)}
    with (folder / f"{name}_expected.csv").open() as file:
        expected = {
            int(row["id"]): (int(row["chunkId"]), int(row["subChunkId"]))
            for row in csv.DictReader(file)
            if row["overlap"] == "0"
        }
    assert points.keys() == expected.keys() and len(points) > 4000
    ra, dec = np.array(list(points.values())).T
    chunk, sub_chunk = Layout(stripes, sub_stripes, overlap).locate(ra, dec)
    wrong = [
        (source, found, expected[source])
        for source, found in zip(points, zip(chunk.tolist(), sub_chunk.tolist()))
        if found != expected[source]
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("stripes", "sub_stripes", "chunks", "sub_chunks"),
    [
        (340, 3, 146_332, 1_317_080),
        (85, 12, 8_983, None),
        (18, 10, 368, None),
        (60, 18, 4_432, None),
        (200, 5, 50_432, None),
    ],
)
def test_sky_layouts_have_their_known_numbers_of_chunks(
    stripes: int, sub_stripes: int, chunks: int, sub_chunks: int | None
) -> None:
    layout = Layout(stripes, sub_stripes)
    assert layout.chunk_count == chunks
    assert sub_chunks is None or layout.sub_chunk_count == sub_chunks


def test_sky_a_tiny_negative_ra_becomes_zero_not_360() -> None:
    reduced = reduce_ra([-1e-17, -0.0, 360.0, 720.0, -0.3, 360.5, math.nextafter(360.0, 0.0)])
    assert reduced.tolist() == [0.0, 0.0, 0.0, 0.0, 359.7, 0.5, math.nextafter(360.0, 0.0)]
    assert np.isnan(reduce_ra([math.nan, math.inf, -math.inf])).all()


@pytest.mark.parametrize("ra", [-0.3, -5e-324, 360.5, math.nextafter(360.0, 361.0)])
def test_sky_an_unreduced_ra_is_refused_and_not_misplaced(ra: float) -> None:
    with pytest.raises(Wrong) as refused:
        Layout().locate([ra], [10.0])
    assert refused.value.code == "bad_position"
    assert Layout().locate(reduce_ra([ra]), [10.0])[0].shape == (1,)


def test_sky_positions_that_are_none_are_marked_and_refused() -> None:
    ra = [0.0, math.nan, math.inf, 1.0, 1.0, 1.0, 1.0, 400.0]
    dec = [90.0, 0.0, 0.0, math.nextafter(90.0, 91.0), -91.0, math.nan, -math.inf, -90.0]
    assert off_sky(ra, dec).tolist() == [False, True, True, True, True, True, True, False]
    with pytest.raises(Wrong, match="off the sky") as refused:
        Layout().locate(reduce_ra(ra), dec)
    assert refused.value.code == "bad_position"


@pytest.mark.parametrize("arguments", [(0, 3, 0.0), (340, 0, 0.0), (340, 3, -1.0), (340, 3, math.nan)])
def test_sky_a_layout_that_cannot_be_is_refused(arguments: tuple[int, int, float]) -> None:
    with pytest.raises(Wrong) as refused:
        Layout(*arguments)
    assert refused.value.code == "bad_layout"


@pytest.mark.parametrize(("stripes", "sub_stripes"), [(100_000, 1000), (24_846, 1), (1, 648_001), (1, 60_000)])
def test_sky_a_layout_whose_ids_qserv_cannot_have_is_refused_at_once(stripes: int, sub_stripes: int) -> None:
    with pytest.raises(Wrong, match="tell apart") as refused:
        Layout(stripes, sub_stripes, 0.0)
    assert refused.value.code == "bad_layout"


def test_sky_the_finest_layouts_have_ids_of_32_bits() -> None:
    for layout in (Layout(24_845, 1, 0.0), Layout(1, 30_000, 0.0)):
        chunk, sub_chunk = layout.locate([0.0, 359.9999, 10.0], [-90.0, 0.0, 89.9999])
        assert chunk.min() >= 0 and chunk.max() < 1_234_567_890 and sub_chunk.min() >= 0
