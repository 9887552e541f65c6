"""Every step of the vocabulary against every kind of column that a writer's schema can bring: nothing raises, and what
becomes of an alert does not depend on the alerts beside it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from stream.alert import Column, Columns
from stream.survey import FLAG_BITS, Survey
from stream.survey.file import parse_survey

GOOD_TEXT, BAD_TEXT = (0, 2), (2, 4)
BUFFER = b"ok\xff\xfe7"
N = 6
NULL = np.array([False, False, True, False, False, False])


def _column(kind: Any, values: Any, symbols: tuple[str, ...] = ()) -> Column:
    made = np.array(values, dtype=np.float64 if kind == "float" else np.int64)
    made[NULL] = 0
    return Column(kind, made, NULL, symbols)


COLUMNS: dict[str, Column | None] = {
    "float": _column("float", [0.5, np.nan, 0, np.inf, -1e300, 60100.5]),
    "int": _column("int", [0, 1, 0, 2**63 - 1, -(2**63), 60100]),
    "enum": _column("int", [0, 1, 0, 1, 0, 1], ("ok", "t")),
    "enum without symbols": Column("int", np.zeros(N, np.int64), np.ones(N, np.bool_)),
    "text": _column("text", [GOOD_TEXT, BAD_TEXT, (0, 0), (4, 5), (0, 0), GOOD_TEXT]),
    "absent": None,
}

PARTS: dict[str, Any] = {
    "text": "text = true",
    "map": "map = { 0 = 1, ok = 2, 1e999 = 3, 7 = -9223372036854775808 }",
    "scale": "scale = 9223372036854775807",
    "scale by a fraction": "scale = 1e300",
    "offset": "offset = -9223372036854775808",
    "div": "div = 9223372036854775807",
    "mod": "mod = 7",
    **{
        f"time {f} {s}": f'time = {{ format = "{f}", scale = "{s}" }}'
        for f in ("mjd", "jd", "unix_us")
        for s in ("tai", "utc")
    },
    "plus": 'plus = { field = "second", factor = 2.0 }',
    "plus with a default": 'plus = { field = "second", default = 30 }',
    "time and plus": 'time = { format = "mjd", scale = "utc" }, plus = { field = "second" }',
    "magnitude": 'magnitude = "ab", sign = { field = "second", positive = ["ok", 1], negative = ["t", 0, true] }',
    "magnitude_error": 'magnitude_error = "psfFlux"',
}
"""What a rule says besides its field."""

KINDS = {"ssObjectId": "int", "visit": "int", "ssObjectName": "text", "timeProcessedMjdTai": "float", "snr": "float"}
"""Columns to feed, of which one is required."""


def _survey(target: str, part: str, flags: str = "") -> Survey:
    columns = {
        "diaSourceId": 'field = "id"',
        "visit": 'field = "id"',
        "detector": 'field = "id"',
        "midpointMjdTai": 'field = "mjd"',
        "ra": 'field = "ra"',
        "dec": 'field = "ra"',
        "psfFlux": 'field = "first", magnitude = "ab", sign = { field = "second", positive = ["ok"], negative = [0] }',
    }
    columns[target] = f'field = "first", none = ["t", 0.5], {part}, else = {{ field = "second", {part} }}'
    lines = "\n".join(f"{name} = {{ {rule} }}" for name, rule in columns.items())
    head = 'name = "any"\nnight_starts = { hours = 12.0, scale = "utc" }\nvalid_mjd = [51544.0, 88069.0]\n'
    return parse_survey(f"{head}[columns]\n{lines}\n[flags]\n{flags}", "any.toml")


def _sound(n: int) -> dict[str, Column]:
    there = np.zeros(n, np.bool_)
    return {
        "id": Column("int", np.arange(1, n + 1), there),
        "mjd": Column("float", np.full(n, 60100.5), there),
        "ra": Column("float", np.full(n, 10.0), there),
    }


def _fits(target: str, part: str) -> bool:
    kind = KINDS[target]
    if part in ("text", "map"):
        return kind == ("text" if part == "text" else "int")
    if part in ("div", "mod"):
        return kind == "int"
    if part in ("scale", "scale by a fraction", "offset"):
        return kind != "text"
    return kind == "float"


CASES = [(target, part) for target, part in itertools.product(KINDS, PARTS) if _fits(target, part)]
FLAGS = ("", 'edge = ["first", "second"]\nbad = { field = "second", values = ["ok", 1, true] }')


def _row(columns: Columns, row: int) -> Columns:
    return {path: Column(c.kind, c.values[[row]], c.null[[row]], c.symbols) for path, c in columns.items()}


@pytest.mark.parametrize(("target", "part"), CASES)
def test_survey_no_kind_of_column_makes_a_step_raise_or_touches_the_alerts_beside(target: str, part: str) -> None:
    surveys = [_survey(target, PARTS[part], flags) for flags in FLAGS]
    for survey, first, second in itertools.product(surveys, COLUMNS.values(), COLUMNS.values()):
        given = {"first": first, "second": second}
        columns = _sound(N) | {path: column for path, column in given.items() if column is not None}
        made, refused = survey.convert(columns, BUFFER, N)
        codes = {refusal.row: refusal.code for refusal in refused}
        assert set(codes.values()) <= {"missing_value", "bad_time", "bad_utf8", "wrong_type"}
        for row in range(N):
            alone, its = survey.convert(_row(columns, row), BUFFER, 1)
            assert [refusal.code for refusal in its] == ([codes[row]] if row in codes else [])
            for name, column in made.items() if row not in codes else ():
                assert alone[name].null[0] == column.null[row], name
                assert column.null[row] or alone[name].values[0] == column.values[row], name


def test_survey_a_second_field_that_turned_into_text_refuses_its_rows_but_not_where_it_is_null() -> None:
    survey = _survey("snr", PARTS["plus with a default"])
    first = Column("int", np.array([5, 6]), np.zeros(2, np.bool_))
    second = Column("text", np.array([GOOD_TEXT, (0, 0)]), np.array([False, True]))
    made, refused = survey.convert(_sound(2) | {"first": first, "second": second}, BUFFER, 2)
    assert [(refusal.row, refusal.code) for refusal in refused] == [(0, "wrong_type")]
    assert made["snr"].values[1] == 36.0


def test_survey_every_row_of_the_same_bad_text_is_refused() -> None:
    survey = _survey("ssObjectName", PARTS["text"])
    second = Column("text", np.array([BAD_TEXT, GOOD_TEXT, BAD_TEXT]), np.zeros(3, np.bool_))
    _, refused = survey.convert(_sound(3) | {"second": second}, BUFFER, 3)
    assert [(refusal.row, refusal.code) for refusal in refused] == [(0, "bad_utf8"), (2, "bad_utf8")]


def test_survey_a_whole_number_stays_exact_beside_one_that_comes_from_a_floating_field() -> None:
    survey = _survey("ssObjectId", "offset = 1")
    first = Column("int", np.array([2**53, 0, 2**63 - 1]), np.array([False, True, False]))
    second = Column("float", np.array([0.0, 7.0, 8.0]), np.zeros(3, np.bool_))
    made, refused = survey.convert(_sound(3) | {"first": first, "second": second}, BUFFER, 3)
    assert refused == []
    assert made["ssObjectId"].values.tolist() == [2**53 + 1, 8, 9], "what goes beyond 64 bits is null, not wrapped"


def test_survey_a_value_with_a_point_is_found_in_a_field_of_32_bits() -> None:
    text = _survey("snr", "offset = 0.0", 'bad = { field = "first", values = [-999.9] }').text
    survey = parse_survey(text.replace('none = ["t", 0.5]', "none = [-999.9, -3.4028235e38, 1e300, 1e-50]"), "any.toml")
    values = np.array([-999.9, -3.4028235e38, 0.1, 0.0], np.float32).astype(np.float64)
    made, _ = survey.convert(_sound(4) | {"first": Column("float", values, np.zeros(4, np.bool_))}, BUFFER, 4)
    assert made["snr"].null.tolist() == [True, True, False, False]
    assert made["flags"].values.tolist() == [1 << FLAG_BITS["bad"], 0, 0, 0]


def test_survey_a_map_takes_booleans_by_name_and_whole_numbers_exactly() -> None:
    part = f"map = {{ true = 1, false = 2, {2**53 + 1} = 3, 1e3 = 4, {10**30} = 5, {'9' * 5000} = 6 }}"
    survey = _survey("ssObjectId", part)
    first = Column("int", np.array([1, 0, 2**53, 2**53 + 1, 1000, 2**63 - 1]), np.zeros(6, np.bool_))
    made, _ = survey.convert(_sound(6) | {"first": first}, BUFFER, 6)
    assert np.where(made["ssObjectId"].null, 0, made["ssObjectId"].values).tolist() == [1, 2, 0, 3, 4, 0]
