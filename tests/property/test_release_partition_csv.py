"""CSV of any dialect: the fields that come out are those that went in, and only what spells NULL is NULL."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from doubles.load_data import fields_of
from hypothesis import example, given
from hypothesis import strategies as st

from consumers.release.partition.csv_borders import borders
from consumers.release.partition.csv_dialect import CsvDialect
from consumers.release.partition.csv_lines import Records, find_records, write_records
from consumers.release.partition.writing import Places, Scratch

DIALECTS = [
    CsvDialect(",", '"', "\\"),
    CsvDialect(",", '"', ""),
    CsvDialect("\t", "", "\\", target="\t"),
    CsvDialect("|", "'", "\\"),
    CsvDialect(",", "", ""),
    CsvDialect(";", '"', "^"),
]
FIELD = st.binary(max_size=8) | st.sampled_from([b"\\N", b"NULL", b"", b'"', b"a,b", b"\n", b'""', b"nan", b"\\"])
ROWS = st.lists(st.lists(FIELD, min_size=3, max_size=3), min_size=1, max_size=12)


def can_be_written(field: bytes, dialect: CsvDialect) -> bool:
    """Whether a dialect has a way to write a field that is no NULL."""
    special = {dialect.delimiter.encode(), b"\n", b"\r"}
    if dialect.escape or dialect.quote:
        return True
    return not any(each in field for each in special) and field.decode("latin1") not in dialect.nulls


def written(field: bytes, dialect: CsvDialect) -> bytes:
    """A field in a dialect, quoted or escaped."""
    escape, quote = dialect.escape.encode(), dialect.quote.encode()
    if escape:
        field = field.replace(escape, escape * 2)
    if quote:
        return quote + field.replace(quote, quote * 2 if not escape else escape + quote) + quote
    for each in (dialect.delimiter.encode(), b"\n", b"\r"):
        field = field.replace(each, escape + each) if escape else field
    return field


def lines_of(records: Records, dialect: CsvDialect, numbers: bool = False) -> list[list[bytes | None]]:
    count = len(records.starts)
    places = Places(np.arange(count), np.full(count, 3, np.int32), np.full(count, 4, np.int32))
    lines = write_records(records, places, dialect, np.arange(3), np.full(3, numbers), Scratch())
    return [line[:3] for line in fields_of(lines.data.tobytes(), dialect.target)]


def found(data: bytes, dialect: CsvDialect, columns: int = 3) -> Records:
    buffer = np.frombuffer(data, np.uint8).copy()
    return find_records(buffer, dialect, columns, np.array([0, 2], np.int64), last=True, most=1000)


@given(rows=ROWS, dialect=st.sampled_from(DIALECTS), newline=st.booleans())
@example(rows=[[b"\\N", b"x\\", b'"']], dialect=DIALECTS[0], newline=True)
@example(rows=[[b"", b"", b""]], dialect=DIALECTS[2], newline=False)
@example(rows=[[b"x", b"y", b"\r"], [b"", b"", b"\\\r"]], dialect=DIALECTS[2], newline=True)
def test_what_was_quoted_or_escaped_comes_out_as_it_went_in(
    rows: list[list[bytes]], dialect: CsvDialect, newline: bool
) -> None:
    rows = [row for row in rows if all(can_be_written(field, dialect) for field in row)]
    data = b"\n".join(dialect.delimiter.encode().join(written(field, dialect) for field in row) for row in rows)
    records = found(data + (b"\n" if newline else b""), dialect)
    assert records.whole.all() and records.used == len(data) + newline
    assert lines_of(records, dialect) == rows


PLAIN = st.text(st.characters(codec="ascii", exclude_characters=',\n\r\\"'), max_size=6).map(str.encode)


@given(st.lists(st.lists(PLAIN, min_size=3, max_size=3).filter(any), min_size=1, max_size=9))
def test_fields_that_need_no_change_pass_as_the_bytes_given(rows: list[list[bytes]]) -> None:
    data = b"".join(b",".join(row) + b"\n" for row in rows)
    records, dialect = found(data, DIALECTS[0]), DIALECTS[0]
    places = Places(np.arange(len(rows)), np.full(len(rows), 12, np.int32), np.full(len(rows), 5, np.int32))
    lines = write_records(records, places, dialect, np.arange(3), np.zeros(3, bool), Scratch())
    assert lines.data.tobytes() == data.replace(b"\n", b",12,5\n")


SPELLED = ["", "NULL", "null", "nan", "NaN", "-nan", "inf", "-inf", "+Infinity", "-INF"]


@pytest.mark.parametrize("text", [*SPELLED, '"nan"', '""'])
def test_what_is_no_number_is_null_in_a_column_of_numbers(text: str) -> None:
    records = found(f"1,{text},-2.5e-3\n".encode(), DIALECTS[0])
    assert lines_of(records, DIALECTS[0], numbers=True) == [[b"1", None, b"-2.5e-3"]]


@pytest.mark.parametrize("text", [each for each in SPELLED if each])
def test_what_is_no_number_is_a_text_in_a_column_of_texts(text: str) -> None:
    assert lines_of(found(f"a,{text},b\n".encode(), DIALECTS[0]), DIALECTS[0]) == [[b"a", text.encode(), b"b"]]


def test_spellings_of_null_that_the_user_names_are_null_in_any_column() -> None:
    dialect = CsvDialect(nulls=("", "-9999", "n/a"))
    data = b'-9999,n/a,\n"","-9999","n/a"\n-99990,\\N,x\n'
    expected = [[None, None, None], [b"", b"-9999", b"n/a"], [b"-99990", b"N", b"x"]]
    assert lines_of(found(data, dialect), dialect) == expected


def test_records_with_other_numbers_of_fields_are_told_apart_and_empty_lines_are_none() -> None:
    records = found(b"1,2,3\r\n\n1,2\n1,2,3,4\n\r\n,,\n5,6,7", DIALECTS[0])
    assert records.whole.tolist() == [True, False, False, True, True]
    fields = [bytes(records.data[first:last]) for first, last in zip(records.starts, records.ends)]
    assert fields == [b"1,2,3", b"1,2", b"1,2,3,4", b",,", b"5,6,7"]


@given(rows=ROWS, dialect=st.sampled_from(DIALECTS), every=st.integers(1, 40))
def test_a_file_cut_at_its_borders_has_the_same_records(
    rows: list[list[bytes]], dialect: CsvDialect, every: int
) -> None:
    rows = [row for row in rows if all(can_be_written(field, dialect) for field in row)]
    data = b"".join(dialect.delimiter.encode().join(written(f, dialect) for f in row) + b"\n" for row in rows)
    buffer = np.frombuffer(data, np.uint8).copy()
    cuts = [0, *borders(lambda at, count: buffer[at : at + count], dialect, len(data), every), len(data)]
    assert cuts == sorted(set(cuts)) or not data
    parts = [lines_of(found(data[first:last], dialect), dialect) for first, last in pairwise(cuts)]
    assert [line for part in parts for line in part] == rows
