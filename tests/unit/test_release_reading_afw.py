"""Tables of the science pipelines in FITS are read as astropy reads them, with what afw means by them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits

from consumers.release.reading import DESCRIPTION, UNIT, Catalogue, open_catalogue
from stream.errors import Wrong

KNOWN = {
    # file: form, columns, flags, rows
    "CompoundFieldConversion.fits": ("afw table version 1", 30, 0, 1),
    "deepCoadd_meas_HSC_v2.fits": ("afw table version 1", 500, 237, 10),
    "empty-v0.fits": ("afw table version 0", 272, 82, 0),
    "exposure_catalog_v1.fits": ("afw table version 1", 7, 0, 2),
    "ps1-refcat-v1.fits": ("afw table version 1", 23, 0, 10),
    "sourceCatalog-hsc-v2.fits": ("afw table version 1", 229, 114, 5),
    "sourceTable-v1.fits": ("afw table version 1", 21, 3, 3),
    "sourceTable-v2.fits": ("afw table version 2", 21, 3, 3),
}


@pytest.fixture
def folder(shared_data: Path) -> Path:
    return shared_data / "qserv/afw_fits"


def whole(catalogue: Catalogue, rows: int = 1 << 16) -> pa.Table:
    return pa.Table.from_batches(catalogue.batches(rows=rows), schema=catalogue.schema)


def by_astropy(path: Path) -> tuple[Any, fits.Header]:
    with fits.open(path, memmap=False) as hdus:
        return hdus[1].data, hdus[1].header


def flags_of(header: fits.Header) -> Iterator[tuple[int, str]]:
    width = int(header.get(f"TFORM{header.get('FLAGCOL', 1)}", "0X").rstrip("X") or 1) if "FLAGCOL" in header else 0
    return ((number, header[f"TFLAG{number + 1}"]) for number in range(width))


@pytest.mark.parametrize("name", KNOWN)
def test_columns_flags_and_rows_are_as_many_as_known(name: str, folder: Path) -> None:
    catalogue = open_catalogue(folder / name)
    flags = sum(pa.types.is_boolean(each.type) for each in catalogue.schema)
    assert (catalogue.form, len(catalogue.schema), flags, catalogue.rows) == KNOWN[name]
    assert whole(catalogue).num_rows == catalogue.rows


def test_every_real_file_is_read_or_refused(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {*KNOWN, "legacyHeavyFootprint.fits"}


@pytest.mark.parametrize("name", KNOWN)
def test_every_value_is_astropys(name: str, folder: Path) -> None:
    data, header = by_astropy(folder / name)
    read = whole(open_catalogue(folder / name), rows=3)
    compared = 0
    for column in data.columns.names:
        if column in read.column_names and data[column].ndim == 1:
            theirs = data[column].astype(data[column].dtype.newbyteorder("="))
            np.testing.assert_array_equal(read[column].to_numpy(), theirs, err_msg=column)
            compared += 1
        elif data[column].ndim == 2 and f"{column}_0" in read.column_names:
            ours = np.column_stack([read[f"{column}_{each}"].to_numpy() for each in range(data[column].shape[1])])
            np.testing.assert_array_equal(ours, data[column], err_msg=column)
            compared += 1
    for number, flag in flags_of(header):
        np.testing.assert_array_equal(read[flag].to_numpy(), data["flags"][:, number], err_msg=flag)
        compared += 1
    left_out = len(open_catalogue(folder / name).left_out)
    compound = sum(str(value).split("(")[0] in ("Point", "Coord", "Moments", "Covariance")
                   for key, value in header.items() if key.startswith("TCCLS"))  # fmt: skip
    packed = 1 if "FLAGCOL" in header else 0
    assert compared == len(data.columns) - packed - left_out - compound + len(list(flags_of(header)))


@pytest.mark.parametrize("name", ["deepCoadd_meas_HSC_v2.fits", "ps1-refcat-v1.fits", "sourceTable-v1.fits"])
def test_positions_come_in_radians_and_in_degrees(name: str, folder: Path) -> None:
    catalogue = open_catalogue(folder / name)
    read = whole(catalogue)
    for angle in ("coord_ra", "coord_dec"):
        np.testing.assert_array_equal(read[f"{angle}_deg"].to_numpy(), np.degrees(read[angle].to_numpy()))
        assert catalogue.schema.field(angle).metadata[UNIT] == b"rad"
        assert catalogue.schema.field(f"{angle}_deg").metadata[UNIT] == b"deg"


def test_positions_that_are_nan_stay_nan(folder: Path) -> None:
    read = whole(open_catalogue(folder / "sourceTable-v1.fits"))
    assert np.isnan(read["coord_ra_deg"].to_numpy()).any() and read["coord_ra_deg"].null_count == 0


def test_compound_fields_become_the_columns_of_later_versions(folder: Path) -> None:
    (row,) = whole(open_catalogue(folder / "CompoundFieldConversion.fits")).to_pylist()
    assert (row["point_i_x"], row["point_i_y"], row["point_d_x"], row["point_d_y"]) == (4, 5, 3.5, 2.0)
    assert (row["moments_xx"], row["moments_yy"], row["moments_xy"]) == (5.0, 6.5, 2.25)
    assert (row["coord_ra"], row["coord_dec"]) == (1.0, 0.5)
    assert (row["coord_ra_deg"], row["coord_dec_deg"]) == (np.degrees(1.0), np.degrees(0.5))
    assert [row[f"cov_z_{each}Err"] for each in range(4)] == [2.0, 1.5, 2.5, 3.0]
    pairs = {"0_1": 1.25, "0_2": 1.5, "1_2": 0.5, "0_3": 0.75, "1_3": 0.25, "2_3": 1.75}
    assert {pair: row[f"cov_z_{pair}_Cov"] for pair in pairs} == pairs
    assert row["cov_p_xErr"] == np.sqrt(np.float32(5.5)) and row["cov_p_x_y_Cov"] == -2.0
    assert row["cov_m_yyErr"] == np.sqrt(np.float32(4.5)) and row["cov_m_yy_xy_Cov"] == 0.75


def test_footprints_and_what_points_to_them_are_left_out_and_said_so(folder: Path) -> None:
    catalogue = open_catalogue(folder / "deepCoadd_meas_HSC_v2.fits")
    assert [each.column for each in catalogue.left_out] == ["footprint"]
    assert "archive" in catalogue.left_out[0].why
    assert any("HDU 2 to 5" in note for note in catalogue.notes)
    exposures = open_catalogue(folder / "exposure_catalog_v1.fits")
    assert [each.column for each in exposures.left_out] == ["wcs", "psf", "calib", "apCorrMap", "validPolygon"]
    with pytest.raises(Wrong, match="footprint is left out: archive ID for Footprint") as refused:
        list(catalogue.batches(["id", "footprint"]))
    assert refused.value.code == "no_column"


def test_a_file_of_footprints_alone_is_refused(folder: Path) -> None:
    with pytest.raises(Wrong, match="archives of afw objects") as refused:
        open_catalogue(folder / "legacyHeavyFootprint.fits")
    assert refused.value.code == "bad_catalogue" and "legacyHeavyFootprint" in refused.value.message


@pytest.mark.parametrize(
    ("name", "column", "also"),
    [
        ("sourceTable-v1.fits", "a_flux", {"a_instFlux", "slot_PsfFlux_flux", "slot_PsfFlux_instFlux"}),
        ("sourceTable-v1.fits", "a_fluxSigma", {"a_instFluxErr", "slot_PsfFlux_instFluxErr"}),
        ("sourceTable-v1.fits", "b_xSigma", {"b_xErr", "slot_Centroid_xErr"}),
        ("sourceTable-v2.fits", "a_fluxErr", {"a_instFluxErr"}),
        ("deepCoadd_meas_HSC_v2.fits", "base_PsfFlux_flux", {"base_PsfFlux_instFlux", "slot_PsfFlux_instFlux"}),
        ("deepCoadd_meas_HSC_v2.fits", "base_SdssCentroid_flag", {"base_PsfFlux_flag_badCentroid"}),
        ("empty-v0.fits", "flux_psf", {"slot_PsfFlux"}),
        ("empty-v0.fits", "centroid_sdss_x", {"slot_Centroid_x"}),
        ("empty-v0.fits", "shape_hsm_moments_flags", {"slot_Shape_flag"}),
    ],
)
def test_aliases_are_said_where_the_column_is_described(name: str, column: str, also: set[str], folder: Path) -> None:
    told = open_catalogue(folder / name).schema.field(column).metadata[DESCRIPTION].decode()
    assert "Also: " in told
    assert also <= set(told.rpartition("Also: ")[2].rstrip(".").split(", "))


def test_flags_keep_their_order_and_meaning(folder: Path) -> None:
    path = folder / "sourceCatalog-hsc-v2.fits"
    _, header = by_astropy(path)
    schema = open_catalogue(path).schema
    names = [flag for _, flag in flags_of(header)]
    assert schema.names[: len(names)] == names
    assert schema.field("calib_detected").metadata[DESCRIPTION] == b"Source was detected as an icSource"
    assert not schema.field("calib_detected").nullable


def test_batches_have_the_columns_asked_for_in_their_order_and_no_more_rows(folder: Path) -> None:
    catalogue = open_catalogue(folder / "deepCoadd_meas_HSC_v2.fits")
    batches = list(catalogue.batches(["coord_ra_deg", "merge_footprint_r", "id"], rows=4))
    assert [batch.num_rows for batch in batches] == [4, 4, 2]
    assert all(batch.schema.names == ["coord_ra_deg", "merge_footprint_r", "id"] for batch in batches)
    together = pa.Table.from_batches(batches)
    assert together.equals(whole(catalogue).select(together.column_names))


def test_a_table_of_version_3_has_its_own_names_flags_beyond_a_byte_and_arrays(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    flags = rng.random((6, 19)) < 0.5
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("id", "K", array=np.arange(6)),
            fits.Column("coord_ra", "D", array=np.linspace(0, 6, 6), unit="rad"),
            fits.Column("base_PsfFlux_instFlux", "D", array=rng.random(6), unit="count"),
            fits.Column("bits", "19X", array=flags),
            fits.Column("radii", "3E", array=rng.random((6, 3)).astype("f4")),
            fits.Column("tilt", "2D", array=rng.random((6, 2)), unit="rad"),
            fits.Column("visits", "I", array=np.arange(6, dtype="u2"), bzero=2**15),
            fits.Column("filter", "4A", array=["g", "r", "i", "z", "y", "u"]),
            fits.Column("spans", "PJ()", array=np.array([np.arange(each) for each in range(6)], object)),
        ]
    )
    table.header.update({"FLAGCOL": 4, "TCCLS2": "Angle", "TCCLS5": "Array", "TCCLS6": "Array"})
    table.header.update({"ALIAS": "slot_PsfFlux:base_PsfFlux", "HIERARCH AFW_TABLE_VERSION": 3})
    table.header.update({f"TFLAG{number}": f"flag_{number}" for number in range(1, 20)})
    table.writeto(tmp_path / "v3.fits")
    catalogue = open_catalogue(tmp_path / "v3.fits")
    read = whole(catalogue, rows=4)
    assert catalogue.form == "afw table version 3"
    assert read.column_names == [
        "id", "coord_ra", "coord_ra_deg", "base_PsfFlux_instFlux", *(f"flag_{number}" for number in range(1, 20)),
        "radii_0", "radii_1", "radii_2", "tilt_0", "tilt_1", "visits", "filter",
    ]  # fmt: skip
    got = np.column_stack([read[f"flag_{number}"].to_numpy() for number in range(1, 20)])
    np.testing.assert_array_equal(got, flags)
    assert read["visits"].type == pa.uint16() and read["filter"].to_pylist() == list("grizyu")
    assert [each.column for each in catalogue.left_out] == ["spans"]
    told = catalogue.schema.field("base_PsfFlux_instFlux").metadata[DESCRIPTION]
    assert told == b"Also: slot_PsfFlux_instFlux."
