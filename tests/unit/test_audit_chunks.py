"""The audit's own chunks are those of Qserv's partitioner, and agree with what places the rows."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from stream.audit.chunks import Chunks
from stream.sky import Layout


@pytest.mark.parametrize(("stripes", "sub_stripes", "name"), [(340, 3, "0.01667"), (60, 18, "0.025"), (85, 12, "0")])
def test_every_edge_point_lands_where_the_partitioner_put_it(
    shared_data: Path, stripes: int, sub_stripes: int, name: str
) -> None:
    stem = shared_data / "qserv" / "edge_layouts" / f"edge_s{stripes}_ss{sub_stripes}_ov{name}"
    with stem.with_name(f"{stem.name}_input.csv").open() as file:
        points = {row["id"]: (float(row["ra"]), float(row["dec"])) for row in csv.DictReader(file)}
    with stem.with_name(f"{stem.name}_expected.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["overlap"] == "0"]
    assert len(rows) == len(points) > 4000
    ra, dec = np.array([points[row["id"]] for row in rows]).T
    expected = [(int(row["chunkId"]), int(row["subChunkId"])) for row in rows]
    assert Chunks(stripes, sub_stripes).locate(ra, dec) == expected


@pytest.mark.parametrize(("stripes", "sub_stripes"), [(340, 3), (85, 12), (1, 1), (2, 1), (18, 10)])
def test_any_point_lands_where_rows_are_placed(stripes: int, sub_stripes: int, rng: np.random.Generator) -> None:
    ra, dec = 360 * rng.random(5000), np.degrees(np.arcsin(2 * rng.random(5000) - 1))
    ra[:4], dec[:4] = [0, 0, 359.9999999, 0], [90, -90, 0, 0]
    placed = [each.tolist() for each in Layout(stripes, sub_stripes).locate(ra, dec)]
    assert Chunks(stripes, sub_stripes).locate(ra, dec) == list(zip(*placed, strict=True))
