"""CSV files as others write them: behind a mark, compressed, with names in the first line, with a quote left open."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from pathlib import Path

import pytest
from doubles.load_data import fields_of
from doubles.release_cases import a_job, column, cut_up
from doubles.release_tables import FILTER

from consumers.release.manifest import read
from consumers.release.partition import batches
from consumers.release.partition.cluster import open_workers
from consumers.release.partition.csv_dialect import CsvDialect
from consumers.release.partition.csv_opening import backslash_in
from consumers.release.partition.source import Source, pieces
from consumers.release.reading import open_catalogue
from consumers.release.table import Column, Role, Table
from stream.errors import Wrong

HEADER = CsvDialect(header=True)
MARK = b"\xef\xbb\xbf"


def rows(data: bytes, folder: Path, csv: CsvDialect, table: Table = FILTER, name: str = "t.csv") -> list[object]:
    """The rows of a partition of a file with these bytes."""
    (folder / name).write_bytes(data)
    with open_workers(count=1) as workers:
        cut_up(table, [folder / name], folder / "dr1", workers, csv=csv, anew=True)
    place = folder / "dr1" / table.name
    return [row for file in read(place).files for row in fields_of((place / file.path).read_bytes(), ",")]


def refused(data: bytes, folder: Path, csv: CsvDialect, name: str = "t.csv") -> Wrong:
    with pytest.raises(Wrong) as error:
        rows(data, folder, csv, name=name)
    return error.value


@pytest.mark.parametrize("header", [b"", b"filterId,name\r\n", b'"name";"filterId"\n'])
def test_a_mark_of_utf8_is_no_part_of_the_first_field(header: bytes, tmp_path: Path) -> None:
    delimiter = ";" if b";" in header else ","
    lines = b"r;1\ng;2\n" if delimiter == ";" else b"1,r\n2,g\n"
    csv = CsvDialect(delimiter, header=bool(header))
    assert rows(MARK + header + lines, tmp_path, csv) == [[b"1", b"r"], [b"2", b"g"]]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("t.parquet", b"", "the file is empty"),
        ("t.fits", b"\0" * 5760, "does not begin as such a file"),
        ("t.parquet", b"1,r\n", "does not begin as such a file"),
        ("t.csv.bz2", bz2.compress(b"1,r\n"), "compressed by bzip2"),
        ("t.csv", lzma.compress(b"1,r\n"), "compressed by xz"),
    ],
)
def test_what_is_no_csv_is_not_taken_for_a_table_of_few_rows(name: str, data: bytes, said: str, tmp_path: Path) -> None:
    error = refused(data, tmp_path, CsvDialect(), name=name)
    assert error.code == "bad_catalogue" and said in str(error)


def test_an_empty_file_has_no_names(tmp_path: Path) -> None:
    assert "no first line of names" in str(refused(b"", tmp_path, HEADER))
    assert rows(b"", tmp_path, CsvDialect()) == []


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.csv")
    for taken in (lambda: Source.of(str(tmp_path / "t.csv"), FILTER), lambda: open_catalogue(tmp_path / "t.csv")):
        with pytest.raises(Wrong, match="is a pipe or device") as error:
            taken()
        assert error.value.code == "no_file"


def test_a_line_of_names_is_not_taken_for_a_row(tmp_path: Path) -> None:
    error = refused(b"name,filterId\nr,1\n", tmp_path, CsvDialect())
    assert error.code == "bad_catalogue" and "say --csv-header" in str(error)
    assert rows(b"name,filterId\nr,1\n", tmp_path, HEADER) == [[b"1", b"r"]]


def test_a_compressed_file_is_read_as_it_would_be_expanded(tmp_path: Path) -> None:
    data = b'filterId|name\n1|"a,b"\n2|NULL\n3|\n4|-9\n'
    csv = CsvDialect("|", header=True, nulls=("-9",))
    plain = rows(data, tmp_path, csv)
    assert plain == [[b"1", b"a,b"], [b"2", b"NULL"], [b"3", b""], [b"4", None]]
    halves = gzip.compress(data[:20]) + gzip.compress(data[20:])
    assert rows(halves, tmp_path, csv, name="t.csv.gz") == plain
    nameless = gzip.compress(data.partition(b"\n")[2])
    assert rows(nameless, tmp_path, CsvDialect("|", nulls=("-9",)), name="t.csv.gz") == plain
    broken = refused(halves[:-12], tmp_path, csv, "t.csv.gz")
    assert broken.code == "bad_catalogue" and "what is compressed is damaged" in broken.message


def test_a_quote_that_is_left_open_swallows_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b'1,r\n2,"g\n' + b"3,i\n" * 100
    error = refused(data, tmp_path, CsvDialect())
    assert error.code == "bad_catalogue" and "the record at byte 4 does not end" in error.message
    assert len(rows(data, tmp_path, CsvDialect(quote=""))) == 102
    monkeypatch.setattr(batches, "LONGEST", 50)
    (tmp_path / "t.csv").write_bytes(data + b'"\n')
    job = a_job(FILTER, [tmp_path / "t.csv"], tmp_path / "dr1")
    (piece,) = pieces(job.sources, job.csv, job.rows)
    with pytest.raises(Wrong, match="does not end"):
        list(batches.csv_batches(tmp_path / "t.csv", piece, job.fields(), job.csv, 10, 16))


def test_an_empty_time_is_missing(tmp_path: Path) -> None:
    table = Table("T", Role.REGULAR, (column("id", "long"), Column("t", "t", "timestamp", "DATETIME(6)")))
    data = b'1,2024-01-01 00:00:00\n2,\n3,""\n'
    assert rows(data, tmp_path, CsvDialect(), table) == [[b"1", b"2024-01-01 00:00:00"], [b"2", None], [b"3", None]]


@pytest.mark.parametrize("field", [rb"C:\new", rb'"end\"', rb'"\N"', rb"\Nx", b"\\"])
def test_a_backslash_that_is_no_null_is_told_of_in_what_it_means(field: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"1,\\N\n\\N,r\n2," + field + b"\n")
    shown = backslash_in(path, CsvDialect())
    assert shown is not None and field.decode() in shown
    for many in (1, 1 << 18):  # so many that what is looked at begins to end within one
        for begin in (b"", b"x", b"xy", b"xyz"):
            path.write_bytes(begin + b"1,\\N\n\\N,r\n2,\\N" + b"\n,\\N" * many)
            assert backslash_in(path, CsvDialect()) is None
    table = rows(b"1,r\n2," + field + b"\n", tmp_path, CsvDialect(escape=""))
    assert table == [[b"1", b"r"], [b"2", field.strip(b'"')]]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_null_is_read_wherever_a_reading_ends(end: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in range(7, 13):
        monkeypatch.setattr(batches.csv_batches, "__defaults__", (size,))
        assert rows(b"1,\\N\n2,\\N\n3,u\n4,\\N" + end, tmp_path, CsvDialect(escape="\\")) == [
            [b"1", None], [b"2", None], [b"3", b"u"], [b"4", None]
        ]  # fmt: skip
