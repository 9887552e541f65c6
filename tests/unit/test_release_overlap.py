"""Overlap: every row that Qserv's own partitioner made of adversarial points, main and overlap, and no other."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from stream.errors import Wrong
from stream.overlap import Overlap
from stream.sky import Layout

EDGES = [(340, 3, 0.01667), (60, 18, 0.025), (85, 12, 0.01667), (85, 12, 0.0)]


@pytest.mark.parametrize(("stripes", "sub_stripes", "overlap"), EDGES)
def test_overlap_every_edge_point_gives_exactly_the_partitioners_rows(
    shared_data: Path, stripes: int, sub_stripes: int, overlap: float
) -> None:
    name = f"edge_s{stripes}_ss{sub_stripes}_ov{overlap:g}"
    folder = shared_data / "qserv" / "edge_layouts"
    with (folder / f"{name}_input.csv").open() as file:
        points = [(int(row["id"]), float(row["ra"]), float(row["dec"])) for row in csv.DictReader(file)]
    columns = ("id", "chunkId", "subChunkId", "overlap")
    with (folder / f"{name}_expected.csv").open() as file:
        expected = sorted(tuple(int(row[column]) for column in columns) for row in csv.DictReader(file))
    ids, ra, dec = np.array([each[0] for each in points]), *np.array([each[1:] for each in points]).T
    layout = Layout(stripes, sub_stripes, overlap)
    found = Overlap(layout).find(ra, dec)
    rows = [(*each, 0) for each in zip(ids.tolist(), *(part.tolist() for part in layout.locate(ra, dec)))]
    rows += [(*each, 1) for each in zip(ids[found.row].tolist(), found.chunk.tolist(), found.sub_chunk.tolist())]
    assert len(points) > 4000
    assert sorted(rows) == expected
    assert bool(found.row.size) is bool(overlap)


def test_overlap_is_in_order_of_the_positions() -> None:
    rng = np.random.default_rng(3)
    found = Overlap(Layout()).find(rng.uniform(0.0, 360.0, 10_000), rng.uniform(-90.0, 90.0, 10_000))
    assert (np.diff(found.row) >= 0).all() and found.row.size > 1000


def test_overlap_wider_than_a_sub_stripe_is_refused() -> None:
    with pytest.raises(Wrong) as refused:
        Overlap(Layout(340, 3, 0.2))
    assert refused.value.code == "bad_layout"


def test_overlap_of_no_position_is_none() -> None:
    assert Overlap(Layout()).find([], []).row.size == 0
