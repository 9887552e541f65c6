"""Values as fields of a line: each reads back as it was, by the rules of LOAD DATA, and what is none is NULL."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from doubles.load_data import fields_of
from hypothesis import example, given
from hypothesis import strategies as st

from consumers.release.partition.writing import Places, Scratch, write_rows


def texts(values: list[Any], kind: pa.DataType, delimiter: str = ",") -> list[bytes | None]:
    """Values of a column as the fields of lines, None for NULL; the column is given twice and a slice."""
    array = pa.array([values[0], *values], kind)[1:]
    batch = pa.RecordBatch.from_arrays([array, array], names=["a", "b"])
    count = len(values)
    places = Places(np.arange(count), np.full(count, 7, np.int32), np.full(count, 11, np.int32))
    lines = write_rows(batch, places, delimiter, Scratch())
    found = fields_of(lines.data.tobytes(), delimiter)
    assert len(found) == count and all(len(each) == 4 for each in found)
    assert all(each[0] == each[1] and each[2:] == [b"7", b"11"] for each in found)
    return [each[0] for each in found]


def digits(text: str) -> int:
    """How many digits a decimal number has, without zeros at its ends."""
    return len(text.lstrip("-").partition("e")[0].replace(".", "").strip("0"))


@given(st.lists(st.floats(), min_size=1, max_size=40))
@example([0.0, -0.0, 5e-324, 1.7976931348623157e308, 2.2250738585072014e-308, 1e23, 9007199254740993.0, 0.1, 1e-5])
@example([math.nan, math.inf, -math.inf])
def test_a_double_reads_back_as_its_bits_and_no_shorter_text_would(values: list[float]) -> None:
    for value, text in zip(values, texts(values, pa.float64())):
        if not math.isfinite(value):
            assert text is None
            continue
        assert text is not None
        assert struct.pack("<d", float(text)) == struct.pack("<d", value)
        assert digits(text.decode()) <= digits(repr(value))


def test_doubles_of_all_sizes_read_back_as_their_bits(rng: np.random.Generator) -> None:
    bits = rng.integers(0, 2**64, 20_000, dtype=np.uint64)
    values = np.concatenate((bits.view(np.float64), 2.0 ** np.arange(-1074, 1024), rng.normal(size=10_000)))
    values = values[np.isfinite(values)]
    read = np.array(texts(values.tolist(), pa.float64())).astype(np.float64)
    assert (read.view(np.uint64) == values.view(np.uint64)).all()


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_a_float_has_the_digits_that_tell_it_from_other_floats_and_no_more(values: list[float]) -> None:
    for value, text in zip(values, texts(values, pa.float32())):
        assert text is not None
        assert np.float32(text) == np.float32(value)
        shortest = np.format_float_scientific(np.float32(value), unique=True)
        assert digits(text.decode()) <= digits(shortest)


def test_no_text_of_a_float_is_above_what_a_float_holds() -> None:
    """MySQL reads it as a double, and refuses one that is larger than the largest FLOAT."""
    largest = float(np.finfo(np.float32).max)
    for text in texts([largest, -largest, float(np.nextafter(np.float32(largest), np.float32(0)))], pa.float32()):
        assert text is not None
        assert abs(float(text)) <= largest
    assert [np.float32(text) for text in texts([largest, -largest], pa.float32())] == [largest, -largest]


@pytest.mark.parametrize("kind", [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)])
def test_integers_of_each_width_are_written_as_they_are(kind: str) -> None:
    limits = np.iinfo(kind)
    values = sorted(
        {int(limits.min), int(limits.max), 0, 1, 9, 10, 99, 100, int(limits.max) // 3, -int(limits.max) // 7}
    )
    values = [value for value in values if limits.min <= value <= limits.max]
    found = texts([*values, None], pa.from_numpy_dtype(np.dtype(kind)))
    assert found == [*(str(value).encode() for value in values), None]


def test_booleans_are_1_and_0() -> None:
    values = [True, False, None, *[True, False, False] * 5]
    assert texts(values, pa.bool_()) == [None if value is None else str(int(value)).encode() for value in values]


@given(st.lists(st.none() | st.binary(max_size=20), min_size=1, max_size=20), st.sampled_from([",", "\t"]))
@example([b"\\N", b"", b"N", b"\\", b",", b"\t", b"\n", b"\r\n", b"\0", b"NULL", b"a\\"], ",")
def test_a_text_reads_back_byte_for_byte_and_is_never_null(values: list[bytes | None], delimiter: str) -> None:
    assert texts(values, pa.binary(), delimiter) == values
    assert texts(values, pa.large_binary(), delimiter) == values
    assert texts(values, pa.binary_view(), delimiter) == values


def test_texts_in_views_are_written_as_others_are() -> None:
    values = ["a", None, "", "of more than twelve bytes, so that it lies elsewhere"]
    assert texts(values, pa.string_view()) == [None if value is None else value.encode() for value in values]


def test_times_dates_and_dictionaries_are_texts_that_mysql_reads() -> None:
    moment = 1_700_000_000_123_456
    assert texts([moment], pa.timestamp("us")) == [b"2023-11-14 22:13:20.123456"]
    assert texts([moment], pa.timestamp("us", "UTC")) == [b"2023-11-14 22:13:20.123456"]
    assert texts([moment * 1000 + 789], pa.timestamp("ns")) == [b"2023-11-14 22:13:20.123456"]
    assert texts([-211, None], pa.timestamp("ns", "UTC")) == [b"1969-12-31 23:59:59.999999", None]
    assert texts([19_000], pa.date32()) == [b"2022-01-08"]
    assert texts(["r", None, "g"], pa.dictionary(pa.int8(), pa.string())) == [b"r", None, b"g"]
    assert texts([1.5], pa.float16()) == [b"1.5"]
    assert texts([None, None], pa.null()) == [None, None]
