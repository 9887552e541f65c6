"""HEALPix cells and the ranges that cover cones and polygons."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.errors import Wrong
from stream.sky import cone_ranges, healpix29, polygon_ranges

SEED = 20260305


def _around(
    ra: float, dec: float, radius: float, count: int, seed: int, inner: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points spread evenly over a cone, or a ring of it, built from rotations, with no HEALPix in it."""
    draw = np.random.default_rng(seed)
    height = draw.uniform(np.cos(np.radians(radius)), np.cos(np.radians(inner)), count)
    turn, ring = draw.uniform(0.0, 2.0 * np.pi, count), np.sqrt(1.0 - height**2)
    x, y, z = ring * np.cos(turn), ring * np.sin(turn), height
    tilt = np.radians(90.0 - dec)
    x, z = x * np.cos(tilt) + z * np.sin(tilt), -x * np.sin(tilt) + z * np.cos(tilt)
    return np.degrees(np.arctan2(y, x)) + ra, np.degrees(np.arcsin(np.clip(z, -1.0, 1.0)))


def _inside(cells: NDArray[np.int64], ranges: NDArray[np.int64]) -> NDArray[np.bool_]:
    at = np.searchsorted(ranges[:, 0], cells, side="right") - 1
    return np.asarray((at >= 0) & (cells < ranges[np.maximum(at, 0), 1]))


def test_sky_cells_of_order_29_are_nested_in_the_base_cells() -> None:
    assert healpix29([45.0, 135.0, 225.0, 315.0], [41.0] * 4).tolist() == pytest.approx(
        [i * 4**29 + 4**29 // 2 for i in range(4)], abs=4**29 // 2
    )
    assert (healpix29([45.0, 135.0, 225.0, 315.0], [-41.0] * 4) // 4**29).tolist() == [8, 9, 10, 11]
    assert healpix29([0.0, 90.0, 180.0, 270.0], [0.0] * 4).dtype == np.int64
    assert healpix29([-1e-17], [12.0]).tolist() == healpix29([0.0], [12.0]).tolist()


@pytest.mark.parametrize(
    ("ra", "dec", "radius"),
    [
        (63.35, -47.18, 0.001),
        (0.0, 0.0, 0.5),
        (359.999, 89.99, 1.0),
        (12.0, -90.0, 3.5),
        (180.0, 41.81, 30.0),
        (10.0, 20.0, 1e-7),
        (269.946, 36.416, 170.0),
    ],
)
def test_sky_a_cones_ranges_hold_every_point_of_it(ra: float, dec: float, radius: float) -> None:
    ranges = cone_ranges(ra, dec, radius)
    points = _around(ra, dec, radius, 5000, SEED)
    assert _inside(healpix29(*points), ranges).all(), f"seed {SEED}"
    assert (ranges[:, 0] < ranges[:, 1]).all() and (ranges[1:, 0] > ranges[:-1, 1]).all()
    cells_in_cone = 12 * 4**29 * (1 - np.cos(np.radians(radius))) / 2
    assert (ranges[:, 1] - ranges[:, 0]).sum() < 4 * cells_in_cone + 4**4 * 64
    assert len(ranges) < 200


@pytest.mark.parametrize(
    ("ra", "dec", "radius"),
    [(45.0, -89.9, 0.1), (124.98573492574, -14.079292551856, 22.0), (0.0, 89.0, 1.0), (135.0, 41.81, 0.01)],
)
def test_sky_a_cones_ranges_hold_its_rim(ra: float, dec: float, radius: float) -> None:
    points = _around(ra, dec, radius * (1 - 1e-9), 100_000, SEED, inner=radius * 0.999)
    assert _inside(healpix29(*points), cone_ranges(ra, dec, radius)).all()


def test_sky_a_cone_of_180_degrees_is_the_whole_sky() -> None:
    assert cone_ranges(10.0, 10.0, 180.0).tolist() == [[0, 12 * 4**29]]


def test_sky_a_polygons_ranges_hold_its_points_and_not_its_surroundings() -> None:
    ranges = polygon_ranges([-0.5, 0.5, 0.5, -0.5], [-0.5, -0.5, 0.5, 0.5])
    draw = np.random.default_rng(SEED)
    ra, dec = draw.uniform(-0.499, 0.499, 4000), draw.uniform(-0.499, 0.499, 4000)
    assert _inside(healpix29(ra, dec), ranges).all(), f"seed {SEED}"
    assert not _inside(healpix29([1.0, 359.0, 0.0, 180.0], [0.0, 0.0, 1.0, 0.0]), ranges).any()


@pytest.mark.parametrize(
    ("ra", "dec"),
    [([0, 60, 60, 0], [0, 0, 1e-3, 1e-3]), ([0, 1, 1, 0], [0, 0, 1e-5, 1e-5]), ([0, 120, 240], [80, 80, 80])],
    ids=["long", "thin", "about the pole"],
)
def test_sky_a_polygon_has_no_more_ranges_the_thinner_it_is(ra: list[float], dec: list[float]) -> None:
    ranges = polygon_ranges(ra, dec)
    assert len(ranges) < 200
    inside = healpix29([0.5, 0.01], [2e-6, 1e-6]) if dec[0] == 0 else healpix29([10.0, 200.0], [89.0, 90.0])
    assert _inside(inside, ranges).all()


@pytest.mark.parametrize("cone", [(0.0, 91.0, 1.0), (np.nan, 0.0, 1.0), (0.0, 0.0, -1.0), (0.0, 0.0, np.nan)])
def test_sky_a_cone_that_cannot_be_is_refused(cone: tuple[float, float, float]) -> None:
    with pytest.raises(Wrong) as refused:
        cone_ranges(*cone)
    assert refused.value.code == "bad_cone"


def test_sky_a_polygon_of_two_points_is_refused() -> None:
    with pytest.raises(Wrong) as refused:
        polygon_ranges([0.0, 1.0], [0.0, 1.0])
    assert refused.value.code == "bad_polygon"


def test_sky_importing_the_module_does_not_import_astropy() -> None:
    code = "import sys, stream.sky; sys.exit('astropy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
