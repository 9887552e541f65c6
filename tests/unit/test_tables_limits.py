"""Values that Level-1 cannot hold are found from the model, alert by alert."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream.alert import Level1Column
from stream.tables.limits import Limit, limits, refused


def column(values: Any, null: Any = None) -> Level1Column:
    made = np.array(values)
    return Level1Column(made, np.zeros(len(made), np.bool_) if null is None else np.array(null))


def words(*values: str) -> Level1Column:
    return column(np.array(values, dtype=object))


def codes(name: str, values: Level1Column) -> list[tuple[int, str]]:
    return [(one.row, one.code) for one in refused({name: values})]


def test_limits_are_those_of_the_model() -> None:
    known = limits()
    assert known["detector"] == Limit(False, -(2**15), 2**15 - 1)
    assert known["night"] == Limit(False, -(2**31), 2**31 - 1)
    assert known["flags"] == Limit(False, 0, 2**32 - 1)
    assert known["diaObjectId"] == Limit(True, -(2**63), 2**63 - 1)
    assert known["objectName"] == Limit(True, length=32)
    assert known["ra"] == Limit(False)


@pytest.mark.parametrize(
    ("name", "least", "most"), [("detector", -32768, 32767), ("night", -(2**31), 2**31 - 1), ("flags", 0, 2**32 - 1)]
)
def test_the_limits_themselves_are_taken_and_one_beyond_is_out_of_range(name: str, least: int, most: int) -> None:
    values = column(np.array([least - 1, least, most, most + 1], np.int64))
    assert codes(name, values) == [(0, "out_of_range"), (3, "out_of_range")]


def test_every_64_bit_id_is_taken() -> None:
    assert codes("diaSourceId", column(np.array([-(2**63), 2**63 - 1], np.int64))) == []


def test_length_counts_characters_not_bytes() -> None:
    assert codes("objectName", words("é" * 32, "é" * 33, "")) == [(1, "too_long")]


def test_text_that_is_not_unicode_is_bad() -> None:
    assert codes("band", words("r", "\ud800")) == [(1, "bad_text")]


def test_null_and_nan_are_missing_only_where_the_column_needs_a_value() -> None:
    values = column([1.0, np.nan, np.inf, 2.0], [False, False, False, True])
    assert codes("ra", values) == [(1, "missing_value"), (2, "missing_value"), (3, "missing_value")]
    assert codes("psfFlux", values) == []


def test_what_stands_under_a_null_is_not_judged() -> None:
    assert codes("diaObjectId", column(np.array([0], np.int64), [True])) == []
    assert codes("objectName", Level1Column(np.array([None, "x" * 99], object), np.array([True, True]))) == []


def test_an_alert_is_refused_once_and_rows_come_in_order() -> None:
    found = refused(
        {"detector": column(np.array([0, 99999, 99999])), "band": words("far too long", "r", "far too long")}
    )
    assert [one.row for one in found] == [0, 1, 2]
    assert "detector" in found[2].reason


def test_a_column_that_the_table_does_not_have_is_passed_over() -> None:
    assert refused({"nothing": column([np.nan])}) == []
