"""A table's description made from catalogues: types, nulls, units, keys, and what is refused before any side effect."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from consumers.release.description.arrow_types import kind_of
from consumers.release.description.describe import Described, Wish, describe
from consumers.release.reading import open_catalogue
from consumers.release.table import Column, Follows, Role, Table
from stream.errors import Wrong


def parquet(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def made(*paths: Path, **wish: object) -> Described:
    told = {"name": "T", "role": Role.REGULAR, "database": "release"} | wish
    return describe([open_catalogue(path) for path in paths], Wish(**told))  # type: ignore[arg-type]


def refused(*paths: Path, **wish: object) -> Wrong:
    with pytest.raises(Wrong) as error:
        made(*paths, **wish)
    return error.value


@pytest.fixture
def hsc(shared_data: Path) -> Path:
    return shared_data / "qserv/afw_fits/deepCoadd_meas_HSC_v2.fits"


def test_a_catalogue_of_the_pipelines_is_a_director_by_its_own_id_and_position(hsc: Path) -> None:
    described = made(hsc, role=Role.DIRECTOR)
    table = described.table
    assert (table.key, table.ra, table.dec) == ("id", "coord_ra_deg", "coord_dec_deg")
    assert len(table.columns) == 500 and sum(each.mysql == "BOOLEAN" for each in table.columns) == 237
    assert [each.column for each in described.left_out] == ["footprint"] and not described.renamed
    assert table.description.startswith("Aliases: base_CircularApertureFlux_flag_badCentroid = base_SdssCentroid_flag")
    assert table.column("base_SdssCentroid_xSigma") == Column(
        "base_SdssCentroid_xSigma", "base_SdssCentroid_xSigma", "float", "FLOAT", unit="pixel",
        description="1-sigma uncertainty on x position. Also: base_SdssCentroid_xErr, slot_Centroid_xSigma, "
        "slot_Centroid_xErr.",
    )  # fmt: skip
    assert (table.column("id").mysql, table.column("id").nullable) == ("BIGINT", False)
    assert not table.column("deblend_nChild").nullable and table.column("coord_ra_deg").nullable
    assert {each.mysql for each in table.columns} == {"BOOLEAN", "BIGINT", "DOUBLE", "FLOAT", "INTEGER"}


def test_a_forced_catalogue_follows_its_director_by_id(hsc: Path) -> None:
    table = made(hsc, role=Role.CHILD, follows=(Follows("deepCoadd_ref", "id"),)).table
    assert (table.key, table.ra, table.follows) == ("id", "", (Follows("deepCoadd_ref", "id"),))
    placed = made(
        hsc, role=Role.CHILD, ra="coord_ra_deg", dec="coord_dec_deg", follows=(Follows("deepCoadd_ref", "parent"),)
    )
    assert (placed.table.ra, placed.table.dec) == ("coord_ra_deg", "coord_dec_deg")


def test_radians_are_no_position(hsc: Path) -> None:
    error = refused(hsc, role=Role.DIRECTOR, ra="coord_ra", dec="coord_dec")
    assert error.code == "bad_table" and "radians" in error.message and "coord_ra_deg" in error.advice


@pytest.mark.parametrize(
    ("values", "datatype", "mysql"),
    [
        (pa.array([True]), "boolean", "BOOLEAN"),
        (pa.array([1], pa.int8()), "byte", "TINYINT"),
        (pa.array([1], pa.uint8()), "short", "SMALLINT"),
        (pa.array([1], pa.int16()), "short", "SMALLINT"),
        (pa.array([1], pa.uint16()), "int", "INTEGER"),
        (pa.array([1], pa.int32()), "int", "INTEGER"),
        (pa.array([1], pa.uint32()), "long", "BIGINT"),
        (pa.array([1], pa.int64()), "long", "BIGINT"),
        (pa.array([1], pa.uint64()), "long", "BIGINT UNSIGNED"),
        (pa.array([np.float16(1)]), "float", "FLOAT"),
        (pa.array([1], pa.float32()), "float", "FLOAT"),
        (pa.array([1.0]), "double", "DOUBLE"),
        (pa.array([Decimal("1.25")], pa.decimal128(20, 3)), "double", "DECIMAL(20,3)"),
        (pa.array(["a", "längst", None]), "string", "VARCHAR(7)"),
        (pa.array([""]), "string", "VARCHAR(1)"),
        (pa.array(["x" * 20_000]), "text", "LONGTEXT"),
        (pa.array([0], pa.timestamp("ms")), "timestamp", "DATETIME(6)"),
        (pa.array([0], pa.date32()), "timestamp", "DATE"),
        (pa.array([None, None]), "double", "DOUBLE"),
    ],
)  # fmt: skip
def test_a_column_has_the_type_that_holds_all_its_values(
    values: pa.Array, datatype: str, mysql: str, tmp_path: Path
) -> None:
    (column,) = made(parquet(tmp_path / "t.parquet", x=values)).table.columns
    assert (column.datatype, column.mysql) == (datatype, mysql)
    assert (column.length is not None) is (datatype == "string")


def test_text_of_fixed_width_in_fits_is_char(tmp_path: Path) -> None:
    columns = [fits.Column("band", "8A", array=["g"]), fits.Column("long", "300A", array=["x"])]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "t.fits")
    band, long = made(tmp_path / "t.fits").table.columns
    assert (band.datatype, band.mysql, band.length) == ("char", "CHAR(8)", 8)
    assert (long.datatype, long.mysql) == ("string", "VARCHAR(300)")


def test_a_moment_of_whole_seconds_has_no_fraction() -> None:
    kind = kind_of(pa.timestamp("s"), 0, fixed=False)
    assert kind is not None and (kind.datatype, kind.mysql) == ("timestamp", "DATETIME")


def test_what_is_lost_or_not_known_is_said(tmp_path: Path) -> None:
    path = parquet(tmp_path / "t.parquet", ns=pa.array([0], pa.timestamp("ns")), none=pa.array([None]), dec=["ü"])
    notes = " ".join(made(path).notes)
    assert "ns: nanoseconds are cut" in notes and "none: it has no value" in notes
    assert "beyond ASCII" in notes and "backticks in queries: dec" in notes


def test_a_unit_that_felis_does_not_know_is_said_in_words(tmp_path: Path) -> None:
    columns = [fits.Column(name, "D", array=[1.0], unit=unit) for name, unit in (("a", "furlong"), ("b", "nJy"))]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "t.fits")
    a, b = made(tmp_path / "t.fits").table.columns
    assert (a.unit, a.description, b.unit) == ("", "[furlong]", "nJy")


def test_long_and_odd_names_are_mapped_and_the_mapping_is_kept(tmp_path: Path) -> None:
    long = "modelfit_CModel_initial_" + "flag_numericError_" * 3
    described = made(parquet(tmp_path / "t.parquet", **{long: [1], "psf-flux": [2], "Ra": [3], "ra": [4]}))
    assert described.renamed.keys() == {long, "psf-flux", "ra"}
    assert described.renamed["psf-flux"] == "psf_flux" and len(described.renamed[long]) == 64


@pytest.mark.parametrize("name", ["qserv_trans_id", "chunkId", "SUBCHUNKID"])
def test_columns_that_qserv_adds_are_refused_unless_dropped(name: str, tmp_path: Path) -> None:
    path = parquet(tmp_path / "t.parquet", id=[1], ra=[1.0], decl=[2.0], **{name: [1]})
    wish = {"role": Role.DIRECTOR, "key": "id", "ra": "ra", "dec": "decl"}
    error = refused(path, **wish)
    assert error.code == "bad_name" and f"--drop '{name}'" in error.advice
    described = made(path, drop=(name,), **wish)
    assert [each.name for each in described.table.columns] == ["id", "ra", "decl"]
    assert [(each.column, each.why) for each in described.left_out] == [(name, "dropped, as told")]


@pytest.mark.parametrize(
    ("wish", "code", "told"),
    [
        ({"role": Role.DIRECTOR}, "bad_table", "no key or no position"),
        ({"role": Role.DIRECTOR, "key": "nope", "ra": "ra", "dec": "decl"}, "no_column", "no column nope for the key"),
        ({"role": Role.DIRECTOR, "key": "flux", "ra": "ra", "dec": "decl"}, "bad_table", "not exact"),
        ({"role": Role.DIRECTOR, "key": "id", "ra": "word", "dec": "decl"}, "bad_table", "no position"),
        ({"role": Role.CHILD}, "bad_table", "follows 0 directors, not 1"),
        ({"role": Role.CHILD, "follows": (Follows("Object", "nope"),)}, "no_column", "no column nope for the key of O"),
        ({"drop": ("nope*",)}, "no_column", "no column like nope"),
        ({"name": "1st"}, "bad_name", "no name for a database or a table"),
        ({"name": "x" * 50, "database": "release"}, "bad_name", "57 characters together"),
    ],
)
def test_what_cannot_be_is_refused_by_name(wish: dict[str, object], code: str, told: str, tmp_path: Path) -> None:
    path = parquet(tmp_path / "t.parquet", id=[1], ra=[1.0], decl=[2.0], flux=[0.5], word=["a"])
    error = refused(path, **wish)
    assert (error.code, told in error.message) == (code, True), error
    assert error.advice


def test_names_of_56_characters_together_are_taken(tmp_path: Path) -> None:
    assert made(parquet(tmp_path / "t.parquet", a=[1]), name="x" * 49).table.name == "x" * 49


def test_a_director_with_endless_text_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "t.parquet", id=[1], ra=[1.0], decl=[2.0], notes=["x" * 20_000])
    error = refused(path, role=Role.DIRECTOR, key="id", ra="ra", dec="decl")
    assert error.code == "bad_table" and "--drop 'notes'" in error.advice


def test_files_of_one_table_are_described_together(tmp_path: Path) -> None:
    one = parquet(tmp_path / "1.parquet", id=[1], band=["g"], none=pa.array([None]))
    two = parquet(tmp_path / "2.parquet", band=["long"], id=[2], none=[2.5])
    assert [each.mysql for each in made(one, two).table.columns] == ["BIGINT", "VARCHAR(4)", "DOUBLE"]


@pytest.mark.parametrize(
    ("other", "told", "column"),
    [
        ({"id": [1]}, "has no column flux", "flux"),
        ({"id": [1], "flux": [1.0], "more": [1]}, "has column more", "more"),
        ({"id": [1], "flux": pa.array([1], pa.float32())}, "has flux as float, ", "flux"),
    ],
)
def test_files_that_are_not_of_one_table_are_refused_with_file_and_column(
    other: dict[str, object], told: str, column: str, tmp_path: Path
) -> None:
    first = parquet(tmp_path / "1.parquet", id=[1], flux=[1.0])
    second = parquet(tmp_path / "2.parquet", **other)
    error = refused(first, second)
    assert error.code == "schemas_differ" and told in error.message and str(second) in error.message
    assert made(first, second, drop=(column,)).table.columns[0].name == "id"


def test_files_in_other_units_are_refused(tmp_path: Path) -> None:
    for name, unit in (("1", "nJy"), ("2", "count")):
        column = fits.Column("flux", "D", array=[1.0], unit=unit)
        fits.BinTableHDU.from_columns([column]).writeto(tmp_path / f"{name}.fits")
    error = refused(tmp_path / "1.fits", tmp_path / "2.fits")
    assert error.code == "schemas_differ" and "flux in count" in error.message


def test_csv_files_that_were_guessed_otherwise_get_the_type_for_both(tmp_path: Path) -> None:
    for name, text in (("1", "a,b,c\n1,1,\n"), ("2", "a,b,c\n0.5,xyz,7\n")):
        (tmp_path / f"{name}.csv").write_text(text)
    a, b, c = made(tmp_path / "1.csv", tmp_path / "2.csv").table.columns
    assert (a.mysql, b.mysql, c.mysql) == ("DOUBLE", "VARCHAR(3)", "BIGINT")


def test_a_table_too_wide_is_refused_with_what_to_drop(tmp_path: Path) -> None:
    columns = [fits.Column("id", "K", array=[1]), fits.Column("ap_flux", "4000D", array=np.zeros((1, 4000)))]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "t.fits")
    error = refused(tmp_path / "t.fits")
    assert error.code == "table_too_large" and "--drop 'ap_flux*'" in error.advice
    assert isinstance(made(tmp_path / "t.fits", drop=("ap_flux*",)).table, Table)
