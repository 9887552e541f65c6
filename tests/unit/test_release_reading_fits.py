"""Plain FITS tables: every type of the standard comes as astropy reads it, and a damaged file is refused and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits

from consumers.release.reading import UNIT, open_catalogue
from consumers.release.reading.fits_file import FitsCatalogue
from stream.errors import Wrong

ROWS = 7


def write(path: Path, *columns: fits.Column, **header: Any) -> Path:
    table = fits.BinTableHDU.from_columns(columns)
    table.header.update(header)
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)
    return path


def read(path: Path, rows: int = 3) -> pa.Table:
    catalogue = open_catalogue(path)
    return pa.Table.from_batches(catalogue.batches(rows=rows), schema=catalogue.schema)


NUMBERS = {
    # TFORM: Arrow type, values
    "B": (pa.uint8(), np.array([0, 1, 2, 127, 128, 254, 255], "u1")),
    "I": (pa.int16(), np.array([-32768, -1, 0, 1, 2, 3, 32767], "i2")),
    "J": (pa.int32(), np.array([-(2**31), -1, 0, 1, 2, 3, 2**31 - 1], "i4")),
    "K": (pa.int64(), np.array([-(2**63), -1, 0, 1, 2, 3, 2**63 - 1], "i8")),
    "E": (pa.float32(), np.array([np.nan, np.inf, -np.inf, 0, 1e-38, 1.5, -2], "f4")),
    "D": (pa.float64(), np.array([np.nan, np.inf, -np.inf, 0, 1e-300, 1.5, -2], "f8")),
    "L": (pa.bool_(), np.array([True, False, True, True, False, False, True])),
}
SHIFTED = {
    "B": (-128, pa.int8(), np.array([-128, -1, 0, 1, 2, 3, 127], "i1")),
    "I": (2**15, pa.uint16(), np.array([0, 1, 2, 3, 2**15 - 1, 2**15, 2**16 - 1], "u2")),
    "J": (2**31, pa.uint32(), np.array([0, 1, 2, 3, 2**31 - 1, 2**31, 2**32 - 1], "u4")),
    "K": (2**63, pa.uint64(), np.array([0, 1, 2, 3, 2**63 - 1, 2**63, 2**64 - 1], "u8")),
}


@pytest.mark.parametrize("form", NUMBERS)
def test_a_number_comes_as_it_was_written(form: str, tmp_path: Path) -> None:
    kind, values = NUMBERS[form]
    table = read(write(tmp_path / "t.fits", fits.Column("x", form, array=values, unit="nJy")))
    assert table["x"].type == kind and table["x"].null_count == 0
    np.testing.assert_array_equal(table["x"].to_numpy(), values)
    assert table.field("x").metadata[UNIT] == b"nJy"
    assert table.field("x").nullable is (form in "EDL")


@pytest.mark.parametrize("form", SHIFTED)
def test_an_unsigned_number_comes_with_its_own_sign(form: str, tmp_path: Path) -> None:
    zero, kind, values = SHIFTED[form]
    table = read(write(tmp_path / "t.fits", fits.Column("x", form, array=values, bzero=zero)))
    assert table["x"].type == kind and not table.field("x").nullable
    np.testing.assert_array_equal(table["x"].to_numpy(), values)


def test_scaled_numbers_come_as_astropy_scales_them(tmp_path: Path) -> None:
    path = write(tmp_path / "t.fits", fits.Column("x", "I", array=np.arange(-3, 4)))
    with fits.open(path, mode="update") as hdus:
        hdus[1].header.update(TSCAL1=0.1, TZERO1=10.5)
    with fits.open(path) as hdus:
        np.testing.assert_array_equal(read(path)["x"].to_numpy(), hdus[1].data["x"])


def test_real_numbers_that_are_scaled_keep_the_digits_of_a_double(tmp_path: Path) -> None:
    path = write(tmp_path / "t.fits", fits.Column("x", "E", array=np.array([1 / 3, 7, np.nan, 1e-30, 1e30, 0, -1])))
    with fits.open(path, mode="update") as hdus:
        hdus[1].header.update(TSCAL1=0.1, TZERO1=1e-9)
    with fits.open(path) as hdus:
        np.testing.assert_array_equal(read(path)["x"].to_numpy(), hdus[1].data["x"])


@pytest.mark.parametrize(("form", "zero"), [("B", 0), ("I", 0), ("J", 0), ("K", 0), ("J", 2**31)])
def test_what_tnull_masks_is_null(form: str, zero: int, tmp_path: Path) -> None:
    values = np.arange(ROWS)
    path = write(tmp_path / "t.fits", fits.Column("x", form, array=values))
    with fits.open(path, mode="update") as hdus:
        hdus[1].header["TNULL1"] = 3
        if zero:
            hdus[1].header["TZERO1"] = zero
    table = read(path)
    assert table.field("x").nullable
    assert [value is None for value in table["x"].to_pylist()] == list(values == 3)


def test_logical_zero_is_null(tmp_path: Path) -> None:
    path = write(tmp_path / "t.fits", fits.Column("x", "L", array=[True, False, True]))
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"TFT" + bytes(100), b"T\0F" + bytes(100), 1))
    assert read(path)["x"].to_pylist() == [True, None, False]


def test_text_ends_at_nul_and_loses_blanks_at_its_end(tmp_path: Path) -> None:
    words = [" lead", "trail  ", "a b", "", "12345678", "ab\0cd", "ü"]
    path = write(
        tmp_path / "t.fits", fits.Column("x", "8A", array=np.array([each.encode("latin-1") for each in words]))
    )
    assert read(path)["x"].to_pylist() == [" lead", "trail", "a b", "", "12345678", "ab", "ü"]


def test_arrays_of_fixed_size_become_a_column_each(tmp_path: Path) -> None:
    values = np.arange(ROWS * 3, dtype="f4").reshape(ROWS, 3)
    words = np.array([["ab", "c"]] * ROWS)
    path = write(tmp_path / "t.fits", fits.Column("x", "3E", array=values), fits.Column("w", "2A", array=words[:, 0]))
    table = read(path)
    assert table.column_names == ["x_0", "x_1", "x_2", "w"]
    np.testing.assert_array_equal(np.column_stack([table[f"x_{each}"].to_numpy() for each in range(3)]), values)


def test_text_of_several_words_and_bits_become_a_column_each(tmp_path: Path) -> None:
    bits = np.zeros((ROWS, 11), bool)
    bits[1, 0] = bits[2, 8] = bits[3, 10] = True
    path = write(
        tmp_path / "t.fits",
        fits.Column("w", "6A", array=np.array(["abcdef"] * ROWS)),
        fits.Column("b", "11X", array=bits),
    )
    with fits.open(path, mode="update") as hdus:
        hdus[1].header["TFORM1"] = "6A2"
    table = read(path)
    assert [table[f"w_{each}"][0].as_py() for each in range(3)] == ["ab", "cd", "ef"]
    np.testing.assert_array_equal(np.column_stack([table[f"b_{each}"].to_numpy() for each in range(11)]), bits)


def test_an_array_of_texts_that_tdim_tells_becomes_a_column_each(tmp_path: Path) -> None:
    words = np.array([["ab", "", "cdef"], ["g", "hi", ""], *[["x", "y", "z"]] * (ROWS - 2)])
    path = write(tmp_path / "t.fits", fits.Column("w", "12A", dim="(4,3)", array=words))
    table = read(path)
    assert table.column_names == ["w_0", "w_1", "w_2"]
    assert [list(row.values()) for row in table.to_pylist()] == words.tolist()
    path = write(tmp_path / "one.fits", fits.Column("w", "4A", dim="(4)", array=words[:, 0]))
    assert read(path).to_pydict() == {"w": words[:, 0].tolist()}


def test_a_text_is_read_as_what_it_is_whatever_stands_beside_it(tmp_path: Path) -> None:
    words = ["é".encode(), "é".encode("latin-1"), b"e"]
    path = write(tmp_path / "t.fits", fits.Column("x", "2A", array=np.array(words)))
    assert read(path)["x"].to_pylist() == ["é", "é", "e"]


def test_what_a_database_cannot_have_is_left_out_and_said(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.fits",
        fits.Column("id", "K", array=np.arange(ROWS)),
        fits.Column("spans", "PJ()", array=np.array([np.arange(each) for each in range(ROWS)], object)),
        fits.Column("z", "C", array=np.ones(ROWS, complex)),
    )
    catalogue = open_catalogue(path)
    assert catalogue.schema.names == ["id"]
    assert {each.column: each.why for each in catalogue.left_out} == {
        "spans": "an array of variable length",
        "z": "complex numbers",
    }
    assert read(path)["id"].to_pylist() == list(range(ROWS))


def test_of_several_tables_the_first_is_read_and_the_others_named(tmp_path: Path) -> None:
    tables = [fits.BinTableHDU.from_columns([fits.Column(name, "J", array=[1, 2])]) for name in "ab"]
    path = tmp_path / "t.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((50, 50))), *tables]).writeto(path)
    assert open_catalogue(path).schema.names == ["a"]
    assert any("not read: those in HDU 3" in note for note in open_catalogue(path).notes)
    assert open_catalogue(path, hdu=3).schema.names == ["b"]
    with pytest.raises(Wrong, match="HDU 1 is not a binary table"):
        open_catalogue(path, hdu=1)


def test_a_table_without_rows_has_columns_and_no_batches(tmp_path: Path) -> None:
    path = write(tmp_path / "t.fits", fits.Column("x", "D", array=np.zeros(0)))
    catalogue = open_catalogue(path)
    assert (catalogue.rows, catalogue.schema.names, list(catalogue.batches())) == (0, ["x"], [])


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write(tmp_path / "t.fits", fits.Column("id", "K", array=np.arange(5000)))


@pytest.mark.parametrize("keep", [5, 2000, 2880, 2880 + 500, 2 * 2880, 2 * 2880 + 801])
def test_a_truncated_file_is_refused_before_a_row_is_read(keep: int, good: Path) -> None:
    good.write_bytes(good.read_bytes()[:keep])
    with pytest.raises(Wrong) as refused:
        open_catalogue(good)
    assert refused.value.code == "bad_catalogue" and str(good) in refused.value.message and refused.value.advice


def test_a_truncated_file_says_how_many_rows_are_there(good: Path) -> None:
    good.write_bytes(good.read_bytes()[: 2 * 2880 + 801])
    with pytest.raises(Wrong, match="HDU 1 breaks off after 100 of 5000 rows"):
        open_catalogue(good)


def test_a_file_that_shrinks_while_it_is_read_is_noticed(good: Path) -> None:
    batches = open_catalogue(good).batches(rows=1000)
    assert next(batches).num_rows == 1000
    good.write_bytes(good.read_bytes()[: 2 * 2880 + 8 * 1500])
    with pytest.raises(Wrong, match="breaks off after 1500 of 5000 rows"):
        list(batches)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ((b"TFORM1  = 'K       '", b"TFORM1  = 'Y       '"), "TFORM1 is 'Y'"),
        ((b"NAXIS1  =                    8", b"NAXIS1  =                    7"), "its fields have 8 bytes"),
        ((b"BINTABLE", b"TABLE   "), "no binary table"),
        ((b"SIMPLE  =", b"COMPLEX ="), "no catalogue"),
    ],
)
def test_a_header_that_is_not_fits_is_refused(change: tuple[bytes, bytes], told: str, good: Path) -> None:
    raw = good.read_bytes()
    assert change[0] in raw
    good.write_bytes(raw.replace(*change))
    with pytest.raises(Wrong, match=told) as refused:
        open_catalogue(good)
    assert refused.value.code == "bad_catalogue" and refused.value.advice


def test_a_wrong_column_is_named_with_those_that_are_there(good: Path) -> None:
    with pytest.raises(Wrong, match=r"has no column objectId; it has id") as refused:
        list(open_catalogue(good).batches(["objectId"]))
    assert refused.value.code == "no_column" and str(good) in refused.value.message


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.fits", fits.Column("x", "J", array=[1]), fits.Column("y", "J", array=[1]))
    path.write_bytes(path.read_bytes().replace(b"'y       '", b"'x       '"))
    with pytest.raises(Wrong, match="column x more than once"):
        open_catalogue(path)


def test_no_file_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Wrong) as absent:
        open_catalogue(tmp_path / "absent.fits")
    assert absent.value.code == "no_file"
    (tmp_path / "empty.fits").touch()
    with pytest.raises(Wrong, match="the file is empty"):
        open_catalogue(tmp_path / "empty.fits")


def test_rows_can_begin_and_end_anywhere(good: Path) -> None:
    batches = list(FitsCatalogue(good).batches(["id"], rows=400, first=1234, last=2345))
    assert [batch.num_rows for batch in batches] == [400, 400, 311]
    assert pa.Table.from_batches(batches)["id"].to_pylist() == list(range(1234, 2345))
    assert list(FitsCatalogue(good).batches(first=5000)) == []
    assert sum(batch.num_rows for batch in FitsCatalogue(good).batches(first=4990, last=6000)) == 10
