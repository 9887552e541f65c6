"""Real packets become the Level-1 values that fastavro and astropy give for them by another way."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.time import Time, TimeDelta
from columns_by_hand import columns_of, container_packet, wire_packet

from stream.alert import Level1Column
from stream.survey import FLAG_BITS, TARGETS, load_survey

SAME_NAME = ("raErr", "decErr", "psfFlux", "psfFluxErr", "apFlux", "apFluxErr", "scienceFlux", "scienceFluxErr")
SAME_NAME += ("snr", "reliability", "extendedness")


def _values(column: Level1Column) -> list[Any]:
    return [None if null else value for value, null in zip(column.values.tolist(), column.null.tolist())]


def test_survey_real_lsst_packets_become_their_level1_rows(shared_data: Path) -> None:
    packets = [wire_packet(path) for path in sorted((shared_data / "lsst").glob("*.wire"))]
    survey = load_survey("lsst")
    columns, refused = survey.convert(*columns_of(packets, survey.paths), len(packets))
    assert refused == [] and len(packets) == 4
    assert list(columns) == ["night", *(target.name for target in TARGETS), "flags"]
    sources = [packet["diaSource"] for packet in packets]
    for name in (
        "diaSourceId",
        "visit",
        "detector",
        "band",
        "midpointMjdTai",
        "ra",
        "dec",
        "timeProcessedMjdTai",
        *SAME_NAME,
    ):
        assert _values(columns[name]) == [source[name] for source in sources], name
    for name in ("diaObjectId", "ssObjectId", "parentDiaSourceId"):
        assert _values(columns[name]) == [source[name] or None for source in sources], name
    assert columns["objectName"].null.all() and columns["ssObjectName"].null.all()
    days = Time([source["midpointMjdTai"] for source in sources], format="mjd", scale="tai") - TimeDelta(12 * u.hour)
    assert columns["night"].values.tolist() == [int(day[:10].replace("-", "")) for day in days.isot]
    assert [visit // 100000 for visit in columns["visit"].values.tolist()] == columns["night"].values.tolist()


def test_survey_real_lsst_flags_have_the_bits_of_their_fields(shared_data: Path) -> None:
    packets = [wire_packet(path) for path in sorted((shared_data / "lsst").glob("*.wire"))]
    survey = load_survey("lsst")
    columns, _refused = survey.convert(*columns_of(packets, survey.paths), len(packets))
    named = {
        "negative": "isNegative", "dipole": "isDipole", "centroid": "centroid_flag", "psfFlux": "psfFlux_flag",
        "apFlux": "apFlux_flag", "shape": "shape_flag", "forcedPsfFlux": "forced_PsfFlux_flag",
        "edge": "pixelFlags_edge",
        "saturated": "pixelFlags_saturated", "bad": "pixelFlags_bad", "cosmicRay": "pixelFlags_cr",
        "interpolated": "pixelFlags_interpolated", "suspect": "pixelFlags_suspect", "streak": "pixelFlags_streak",
        "noData": "pixelFlags_nodata", "injected": "pixelFlags_injected",
        "injectedTemplate": "pixelFlags_injected_template", "trail": "trail_flag_edge", "glintTrail": "glint_trail",
    }  # fmt: skip
    assert named.keys() == FLAG_BITS.keys()
    for bits, packet in zip(columns["flags"].values.tolist(), packets):
        assert {name for name, bit in FLAG_BITS.items() if bits >> bit & 1} == {
            name for name, field in named.items() if packet["diaSource"][field]
        }
    assert columns["flags"].values.any()


def test_survey_real_ztf_packets_become_their_level1_rows(shared_data: Path) -> None:
    packets = [container_packet(path) for path in sorted((shared_data / "ztf").glob("*.avro"))]
    survey = load_survey("ztf")
    columns, refused = survey.convert(*columns_of(packets, survey.paths), len(packets))
    assert refused == [] and len(packets) == 24
    candidates = [packet["candidate"] for packet in packets]
    assert _values(columns["diaSourceId"]) == [candidate["candid"] for candidate in candidates]
    assert _values(columns["objectName"]) == [packet["objectId"] for packet in packets]
    names = [candidate["ssnamenr"] for candidate in candidates]
    assert _values(columns["ssObjectName"]) == [None if name == "null" else name for name in names]
    assert None in _values(columns["ssObjectName"]) and len(set(_values(columns["ssObjectName"]))) > 3
    assert _values(columns["visit"]) == [int(str(candidate["pid"])[:-4]) for candidate in candidates]
    assert _values(columns["detector"]) == [int(str(candidate["pid"])[-4:-2]) for candidate in candidates]
    assert _values(columns["band"]) == [" gri"[candidate["fid"]] for candidate in candidates]
    assert _values(columns["snr"]) == [candidate["scorr"] for candidate in candidates]
    assert _values(columns["reliability"]) == [candidate["drb"] for candidate in candidates]
    assert all(columns[name].null.all() for name in ("diaObjectId", "raErr", "scienceFlux", "extendedness"))
    signs = [candidate["isdiffpos"] for candidate in candidates]
    assert columns["flags"].values.tolist() == [int(sign == "f") for sign in signs] and set(signs) == {"t", "f"}


def test_survey_real_ztf_times_are_the_middle_of_the_exposure_in_tai(shared_data: Path) -> None:
    candidates = [container_packet(path)["candidate"] for path in sorted((shared_data / "ztf").glob("*.avro"))]
    survey = load_survey("ztf")
    columns, _refused = survey.convert(
        *columns_of([{"candidate": c} for c in candidates], survey.paths), len(candidates)
    )
    starts = Time(2450000.5, [c["jd"] - 2450000.5 for c in candidates], format="jd", scale="utc")
    middles = starts.tai + TimeDelta([c["exptime"] / 2 for c in candidates] * u.s)
    np.testing.assert_allclose(columns["midpointMjdTai"].values, middles.mjd, rtol=0, atol=2e-11)
    nights = [int(day[:10].replace("-", "")) for day in (middles.utc - TimeDelta(20 * u.hour)).isot]
    assert columns["night"].values.tolist() == nights


@pytest.mark.parametrize(
    ("flux", "error", "magnitude", "sigma"),
    [("psfFlux", "psfFluxErr", "magpsf", "sigmapsf"), ("apFlux", "apFluxErr", "magap", "sigmagap")],
)
def test_survey_real_ztf_magnitudes_become_signed_fluxes(
    shared_data: Path, flux: str, error: str, magnitude: str, sigma: str
) -> None:
    candidates = [container_packet(path)["candidate"] for path in sorted((shared_data / "ztf").glob("*.avro"))]
    survey = load_survey("ztf")
    columns, _refused = survey.convert(
        *columns_of([{"candidate": c} for c in candidates], survey.paths), len(candidates)
    )
    for row, candidate in enumerate(candidates):
        expected = (candidate[magnitude] * u.ABmag).to_value(u.nJy) * (1 if candidate["isdiffpos"] == "t" else -1)
        # AB's zero point is 8.90 for 1 Jy by Level-1's formula, 48.60 in cgs by astropy's: 1e-4 apart at most.
        assert math.isclose(columns[flux].values[row], expected, rel_tol=2e-4)
        spread = abs(columns[flux].values[row]) * candidate[sigma] * math.log(10) / 2.5
        assert math.isclose(columns[error].values[row], spread, rel_tol=1e-12)
