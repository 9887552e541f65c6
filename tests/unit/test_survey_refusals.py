"""One bad value refuses its own row with a stable code; the rows beside it keep their values."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from columns_by_hand import columns_of

from stream.alert import Column
from stream.survey import load_survey

GOOD: dict[str, Any] = {
    "objectId": "ZTF20aaelulu",
    "candidate": {
        "candid": 1105522281015015000, "jd": 2458860.0222801, "exptime": 30.0, "pid": 1105522281015, "fid": 2,
        "ra": 185.7288484, "dec": 15.8236168, "magpsf": 14.9, "sigmapsf": 0.03, "magap": 15.0, "sigmagap": 0.01,
        "isdiffpos": "t", "ssnamenr": "null", "scorr": 35.9, "rb": 0.8, "drb": 0.9,
    },
}  # fmt: skip


def _packet(**changes: Any) -> dict[str, Any]:
    top = {key: value for key, value in changes.items() if key in GOOD}
    return {**GOOD, **top, "candidate": {**GOOD["candidate"], **{k: v for k, v in changes.items() if k not in GOOD}}}


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("bad_time", {"jd": math.nan}),
        ("bad_time", {"jd": math.inf}),
        ("bad_time", {"jd": 1e300}),
        ("bad_time", {"jd": -1.0}),
        ("bad_time", {"jd": None}),
        ("bad_time", {"exptime": 1e12}),
        ("bad_position", {"ra": math.nan}),
        ("bad_position", {"dec": 90.0000001}),
        ("bad_position", {"dec": None}),
        ("bad_position", {"ra": math.inf}),
        ("missing_value", {"candid": None}),
        ("missing_value", {"pid": None}),
    ],
)
def test_survey_a_bad_value_refuses_its_row_alone(code: str, change: dict[str, Any]) -> None:
    survey = load_survey("ztf")
    packets = [_packet(), _packet(**change), _packet()]
    columns, refused = survey.convert(*columns_of(packets, survey.paths), 3)
    assert [(refusal.row, refusal.code) for refusal in refused] == [(1, code)]
    alone, _ = survey.convert(*columns_of([_packet()], survey.paths), 1)
    for name, column in columns.items():
        assert column.values[[0, 2]].tolist() == alone[name].values.tolist() * 2, name
        assert column.null[[0, 2]].tolist() == alone[name].null.tolist() * 2, name


def test_survey_what_may_be_missing_becomes_null_and_refuses_nothing() -> None:
    survey = load_survey("ztf")
    packets = [
        _packet(drb=None, magap=None, exptime=None),
        _packet(drb=math.nan, rb=None, magap=-9999.0, scorr=math.inf, fid=9, isdiffpos="?"),
    ]
    columns, refused = survey.convert(*columns_of(packets, survey.paths), 2)
    assert refused == []
    assert columns["reliability"].null.tolist() == [False, True]
    assert columns["reliability"].values.tolist() == [0.8, 0.0]
    for name, null in {
        "apFlux": [True, True], "apFluxErr": [True, True], "psfFlux": [False, True], "psfFluxErr": [False, True],
        "snr": [False, True], "band": [False, True], "ssObjectName": [True, True], "objectName": [False, False],
    }.items():  # fmt: skip
        assert columns[name].null.tolist() == null, name
    assert all(np.isfinite(column.values).all() for column in columns.values() if column.values.dtype == np.float64)
    assert columns["midpointMjdTai"].values[0] == columns["midpointMjdTai"].values[1]


@pytest.mark.parametrize(("sign", "flux", "flags"), [("t", 1, 0), ("1", 1, 0), ("f", -1, 1), ("0", -1, 1)])
def test_survey_the_sign_of_a_flux_follows_its_field(sign: str, flux: int, flags: int) -> None:
    survey = load_survey("ztf")
    columns, _refused = survey.convert(*columns_of([_packet(isdiffpos=sign)], survey.paths), 1)
    assert np.sign(columns["psfFlux"].values).tolist() == [flux] == np.sign(columns["apFlux"].values).tolist()
    assert columns["psfFluxErr"].values[0] > 0
    assert columns["flags"].values.tolist() == [flags]


def test_survey_a_position_is_reduced_to_the_circle() -> None:
    survey = load_survey("ztf")
    columns, refused = survey.convert(*columns_of([_packet(ra=ra) for ra in (-1e-17, 360.0, -0.5)], survey.paths), 3)
    assert refused == [] and columns["ra"].values.tolist() == [0.0, 0.0, 359.5]


def test_survey_text_that_is_not_utf8_refuses_its_row() -> None:
    survey = load_survey("ztf")
    columns, buffer = columns_of([_packet(), _packet()], survey.paths)
    spans = columns["objectId"].values.copy()
    spans[1] = 0, 2
    columns["objectId"] = Column("text", spans, columns["objectId"].null)
    converted, refused = survey.convert(columns, buffer, 2)
    assert [(refusal.row, refusal.code) for refusal in refused] == [(1, "bad_utf8")]
    assert converted["objectName"].values[0] == "ZTF20aaelulu"


def test_survey_a_field_that_turned_into_text_refuses_its_rows() -> None:
    survey = load_survey("ztf")
    packets = [_packet(ra="12:00:00"), _packet(ra="12:00:01")]
    _columns, refused = survey.convert(*columns_of(packets, survey.paths), 2)
    assert [(refusal.row, refusal.code) for refusal in refused] == [(0, "wrong_type"), (1, "wrong_type")]


def test_survey_a_schema_without_a_required_field_refuses_all_rows() -> None:
    survey = load_survey("ztf")
    columns, buffer = columns_of([_packet(), _packet()], survey.paths)
    del columns["candidate.pid"]
    _converted, refused = survey.convert(columns, buffer, 2)
    assert [refusal.code for refusal in refused] == ["missing_value", "missing_value"]


def test_survey_an_empty_batch_has_empty_columns() -> None:
    survey = load_survey("ztf")
    columns, refused = survey.convert({}, b"", 0)
    assert refused == [] and all(len(column.values) == 0 == len(column.null) for column in columns.values())


def test_survey_nights_turn_over_when_the_survey_says() -> None:
    first, second = load_survey("lsst"), load_survey("ztf")
    assert first.night_of([61105.499999, 61105.5]).tolist() == [20260305, 20260306]
    tai_minus_utc = 37.0 / 86400.0
    turn = 60229.0 + 20.0 / 24.0 + tai_minus_utc
    assert second.night_of([turn - 1e-9, turn + 1e-9]).tolist() == [20231011, 20231012]
    assert first.night_of(51604.5 + 0.1).tolist() == [20000301]


OFFLINE = """
import socket
import numpy as np
from astropy.time import Time
from astropy.utils import iers

def asked(*_args, **_named):
    raise SystemExit("the network was asked")

iers.LeapSeconds._today = staticmethod(lambda: Time("2100-01-01", scale="tai"))
socket.getaddrinfo = asked
from stream.cli.moments import mjd_tai
from stream.survey.times import utc_to_tai
"""


@pytest.mark.parametrize("told", ["utc_to_tai(np.array([61000.0]))[0]", "mjd_tai('2025-11-21', 0.0)"])
def test_survey_leap_seconds_are_those_of_the_installed_astropy_however_old_it_is(told: str) -> None:
    script = f"{OFFLINE}print(({told} - 61000.0) * 86400.0)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert float(done.stdout) == pytest.approx(37.0, abs=1e-4)
