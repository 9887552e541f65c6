"""Every schema version from 7.0 on feeds Level-1 through the same file; older spellings and units are followed."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
import yaml
from astropy.time import Time
from columns_by_hand import columns_of
from lsst.alert.packet import Schema, get_schema_path

from stream.alert import Column
from stream.survey import FLAG_BITS, TARGETS, load_survey

ROOT = Path(get_schema_path(7, 0)).parents[1]
VERSIONS = sorted(
    (int(path.parent.name), int(path.name))
    for path in ROOT.glob("*/*")
    if path.name.isdigit() and int(path.parent.name) >= 7
)


def _sample(major: int, minor: int) -> dict[str, Any]:
    """A packet of the version, every nullable primitive of its diaSource filled, through fastavro and back."""
    schema = Schema.from_file(f"{ROOT}/{major}/{minor}/lsst.v{major}_{minor}.alert.avsc").definition
    (field,) = (field for field in schema["fields"] if field["name"] == "diaSource")
    fill = {"long": 7, "int": 8, "float": 0.5, "double": 1.5, "boolean": True, "string": "r"}
    source = {}
    for part in field["type"]["fields"]:
        kinds = part["type"] if isinstance(part["type"], list) else [part["type"]]
        kind = kinds[-1] if kinds[-1] != "null" else kinds[0]
        source[part["name"]] = 1_772_000_000_000_000 if isinstance(kind, dict) else fill[kind]
    source["midpointMjdTai"] = 61105.25
    if "timeProcessedMjdTai" in source:
        source["timeProcessedMjdTai"] = 61105.5
    record = {schema["fields"][0]["name"]: 1, "diaSource": source}
    raw = io.BytesIO()
    plain = _without_logical_types(schema)
    fastavro.schemaless_writer(raw, plain, record)
    raw.seek(0)
    decoded = fastavro.schemaless_reader(raw, plain, None)
    assert isinstance(decoded, dict)
    return decoded


def _without_logical_types(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _without_logical_types(value) for key, value in schema.items() if key != "logicalType"}
    return [_without_logical_types(part) for part in schema] if isinstance(schema, list) else schema


def test_survey_versions_to_test_are_all_that_there_are() -> None:
    assert VERSIONS[0] == (7, 0) and VERSIONS[-1] == (11, 1) and len(VERSIONS) >= 10


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: f"{version[0]}.{version[1]}")
def test_survey_every_version_fills_every_column_that_it_has(version: tuple[int, int]) -> None:
    packet, survey = _sample(*version), load_survey("lsst")
    columns, refused = survey.convert(*columns_of([packet, packet], survey.paths), 2)
    assert refused == []
    nulls = {target.name for target in TARGETS if columns[target.name].null.any()}
    since_8 = {"scienceFlux", "scienceFluxErr", "timeProcessedMjdTai"}
    assert nulls == {"objectName", "ssObjectName"} | (since_8 if version < (8, 0) else set())
    bits = {name for name, bit in FLAG_BITS.items() if columns["flags"].values[0] >> bit & 1}
    absent = set(FLAG_BITS) - bits
    assert absent == _bits_absent(version)
    if version == (8, 0):
        expected = Time(1_772_000_000, format="unix", scale="utc").tai.mjd
        np.testing.assert_allclose(columns["timeProcessedMjdTai"].values, expected, rtol=0, atol=1e-10)
    elif version > (8, 0):
        assert columns["timeProcessedMjdTai"].values.tolist() == [61105.5, 61105.5]


def _bits_absent(version: tuple[int, int]) -> set[str]:
    if version >= (8, 0):
        return set()
    before = {"dipole", "glintTrail"}
    return before | ({"negative"} if version < (7, 3) else set()) | ({"noData"} if version < (7, 4) else set())


def test_survey_targets_are_the_columns_of_the_level1_table() -> None:
    model = yaml.safe_load((Path(__file__).parents[2] / "schemas" / "level1.yaml").read_text())
    (table,) = (table for table in model["tables"] if table["name"] == "level1")
    names = [column["name"] for column in table["columns"]]
    between = table["columns"][names.index("night") : names.index("flags") + 1]
    assert [column["name"] for column in between] == ["night", *(target.name for target in TARGETS), "flags"]
    kinds = {"short": "int", "int": "int", "long": "int", "double": "float", "string": "text"}
    for target, column in zip(TARGETS, between[1:-1]):
        assert (target.kind, target.required) == (kinds[column["datatype"]], column.get("nullable") is False), (
            target.name
        )
    described = between[-1]["description"]
    assert {name: int(bit) for bit, name in re.findall(r"(\d+) (\w+)", described)} == FLAG_BITS


def test_survey_an_absent_optional_field_is_null_and_an_enum_gives_its_symbol() -> None:
    survey = load_survey("lsst")
    columns, buffer = columns_of([_sample(11, 1)], survey.paths)
    del columns["diaSource.snr"]
    columns["diaSource.band"] = Column("int", np.array([2]), np.array([False]), ("u", "g", "r"))
    converted, refused = survey.convert(columns, buffer, 1)
    assert refused == [] and converted["snr"].null.tolist() == [True]
    assert converted["band"].values.tolist() == ["r"]
