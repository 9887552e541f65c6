"""A survey is a file and no Python: an invented one works, and a wrong one says where it is wrong."""

from __future__ import annotations

import hashlib
import io
import math
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from columns_by_hand import columns_of

from stream.errors import Fatal, Wrong
from stream.survey import FLAG_BITS, TARGETS, load_survey
from stream.survey.vocabulary import ColumnRule, FlagRule, NightRule, PlusRule, SignRule, SurveyFile, TimeRule

INVENTED = """
name = "gotcha"
topics = ["gotcha.alerts"]
night_starts = { hours = 6.0, scale = "utc" }
valid_mjd = [60000.0, 62000.0]

[columns]
diaSourceId = { field = ["event.number", "event.nr"] }
diaObjectId = { field = "event.star", none = [-1, 0] }
objectName = { field = "event.star", text = true, none = [-1] }
visit = { field = "event.frame", div = 1000, offset = 7 }
detector = { field = "event.frame", mod = 1000 }
ra = { field = "event.hours", scale = 15 }
dec = { field = "event.height" , offset = -90.0 }
raErr = { field = "event.sigma", scale = 2.777777777777778e-04 }
psfFluxErr = { field = "event.magError", magnitude_error = "psfFlux" }
midpointMjdTai = { field = "event.microseconds", time = { format = "unix_us", scale = "utc" } }

[columns.band]
field = "event.filter"
map = { blue = "g", red = "r" }
else = { field = "event.filterNumber", map = { 3 = "i" } }

[columns.psfFlux]
field = "event.mag"
magnitude = "ab"
sign = { field = "event.rising", positive = [true], negative = [false] }

[flags]
negative = { field = "event.rising", values = [false] }
edge = ["event.nearEdge", "event.cut"]
"""

SCHEMA = {
    "type": "record",
    "name": "packet",
    "fields": [
        {
            "name": "event",
            "type": {
                "type": "record",
                "name": "event",
                "fields": [
                    {"name": "nr", "type": "long"},
                    {"name": "star", "type": ["null", "long"]},
                    {"name": "frame", "type": "long"},
                    {"name": "filter", "type": ["null", "string"]},
                    {"name": "filterNumber", "type": ["int", "null"]},
                    {"name": "hours", "type": "double"},
                    {"name": "height", "type": "double"},
                    {"name": "sigma", "type": ["float", "null"]},
                    {"name": "mag", "type": "double"},
                    {"name": "magError", "type": "double"},
                    {"name": "rising", "type": "boolean"},
                    {"name": "microseconds", "type": "long"},
                    {"name": "cut", "type": "boolean"},
                ],
            },
        }
    ],
}

EVENT: dict[str, Any] = {
    "nr": 42, "star": 99, "frame": 123456, "filter": "blue", "filterNumber": 3, "hours": 12.5, "height": 100.0,
    "sigma": 0.5, "mag": 20.0, "magError": 0.1, "rising": False, "microseconds": 1_700_000_000_000_000, "cut": True,
}  # fmt: skip


def _through_avro(event: dict[str, Any]) -> dict[str, Any]:
    raw = io.BytesIO()
    fastavro.schemaless_writer(raw, SCHEMA, {"event": event})
    raw.seek(0)
    record = fastavro.schemaless_reader(raw, SCHEMA, None)
    assert isinstance(record, dict)
    return record


@pytest.fixture
def invented(tmp_path: Path) -> Path:
    path = tmp_path / "gotcha.toml"
    path.write_text(INVENTED)
    return path


def test_survey_a_third_one_is_a_file_and_no_python(invented: Path) -> None:
    survey = load_survey(invented)
    packets = [
        _through_avro(EVENT),
        _through_avro({**EVENT, "star": None, "filter": None, "rising": True, "cut": False}),
    ]
    packets.append(_through_avro({**EVENT, "star": -1, "filter": "mauve", "filterNumber": None, "sigma": None}))
    columns, refused = survey.convert(*columns_of(packets, survey.paths), 3)
    assert refused == [] and survey.name == "gotcha" and survey.topics == ("gotcha.alerts",)
    rows = {
        name: [None if null else value for value, null in zip(column.values.tolist(), column.null.tolist())]
        for name, column in columns.items()
    }
    assert rows["diaSourceId"] == [42, 42, 42]
    assert rows["diaObjectId"] == [99, None, None]
    assert rows["objectName"] == ["99", None, None]
    assert rows["visit"] == [123, 123, 123]
    assert rows["detector"] == [456, 456, 456]
    assert rows["band"] == ["g", "i", None]
    assert rows["ra"] == [187.5] * 3 and rows["dec"] == [10.0] * 3
    assert rows["raErr"][2] is None and math.isclose(rows["raErr"][0], 0.5 / 3600, rel_tol=1e-12)
    assert np.allclose(rows["psfFlux"], np.array([-1, 1, -1]) * 10**4.56)
    assert np.allclose(rows["psfFluxErr"], 10**4.56 * 0.1 * math.log(10) / 2.5)
    # 2023-11-14T22:13:20 UTC, 37 s of leap seconds.
    assert np.allclose(rows["midpointMjdTai"], 60262 + (80000 + 37) / 86400, rtol=0, atol=1e-10)
    assert rows["night"] == [20231114] * 3
    assert rows["flags"] == [0b10000001, 0, 0b10000001]


def test_survey_its_paths_digest_and_text_are_the_files(invented: Path) -> None:
    survey = load_survey(str(invented))
    assert {"event.nr", "event.number", "event.filterNumber", "event.rising", "event.cut"} <= survey.paths
    assert all(path.startswith("event.") for path in survey.paths) and len(survey.paths) == 15
    assert survey.digest == hashlib.sha256(invented.read_bytes()).hexdigest() and survey.text == INVENTED


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("mod = 1000", "modulo = 1000", "columns.detector.modulo: there is no such key"),
        ("name = ", "nickname = 1\nname = ", "nickname: there is no such key"),
        ("else = { field", "else = { feild", "columns.band.else.feild"),
        ("hours = 6.0", "hours = 25.0", "night_starts.hours"),
        ('scale = "utc" }\nvalid', 'scale = "ut1" }\nvalid', "night_starts.scale"),
        ("[60000.0, 62000.0]", "[62000.0, 60000.0]", "valid_mjd"),
        ("[60000.0, 62000.0]", "[nan, 60000.0]", "valid_mjd"),
        ("raErr =", "raError =", "columns.raError: Level-1 has no such column"),
        ("edge =", "brink =", "flags.brink: there is no such bit"),
        ('dec = { field = "event.height" , offset = -90.0 }', "", "columns: dec must be there"),
        ("scale = 15", 'scale = "15"', "columns.ra.scale"),
        ("scale = 15", "div = 15", "columns.ra: div and mod feed integer columns only"),
        ("text = true, none = [-1]", "none = [-1]", "columns.objectName: a text column needs text or map"),
        ('magnitude_error = "psfFlux"', 'magnitude_error = "raErr"', "columns.psfFluxErr.magnitude_error"),
        ('magnitude = "ab"', "", "columns.psfFlux: magnitude and sign"),
        ("mod = 1000", "mod = 0", "columns.detector.mod"),
        ('3 = "i"', "3 = 3", "columns.band: map gives values that are not of a text column"),
        ("[columns]", "[columns", "line"),
        ("[columns]", "[[" * 2000, "wrong.toml"),
        ("scale = 15", "scale = 1" + "0" * 5000, "wrong.toml"),
        ("scale = 15", "scale = 9223372036854775808", "columns.ra.scale: a whole number has at most 64 bits"),
        ("scale = 15", "scale = nan", "columns.ra.scale: a number is finite"),
        ("mod = 1000", "mod = 9223372036854775808", "columns.detector.mod: a whole number has at most 64 bits"),
        ("none = [-1, 0]", "none = [-9223372036854775809]", "columns.diaObjectId.none.0: a whole number"),
        ("mod = 1000", "map = { 1 = 9223372036854775808 }", "columns.detector.map.1: a whole number"),
        ("mod = 1000", "mod = 1000, map = { 1 = 2 }", "columns.detector: map goes with none and else only"),
        ("scale = 15", "scale = 15, map = { 1 = 2 }", "columns.ra: map goes with none and else only"),
        ('map = { 3 = "i" }', 'map = { 3 = "i" }, text = true', "columns.band.else: text and map exclude one another"),
        ('"event.hours"', '""', "columns.ra.field"),
        ('"event.hours"', '"event..hours"', "columns.ra.field"),
        ('"event.hours"', '"event.hours."', "columns.ra.field"),
        ('"event.hours"', "[]", "columns.ra.field"),
        ('"event.cut"]', '"event.c t"]', "flags.edge"),
        ('["event.nearEdge", "event.cut"]', '{ field = "event.edge" }', "flags.edge.values: it must be there"),
        ('["event.nearEdge", "event.cut"]', '{ field = "a", values = "t" }', "flags.edge.values: a list is meant"),
        ('["event.nearEdge", "event.cut"]', "true", "flags.edge: a path is meant, or a list of paths"),
        ("none = [-1, 0]", "none = [1979-05-27]", "columns.diaObjectId.none.0: a number is meant, a text, true or"),
        ("scale = 15", 'scale = "15"', "columns.ra.scale: Input should be a valid number"),
        ("scale = 15", 'time = "jd"', "columns.ra.time: a table is meant"),
        (
            "scale = 2.777777777777778e-04",
            'else = { field = "a", magnitude_error = "ra" }',
            "columns.raErr.magnitude_error",
        ),
        (
            "negative = [false] }\n",
            'negative = [false] }\nelse = { field = "a", magnitude_error = "psfFlux" }\n',
            "columns.psfFluxErr.magnitude_error: psfFlux is not a column made from a magnitude",
        ),
    ],
)
def test_survey_a_wrong_file_is_refused_by_file_table_and_key(tmp_path: Path, old: str, new: str, named: str) -> None:
    path = tmp_path / "wrong.toml"
    assert INVENTED.count(old) >= 1
    path.write_text(INVENTED.replace(old, new, 1))
    with pytest.raises(Fatal) as refused:
        load_survey(path)
    assert refused.value.code == "bad_survey_file"
    assert "wrong.toml" in str(refused.value) and named in str(refused.value)


@pytest.mark.parametrize("name", ["nosuch", "", "/nowhere/at/all.toml"])
def test_survey_an_unknown_one_names_those_that_are_shipped(name: str) -> None:
    with pytest.raises(Wrong) as refused:
        load_survey(name)
    assert refused.value.code == "unknown_survey" and "lsst, ztf" in refused.value.advice


@pytest.mark.parametrize("name", ["lsst", "ztf"])
def test_survey_shipped_ones_are_found_by_name(name: str) -> None:
    assert load_survey(name).name == name


def test_survey_every_word_of_the_vocabulary_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "survey-files.md").read_text()
    tables = (SurveyFile, ColumnRule, TimeRule, PlusRule, SignRule, FlagRule, NightRule)
    keys = {field.alias or name for table in tables for name, field in table.model_fields.items()}
    assert {"else", "magnitude_error", "night_starts"} <= keys
    missing = {key for key in keys | set(FLAG_BITS) | {target.name for target in TARGETS} if f"`{key}`" not in page}
    assert missing == set()
