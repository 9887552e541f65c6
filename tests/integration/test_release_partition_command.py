"""`skyburst release partition` from the command line, and its files in a real MariaDB."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pymysql
import pytest
from click.testing import CliRunner, Result
from doubles.release_tables import OBJECT, SOURCE, objects, sources, write

from consumers.release.command import release
from consumers.release.description import felis_file
from consumers.release.description.describe import Wish, describe
from consumers.release.manifest import read
from consumers.release.reading import open_catalogue
from consumers.release.table import Database, Role
from stream.errors import SkyburstError
from stream.local import LocalMariadb


def call(*arguments: object) -> Result:
    """Run ``release partition``; an error of ours is raised."""
    result = CliRunner().invoke(release, ["partition", *map(str, arguments)])
    if isinstance(result.exception, SkyburstError):
        raise result.exception
    return result


@pytest.fixture
def described(tmp_path: Path) -> Path:
    felis_file.write(Database("dr1", (OBJECT, SOURCE)), tmp_path / "release.yaml")
    return tmp_path / "release.yaml"


def test_the_command_partitions_a_director_and_its_child_and_reports_them(
    described: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    made = objects(rng, 3000)
    source = sources(rng, np.append(made["objectId"].to_numpy()[:200], 10**9), 2000)
    one, two = write(made, tmp_path / "object.parquet"), write(source, tmp_path / "source.parquet")
    layout = ["--stripes", 85, "--sub-stripes", 12]
    done = call(described, "Object", one, "--to", tmp_path / "dr1", *layout, "--json", "--workers", 2)
    told = json.loads(done.stdout)
    manifest = read(tmp_path / "dr1/Object")
    assert done.exit_code == 0
    assert told["rows_read"] == told["rows_written"] == 3000 and told["rejected"] == 0
    assert told["overlap_rows"] == sum(file.rows for file in manifest.files if file.overlap) > 0
    assert told["layout"] == {"stripes": 85, "sub_stripes": 12, "overlap": 0.01667}
    assert (tmp_path / "dr1/Object/description.yaml").read_bytes() == described.read_bytes()
    child = call(described, "Source", two, "--to", tmp_path / "dr1")
    rejected = sum(each == 10**9 for each in source["objectId"].to_pylist())
    assert child.exit_code == 0 and rejected > 0
    assert f"rejected as\tkey_unknown {rejected}" in child.stdout and "rejects.csv" in child.stdout
    assert read(tmp_path / "dr1/Source").layout == manifest.layout
    assert "Source: cutting" in child.stderr and "Source: merging" in child.stderr


def test_a_child_before_its_director_and_a_layout_that_differs_are_refused(
    described: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    made = objects(rng, 300)
    two = write(sources(rng, made["objectId"].to_numpy(), 20), tmp_path / "source.parquet")
    with pytest.raises(SkyburstError, match="has no manifest"):
        call(described, "Source", two, "--to", tmp_path / "dr1")
    call(described, "Object", write(made, tmp_path / "o.parquet"), "--to", tmp_path / "dr1")
    with pytest.raises(SkyburstError, match="otherwise than its director") as refused:
        call(described, "Source", two, "--to", tmp_path / "dr1", "--stripes", 85)
    assert refused.value.code == "bad_layout"


@pytest.mark.parametrize(
    "wrong", [["--csv-delimiter", "ab"], ["--stripes", "0"], ["--workers", "none"], ["--to"]], ids=lambda each: each[0]
)
def test_wrong_options_end_with_2(described: Path, tmp_path: Path, wrong: list[str]) -> None:
    assert call(described, "Object", tmp_path / "x.csv", "--to", tmp_path, *wrong).exit_code == 2


def test_a_catalogue_of_the_stack_is_cut_by_its_angles_in_degrees(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "qserv/afw_fits/deepCoadd_meas_HSC_v2.fits"
    catalogue = open_catalogue(path)
    table = describe([catalogue], Wish("deepCoadd_meas", Role.DIRECTOR, database="dr1")).table
    felis_file.write(Database("dr1", (table,)), tmp_path / "release.yaml")
    assert call(tmp_path / "release.yaml", "deepCoadd_meas", path, "--to", tmp_path / "dr1").exit_code == 0
    manifest = read(tmp_path / "dr1/deepCoadd_meas")
    assert manifest.rows == catalogue.rows == sum(file.rows for file in manifest.files if not file.overlap)
    assert manifest.rejected == {}


def test_mariadb_loads_chunk_files_without_a_warning_and_has_the_catalogues_values(
    described: Path, tmp_path: Path, rng: np.random.Generator, mariadb: LocalMariadb, level1_url: str
) -> None:
    made = objects(rng, 2000)
    odd = ["\\N", "", "a\\", "x,y\tz\n\r", "\0", "NULL", "é, ☆", None]
    names = pa.array([odd[i % len(odd)] for i in range(2000)])
    flux = np.where(rng.random(2000) < 0.5, np.inf, rng.integers(0, 2**63, 2000).view(np.float64))
    made = made.set_column(4, "name", names).set_column(3, "flux", pa.array(flux))
    call(described, "Object", write(made, tmp_path / "o.parquet"), "--to", tmp_path / "dr1")
    connection = pymysql.connect(
        host="127.0.0.1", port=mariadb.port, user="skyburst", password=mariadb.password, local_infile=True,
        database=level1_url.rpartition("/")[2].partition("?")[0], charset="utf8mb4",
    )  # fmt: skip
    with connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION sql_mode = ''")
        cursor.execute(
            "CREATE TABLE o (objectId BIGINT, ra DOUBLE, `dec` DOUBLE, flux DOUBLE, name VARCHAR(255),"
            " chunkId INT NOT NULL, subChunkId INT NOT NULL) ENGINE=MyISAM CHARSET=utf8mb4"
        )
        for file in read(tmp_path / "dr1/Object").files:
            if not file.overlap:
                path = tmp_path / "dr1/Object" / file.path
                loaded = cursor.execute(
                    f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE o CHARACTER SET utf8mb4"
                    r" FIELDS TERMINATED BY ',' ESCAPED BY '\\'"
                )
                assert loaded == file.rows
                assert cursor.execute("SHOW WARNINGS") == 0
        cursor.execute("SELECT objectId, ra, `dec`, flux, name FROM o ORDER BY objectId")
        found: list[tuple[Any, ...]] = list(cursor.fetchall())
    expected = [
        (row["objectId"], row["ra"], row["dec"], row["flux"] if math.isfinite(row["flux"]) else None, row["name"])
        for row in sorted(made.to_pylist(), key=lambda row: row["objectId"])
    ]
    assert [(row[0], *row[4:]) for row in found] == [(row[0], *row[4:]) for row in expected]
    for column in (1, 2, 3):
        assert [row[column] for row in found] == [row[column] for row in expected]


def test_describe_and_partition_read_csv_alike_unless_told_otherwise(tmp_path: Path) -> None:
    path, felis = tmp_path / "t.tsv", tmp_path / "csv.yaml"
    path.write_text(
        "id\tra\tdec\tn\tname\n1\t10.5\t1.5\tNULL\tNULL\n2\t10.6\t1.5\t7\t\\N\n3\t10.7\t1.5\t\t\n4\t10.8\t1.5\t0\tu\n"
    )
    named = ["--table", "T", "--key", "id", "--ra", "ra", "--dec", "dec", "--database", "dr1", "--into", str(felis)]
    assert CliRunner().invoke(release, ["describe", str(path), *named]).exit_code == 0
    assert [each.mysql for each in felis_file.read(felis).table("T").columns][3:] == ["BIGINT", "VARCHAR(4)"]
    call(felis, "T", path, "--to", tmp_path / "dr1", "--csv-header", "--workers", 1)
    lines = [line for file in (tmp_path / "dr1/T").glob("chunk_*[0-9].txt") for line in file.read_text().splitlines()]
    assert sorted(line.split("\t")[3:5] for line in lines) == [["0", "u"], ["7", "\\N"], ["\\N", ""], ["\\N", "NULL"]]


def test_a_backslash_escapes_as_for_qservs_partitioner_and_both_verbs_tell_so(tmp_path: Path) -> None:
    path, felis = tmp_path / "t.csv", tmp_path / "csv.yaml"
    path.write_text("id,ra,dec,name\n1,10.5,1.5,C:\\name\n")
    named = ["--table", "T", "--key", "id", "--ra", "ra", "--dec", "dec", "--database", "dr1", "--into", str(felis)]
    described = CliRunner().invoke(release, ["describe", str(path), *named])
    assert described.exit_code == 0 and "--csv-escape none" in described.output
    told = ["partition", str(felis), "T", str(path), "--to", str(tmp_path / "dr1"), "--csv-header", "--workers", "1"]
    done = CliRunner().invoke(release, told)
    assert done.exit_code == 0 and "C:\\\\name" in done.output and "--csv-escape none" in done.output
    (file,) = (tmp_path / "dr1/T").glob("chunk_*[0-9].txt")
    assert file.read_text().startswith("1,10.5,1.5,C:\\name,"), "as it came: Qserv reads a line's end in it"
    again = CliRunner().invoke(release, [*told, "--csv-escape", "none", "--anew"])
    assert again.exit_code == 0 and "--csv-escape" not in again.output
    assert file.read_text().startswith("1,10.5,1.5,C:\\\\name,")
