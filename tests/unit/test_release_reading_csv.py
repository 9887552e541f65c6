"""Types of CSV columns are found out by all values, and a file that is not what was said is refused."""

from __future__ import annotations

import datetime
import gzip
from pathlib import Path

import pyarrow as pa
import pytest

from consumers.release.reading import LENGTH, CsvForm, csv_form, open_catalogue
from consumers.release.reading.catalogue import ASCII
from stream.errors import Wrong


def types(path: Path, csv: CsvForm | None = None) -> dict[str, str]:
    return {each.name: str(each.type) for each in open_catalogue(path, csv=csv).schema}


def column(tmp_path: Path, *values: str) -> str:
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "".join(f"{value},1\n" for value in values))
    return types(path)["x"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-5", "9223372036854775807"], "int64"),
        (["18446744073709551615"], "uint64"),
        (["18446744073709551615", "-1"], "double"),
        (["1", "2.5"], "double"),
        (["1e-10", "-0.5", "3"], "double"),
        (["1", r"\N", "", "NULL", "nan", "NaN"], "int64"),
        (["1.5", "inf", "-inf"], "double"),
        (["2026-03-05 01:02:03.5"], "timestamp[us]"),
        (["2026-03-05"], "timestamp[us]"),
        (["2026-03-05T01:02:03"], "string"),
        (["true", "false"], "string"),
        (["007", "012"], "string"),
        (["0x1F", "-0Xab"], "string"),
        (["00.5", "1"], "double"),
        (["1", "g"], "string"),
        ([r"\N", ""], "null"),
    ],
)
def test_the_type_is_the_narrowest_that_all_values_are_written_in(values: list[str], kind: str, tmp_path: Path) -> None:
    assert column(tmp_path, *values) == kind


def test_a_value_far_behind_decides_too(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    with path.open("w") as file:
        file.write("a,b\n")
        file.writelines(f"{each},{'x' * 20}\n" for each in range(700_000))
        file.write("0.5,end\n")
    assert path.stat().st_size > 16 << 20  # more than one block
    catalogue = open_catalogue(path)
    assert [str(each.type) for each in catalogue.schema] == ["double", "string"]
    assert catalogue.rows == 700_001 and catalogue.schema.field("b").metadata[LENGTH] == b"20"
    sampled = open_catalogue(path, csv=CsvForm(sample=1000))
    assert str(sampled.schema.field("a").type) == "int64" and sampled.rows is None
    with pytest.raises(Wrong, match=r"0\.5") as refused:
        list(sampled.batches())
    assert refused.value.code == "bad_catalogue"


def test_rows_come_with_types_and_nulls(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('id,flux,word,when\n1,nan,"a,b",2026-03-05 00:00:00\n2,inf,\\N,\\N\n3,1.5,"",2026-03-05 12:00:00\n')
    rows = [row for batch in open_catalogue(path).batches(["flux", "id", "word", "when"]) for row in batch.to_pylist()]
    day = datetime.datetime(2026, 3, 5)
    assert rows == [
        {"flux": None, "id": 1, "word": "a,b", "when": day},
        {"flux": float("inf"), "id": 2, "word": None, "when": None},
        {"flux": 1.5, "id": 3, "word": "", "when": day.replace(hour=12)},
    ]


def test_columns_without_a_first_line_have_the_names_told(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("0\tu\n1\tg\n")
    form = CsvForm(delimiter=csv_form(path).delimiter, names=("filterId", "filterName"))
    assert types(path, form) == {"filterId": "int64", "filterName": "string"}


def test_case02_has_its_known_columns_and_rows(shared_data: Path) -> None:
    path = shared_data / "qserv/case02_test101/input/Source.csv"
    names = tuple(f"c{number}" for number in range(92))
    catalogue = open_catalogue(path, csv=CsvForm(names=names))
    assert sum(batch.num_rows for batch in catalogue.batches(["c0", "c6"], rows=1000)) == 4583 == catalogue.rows
    assert catalogue.schema.field("c0").type == pa.int64() and catalogue.schema.field("c6").type == pa.float64()
    first = next(iter(catalogue.batches(rows=1))).to_pylist()[0]
    assert (first["c0"], first["c3"], first["c4"], first["c6"]) == (
        2867930096075697,
        433327840428724,
        None,
        1.27321808701,
    )


def test_a_compressed_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a\n1\n2\n"))
    assert [row["a"] for batch in open_catalogue(path).batches() for row in batch.to_pylist()] == [1, 2]


def test_text_beyond_ascii_is_marked(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\nü,u\n")
    schema = open_catalogue(path).schema
    assert schema.field("a").metadata[ASCII] == b"no" and ASCII not in schema.field("b").metadata
    assert schema.field("a").metadata[LENGTH] == b"2"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"a,b\n1,2\n1,2,3\n", "Expected 2 columns, got 3"),
        (b"a,b\n1,2\n1\n", "Expected 2 columns, got 1"),
        (b"a,a\n1,2\n", "has a more than once"),
        (b"a\n\xff\xfe\n", "UTF8"),
    ],
)
def test_a_file_that_is_not_such_csv_is_refused(text: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text)
    with pytest.raises(Wrong, match=told) as refused:
        list(open_catalogue(path).batches())
    assert refused.value.code == "bad_catalogue" and str(path) in refused.value.message and refused.value.advice


def test_an_unknown_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.dat"
    path.write_text("1 2 3\n")
    with pytest.raises(Wrong, match="no catalogue that can be read"):
        open_catalogue(path)
    path.write_bytes(gzip.compress(b"SIMPLE  ="))
    with pytest.raises(Wrong, match="gunzip"):
        open_catalogue(path)


@pytest.mark.parametrize("word", ["NULL", "null", "None", "nan", ""])
def test_what_is_missing_among_numbers_is_a_text_among_texts(word: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"n,t,only\n1,x,{word}\n{word},{word},{word}\n\\N,\\N,{word}\n")
    catalogue = open_catalogue(path)
    schema = catalogue.schema
    assert [str(each.type) for each in schema] == ["int64", "string", "null"]
    assert schema.field("t").metadata[LENGTH] == str(max(1, len(word))).encode()
    assert [note.partition(" is a text")[0] for note in catalogue.notes] == ([f"t: {word}"] if word else [])
    rows = [row for batch in catalogue.batches() for row in batch.to_pylist()]
    assert [(row["n"], row["t"], row["only"]) for row in rows] == [
        (1, "x", None),
        (None, word, None),
        (None, None, None),
    ]
    said = open_catalogue(path, csv=CsvForm(nulls=(word, r"\N")))
    assert said.schema.field("t").metadata[LENGTH] == b"1" and not said.notes


def test_a_backslash_escapes_and_is_told_of_unless_it_is_said_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("n,t\n1,C:\\new\n\\N,\\N\n")
    for escape, text, told in (("", "C:\\new", 0), ("\\", "C:new", 0), (None, "C:new", 1)):
        catalogue = open_catalogue(path, csv=CsvForm(escape=escape))
        rows = [row for batch in catalogue.batches() for row in batch.to_pylist()]
        assert rows == [{"n": 1, "t": text}, {"n": None, "t": None}]
        assert [note.partition(":")[0] for note in catalogue.notes] == ["t"] * told
        assert all("--csv-escape none" in note for note in catalogue.notes)
    path.write_text("n,t\n1,new\n\\N,\\N\n")
    plain = open_catalogue(path)
    assert [str(each.type) for each in plain.schema] == ["int64", "string"] and not plain.notes


def test_a_delimiter_behind_a_backslash_ends_no_field_unless_it_is_said_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("n,t\n1,a\\,b\n")
    catalogue = open_catalogue(path)
    assert [batch.to_pylist() for batch in catalogue.batches()] == [[{"n": 1, "t": "a,b"}]]
    assert "--csv-escape none" in catalogue.notes[0]
    for text, csv in (("n,t\n1,a\\,b\n", CsvForm(escape="")), ("n,t\n1,a,b\n", CsvForm())):
        path.write_text(text)
        with pytest.raises(Wrong, match="Expected 2 columns, got 3"):
            open_catalogue(path, csv=csv).schema  # noqa: B018


def test_null_stays_null_behind_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbf\\N,1\n2,x\\y\n")
    catalogue = open_catalogue(path, csv=CsvForm(names=("n", "t")))
    assert [batch.to_pylist() for batch in catalogue.batches()] == [[{"n": None, "t": "1"}, {"n": 2, "t": "xy"}]]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_null_stays_null_where_a_backslash_escapes(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    text = "\\N,1,\\N\n" * 200_000 + '5,2,"a\\"b"\r\n\\N,\\N,\\N\r\n\\N,3,\\N'
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    catalogue = open_catalogue(path, csv=CsvForm(escape="\\", names=("a", "b", "c")))
    assert [str(each.type) for each in catalogue.schema] == ["int64", "int64", "string"]
    rows = [row for batch in catalogue.batches() for row in batch.to_pylist()]
    assert len(rows) == 200_003 and rows[-4:] == [
        {"a": None, "b": 1, "c": None},
        {"a": 5, "b": 2, "c": 'a"b'},
        {"a": None, "b": None, "c": None},
        {"a": None, "b": 3, "c": None},
    ]


def test_newlines_inside_quotes_are_read_wherever_a_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "".join(f'{each},"x\ny,z {each}"\n' for each in range(150_000)))
    catalogue = open_catalogue(path)
    assert [str(each.type) for each in catalogue.schema] == ["int64", "string"] and catalogue.rows == 150_000
