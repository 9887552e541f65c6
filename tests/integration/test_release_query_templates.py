"""Standard queries give known answers: on the chunk tables of case 02, computed anew from its CSV files with NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from doubles import case02
from doubles.qserv_http import qserv_http

from consumers.release.query import Qserv
from consumers.release.table import Column, Database, Role, Table
from stream.local import LocalMariadb

DATABASE, COADDS = "release_query_case02", "release_query_coadds"
FLAGS = ("base_ClassificationExtendedness_flag", "ext_shapeHSM_HsmShapeRegauss_flag", "detect_isPrimary",
         "modelfit_CModel_flag")  # fmt: skip
NUMBERS = ("coord_ra_deg", "coord_dec_deg", "base_ClassificationExtendedness_value", "modelfit_CModel_flux",
           "modelfit_CModel_fluxSigma")  # fmt: skip


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "qserv/case02_test101"


@pytest.fixture(scope="module")
def loaded(mariadb: LocalMariadb, folder: Path) -> Iterator[LocalMariadb]:
    case02.load(mariadb, folder, DATABASE)
    yield mariadb
    mariadb.drop_database(DATABASE)


@pytest.fixture(scope="module")
def described(folder: Path) -> Database:
    return case02.described(folder, DATABASE)


@pytest.fixture(scope="module")
def objects(folder: Path) -> dict[str, Any]:
    return case02.values(folder, "Object")


@pytest.fixture(scope="module")
def sources(folder: Path) -> dict[str, Any]:
    return case02.values(folder, "Source")


@pytest.fixture(params=["mysql", "http"])
def qserv(request: pytest.FixtureRequest, loaded: LocalMariadb) -> Iterator[Qserv]:
    """Plain SQL before MariaDB, and Qserv's functions before the double of its HTTP frontend."""
    with qserv_http(loaded) as service:
        plain = request.param == "mysql"
        with Qserv(loaded.url(DATABASE) if plain else service.url(DATABASE), plain=plain) as made:
            yield made


@pytest.mark.parametrize(
    ("ra", "dec", "radius"),
    [(1.3, 3.25, 0.03), (1.32, 3.3, 0.05), (0.9, 3.2, 0.42), (359.9, 3.1, 1.45), (0.0, 89.9, 86.62)],
)
def test_a_cone_has_the_objects_that_lie_in_it(
    qserv: Qserv, described: Database, objects: dict[str, Any], ra: float, dec: float, radius: float
) -> None:
    centre = SkyCoord(ra, dec, unit="deg")
    apart = centre.separation(SkyCoord(objects["ra_PS"], objects["decl_PS"], unit="deg")).deg
    inside = set(objects["objectId"][apart <= radius].tolist())
    assert 0 < len(inside) < 1000
    rows = qserv.ask("cone", described, {"table": "Object", "ra": ra, "dec": dec, "radius": radius})
    assert rows.num_rows == len(inside) and set(rows["objectId"].to_pylist()) == inside
    assert rows.num_columns == 227 and rows.schema.field("ra_PS").metadata == {b"unit": b"deg"}


def test_the_rim_of_a_cone_lies_in_it(qserv: Qserv, described: Database, objects: dict[str, Any]) -> None:
    ra, dec = 1.3, 3.2
    apart = SkyCoord(ra, dec, unit="deg").separation(SkyCoord(objects["ra_PS"], objects["decl_PS"], unit="deg")).deg
    far = np.sort(apart)[200]
    given = {"table": "Object", "ra": ra, "dec": dec, "columns": "objectId"}
    assert qserv.ask("cone", described, given | {"radius": far * (1 + 1e-9)}).num_rows == 201
    assert qserv.ask("cone", described, given | {"radius": far * (1 - 1e-9)}).num_rows == 200


def test_cones_at_the_first_meridian_and_at_the_poles_have_what_lies_in_them(
    qserv: Qserv, loaded: LocalMariadb, rng: np.random.Generator
) -> None:
    ra = np.concatenate([rng.uniform(-3, 3, 300) % 360, rng.uniform(0, 360, 600), [0.0, 359.9999999]])
    dec = np.concatenate([rng.uniform(-3, 3, 300), rng.uniform(86, 90, 300), rng.uniform(-90, -86, 300), [0.0, 0.0]])
    loaded.execute("CREATE TABLE Points (id BIGINT, ra_PS DOUBLE, decl_PS DOUBLE) ENGINE=MyISAM", database=DATABASE)
    rows = ", ".join(f"({at}, {a!r}, {d!r})" for at, (a, d) in enumerate(zip(ra.tolist(), dec.tolist())))
    loaded.execute(f"INSERT INTO Points VALUES {rows}", database=DATABASE)
    columns = (Column("id", "id", "long", "BIGINT"), *(Column(n, n, "double", "DOUBLE") for n in ("ra_PS", "decl_PS")))
    points = Database(DATABASE, (Table("Points", Role.DIRECTOR, columns, key="id", ra="ra_PS", dec="decl_PS"),))
    everywhere = SkyCoord(ra, dec, unit="deg")
    for at, radius in [((0, 0), 2), ((359.5, 1), 1.5), ((360, -1), 1), ((200, 89), 2), ((10, 90), 1), ((77, -88), 2)]:
        inside = SkyCoord(*at, unit="deg").separation(everywhere).deg <= radius
        assert inside.sum() > 10
        given = {"table": "Points", "ra": at[0], "dec": at[1], "radius": radius, "columns": "id"}
        assert sorted(qserv.ask("cone", points, given)["id"].to_pylist()) == np.flatnonzero(inside).tolist(), at
    loaded.execute("DROP TABLE Points", database=DATABASE)


def test_a_light_curve_has_the_sources_of_its_object_in_order_of_time(
    qserv: Qserv, described: Database, sources: dict[str, Any]
) -> None:
    numbers, counts = np.unique(sources["objectId"], return_counts=True)
    for number in (numbers[counts.argmax()], numbers[counts.argmin()]):
        of_it = sources["objectId"] == number
        rows = qserv.ask("light-curve", described, {"table": "Source", "id": number, "columns": "sourceId, psfFlux"})
        assert rows.column_names == ["taiMidPoint", "sourceId", "psfFlux"]
        times = rows["taiMidPoint"].to_numpy()
        assert np.array_equal(times, np.sort(sources["taiMidPoint"][of_it]))
        found = dict(zip(rows["sourceId"].to_pylist(), rows["psfFlux"].to_pylist(), strict=True))
        assert found == dict(zip(sources["sourceId"][of_it].tolist(), sources["psfFlux"][of_it].tolist(), strict=True))


def test_counts_per_chunk_are_the_rows_of_the_chunks_without_their_overlap(qserv: Qserv, described: Database) -> None:
    assert qserv.ask("chunks", described, {"table": "Object"}).to_pylist() == [{"chunkId": 7480, "n": 1000}]
    assert qserv.ask("chunks", described, {"table": "Source"}).to_pylist() == [{"chunkId": 7480, "n": 4583}]


def test_a_galaxy_selection_by_other_columns_has_the_rows_that_numpy_selects(
    qserv: Qserv, described: Database, objects: dict[str, Any]
) -> None:
    given = {
        "table": "Object", "extendedness": "rRadius_SG", "least_extendedness": "0.75", "primary": "",
        "extendedness_flag": "flags", "flux": "rFlux_PS", "flux_err": "rFlux_PS_Sigma", "least_snr": 20,
        "shear_flag": "", "flux_flag": "",
    }  # fmt: skip
    flux, error = (objects[name].astype(np.float32).astype(np.float64) for name in ("rFlux_PS", "rFlux_PS_Sigma"))
    with np.errstate(invalid="ignore"):
        good = (objects["rRadius_SG"] >= 0.75) & (objects["flags"] == 0) & (flux > 0) & (flux / error > 20)
    assert 10 < good.sum() < 900
    rows = qserv.ask("galaxies", described, given)
    assert rows.column_names == ["objectId", "ra_PS", "decl_PS", "rFlux_PS", "rFlux_PS_Sigma"]
    assert sorted(rows["objectId"].to_pylist()) == sorted(objects["objectId"][good].tolist())
    assert qserv.ask("galaxies", described, given | {"limit": "7"}).num_rows == 7


def test_the_galaxies_of_a_stack_catalogue_are_those_of_its_own_values(
    mariadb: LocalMariadb, shared_data: Path
) -> None:
    path = shared_data / "qserv/afw_fits/deepCoadd_meas_HSC_v2.fits"
    table = coadd_values(path)
    mariadb.create_database(COADDS)
    columns = ", ".join(f"`{name}` DOUBLE" for name in NUMBERS) + "".join(f", `{name}` TINYINT" for name in FLAGS)
    mariadb.execute(f"CREATE TABLE meas (id BIGINT NOT NULL, {columns}) ENGINE=MyISAM", database=COADDS)
    for at, number in enumerate(table["id"]):
        row = [table[name][at] for name in (*NUMBERS, *FLAGS)]
        values = ", ".join("NULL" if np.isnan(value) else repr(float(value)) for value in row)
        mariadb.execute(f"INSERT INTO meas VALUES ({number}, {values})", database=COADDS)
    described = Database(COADDS, (coadd_table(),))
    with Qserv(mariadb.url(COADDS), plain=True) as qserv:
        for least, snr in ((0.5, 10), (0.0, 0), (0.0, 40)):
            found = qserv.ask("galaxies", described, {"table": "meas", "least_extendedness": least, "least_snr": snr})
            assert sorted(found["id"].to_pylist()) == galaxies(table, least, snr)
    assert 0 < len(galaxies(table, 0.0, 0)) < 10
    mariadb.drop_database(COADDS)


def coadd_values(path: Path) -> dict[str, Any]:
    """The columns that the selection reads, flags unpacked by what the header says of them."""
    with fits.open(path) as found:
        header, rows = found[1].header, found[1].data
        flags = {header[key]: int(key[5:]) - 1 for key in header if key.startswith("TFLAG")}
        table = {name: np.asarray(rows[name], np.float64) for name in NUMBERS if name in rows.names}
        table |= {name: np.asarray(rows["flags"][:, flags[name]], np.float64) for name in FLAGS}
        table["id"] = np.asarray(rows["id"], np.int64)
        for name in ("ra", "dec"):
            table[f"coord_{name}_deg"] = np.degrees(np.asarray(rows[f"coord_{name}"], np.float64))
    return table


def coadd_table() -> Table:
    columns = (
        Column("id", "id", "long", "BIGINT"),
        *(Column(name, name, "double", "DOUBLE") for name in NUMBERS),
        *(Column(name, name, "boolean", "TINYINT") for name in FLAGS),
    )
    return Table("meas", Role.DIRECTOR, columns, key="id", ra="coord_ra_deg", dec="coord_dec_deg")


def galaxies(table: dict[str, Any], least: float, snr: float) -> list[int]:
    """What `select_galaxies` of the HSC pipelines' users chose."""
    flux, error = table["modelfit_CModel_flux"], table["modelfit_CModel_fluxSigma"]
    with np.errstate(invalid="ignore"):
        good = (table["base_ClassificationExtendedness_value"] >= least) & (flux > 0) & (flux / error > snr)
    for name, wanted in zip(FLAGS, (0, 0, 1, 0), strict=True):
        good &= table[name] == wanted
    return sorted(table["id"][good].tolist())
