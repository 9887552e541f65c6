"""``skyburst release describe`` prints a table, adds it to the release's felis file, and says what it left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from consumers.release.command import release
from consumers.release.description import felis_file, qserv_json
from consumers.release.table import Database, Follows, Role
from stream.errors import Wrong

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Run ``release describe``; an error of ours is raised."""

    def call(*arguments: object) -> Result:
        result = CliRunner().invoke(release, ["describe", *map(str, arguments)])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def qserv(shared_data: Path) -> Path:
    return shared_data / "qserv"


def some(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table({"id": [1], "ra": [1.0], "decl": [2.0], **columns}), path)
    return path


SKY = ("--key", "id", "--ra", "ra", "--dec", "decl", "--database", "release")


def test_a_director_and_what_follows_it_come_into_one_file(run: Run, qserv: Path, tmp_path: Path) -> None:
    fits, into = qserv / "afw_fits/deepCoadd_meas_HSC_v2.fits", tmp_path / "release.yaml"
    first = run(fits, "--table", "deepCoadd_ref", "--database", "hsc", "--into", into)
    lines = first.stdout.splitlines()
    assert lines[0].split("\t")[:3] == ["column", "type", "null"] and len(lines) == 501
    assert "left out: footprint (archive ID for Footprint" in first.stderr and f"written: {into}" in first.stderr
    run(fits, "--table", "deepCoadd_meas", "--director", "deepCoadd_ref", "--director-key", "id", "--into", into)
    pair = [word for side in ("left", "right") for word in ("--director", "deepCoadd_ref", "--director-key", side)]
    run(some(tmp_path / "m.parquet", left=[1], right=[2]), "--table", "pairs", *pair, "--into", into)
    run(some(tmp_path / "f.parquet", name=["i"]), "--table", "filter", "--role", "regular", "--into", into)
    database = felis_file.read(into)
    assert database.name == "hsc"
    assert [(table.name, table.role) for table in database.tables] == [
        ("deepCoadd_ref", Role.DIRECTOR),
        ("deepCoadd_meas", Role.CHILD),
        ("pairs", Role.MATCH),
        ("filter", Role.REGULAR),
    ]
    assert database.table("deepCoadd_ref").ra == "coord_ra_deg"
    assert database.table("pairs").follows == (Follows("deepCoadd_ref", "left"), Follows("deepCoadd_ref", "right"))
    assert database.table("filter").ra == ""


def test_the_tables_of_case02_are_taken_from_qservs_json(run: Run, qserv: Path, tmp_path: Path) -> None:
    folder, into = qserv / "case02_test101/ingest", tmp_path / "release.yaml"
    first = run(folder / "Object.json", "--into", into)
    assert "left out: chunkId (partitioning adds it); subChunkId (partitioning adds it)" in first.stderr
    run(folder / "Source.json", "--ra", "raObject", "--dec", "declObject", "--into", into)
    run(folder / "table_Filter.json", "--into", into)
    database = felis_file.read(into)
    director, child, regular = database.tables
    assert database.name == "qcase02"
    assert (director.key, director.ra, director.dec, len(director.columns)) == ("objectId", "ra_PS", "decl_PS", 225)
    assert (child.ra, child.dec, child.follows, len(child.columns)) == (
        "raObject", "declObject", (Follows("Object", "objectId"),), 92,
    )  # fmt: skip
    assert (regular.role, [each.mysql for each in regular.columns]) == (
        Role.REGULAR, ["TINYINT", "CHAR(3)", "FLOAT", "FLOAT"],
    )  # fmt: skip
    assert director.column("iauId").mysql == "CHAR(34)" and not director.column("objectId").nullable


def test_csv_is_described_with_the_names_told(run: Run, qserv: Path) -> None:
    told = run(
        qserv / "case02_test101/input/Filter.csv", "--table", "Filter", "--role", "regular", "--database", "x",
        "--csv-delimiter", "tab", "--csv-columns", "filterId,filterName,photClam,photBW", "--json",
    )  # fmt: skip
    (table,) = json.loads(told.stdout)
    types = {each["column"]: each["type"] for each in table["columns"]}
    assert types == {"filterId": "BIGINT", "filterName": "VARCHAR(2)", "photClam": "BIGINT", "photBW": "BIGINT"}


def test_json_tells_all_that_is_to_be_said(run: Run, tmp_path: Path) -> None:
    path = some(tmp_path / "t.parquet", **{"psf-flux": [1.0], "spans": [[1]], "aux": [1]})
    (told,) = json.loads(run(path, "--table", "Object", *SKY, "--drop", "a*", "--json").stdout)
    assert (told["table"], told["role"], told["key"], told["ra"], told["dec"]) == (
        "Object", "director", "id", "ra", "decl",
    )  # fmt: skip
    assert told["renamed"] == {"psf-flux": "psf_flux"}
    assert told["left_out"] == [
        {"column": "spans", "why": "an array of variable length"},
        {"column": "aux", "why": "dropped, as told"},
    ]
    assert told["columns"][3]["column"] == "psf_flux" and told["columns"][3]["catalogue"] == "psf-flux"


def test_a_table_that_is_there_is_changed_only_when_told(run: Run, tmp_path: Path) -> None:
    path, into = some(tmp_path / "t.parquet"), tmp_path / "release.yaml"
    run(path, "--table", "Object", *SKY, "--into", into)
    written = into.read_bytes()
    run(path, "--table", "Object", *SKY, "--into", into)
    assert into.read_bytes() == written
    some(path, flux=[1.0])
    with pytest.raises(Wrong) as refused:
        run(path, "--table", "Object", *SKY, "--into", into)
    assert refused.value.code == "table_exists" and into.read_bytes() == written
    run(path, "--table", "Object", *SKY, "--into", into, "--replace")
    assert len(felis_file.read(into).table("Object").columns) == 4


def test_what_is_refused_leaves_the_file_as_it_was(run: Run, tmp_path: Path) -> None:
    into = tmp_path / "release.yaml"
    wide = some(tmp_path / "wide.parquet", **{f"base_Wide_{each}": [1] for each in range(4000)})
    with pytest.raises(Wrong) as refused:
        run(wide, "--table", "Object", *SKY, "--into", into)
    assert refused.value.code == "table_too_large" and "--drop 'base_Wide*'" in refused.value.advice
    assert not into.exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--table", "T", "--role", "regular", "--into", "new.yaml"), "no_database"),
        (("--role", "regular", "--database", "x"), "bad_name"),
        (("--table", "T", "--director", "Object", "--database", "x"), "bad_table"),
        (("--table", "T", "--director", "Object", "--director-key", "id", "--database", "x", "--into", "new.yaml"),
         "unknown_table"),
        (("--table", "T", *SKY, "--hdu", "0"), ""),
        (("--table", "T", *SKY, "--csv-quote", "two"), ""),
    ],
)  # fmt: skip
def test_wrong_use_is_refused(
    arguments: tuple[str, ...], code: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = some(tmp_path / "t.parquet")
    if not code:
        assert run(path, *arguments).exit_code == click.UsageError.exit_code
        return
    with pytest.raises(Wrong) as refused:
        run(path, *arguments)
    assert refused.value.code == code and refused.value.advice and not (tmp_path / "new.yaml").exists()


def test_another_database_is_not_mixed_into_a_file(run: Run, tmp_path: Path) -> None:
    path, into = some(tmp_path / "t.parquet"), tmp_path / "release.yaml"
    run(path, "--table", "Object", *SKY, "--into", into)
    with pytest.raises(Wrong, match="describes the database release, not other") as refused:
        run(path, "--table", "Object", *SKY[:-1], "other", "--into", into)
    assert refused.value.code == "no_database"


def test_a_felis_file_is_taken_whole_or_by_table_with_another_role(run: Run, tmp_path: Path) -> None:
    path, theirs, ours = some(tmp_path / "t.parquet"), tmp_path / "theirs.yaml", tmp_path / "ours.yaml"
    run(path, "--table", "Object", *SKY, "--into", theirs)
    run(path, "--table", "Source", "--director", "Object", "--director-key", "id", "--into", theirs)
    run(theirs, "--into", ours)
    assert felis_file.read(ours) == felis_file.read(theirs)
    run(theirs, "--table", "Source", "--role", "regular", "--drop", "ra", "--into", ours, "--replace")
    source = felis_file.read(ours).table("Source")
    assert source.role is Role.REGULAR and [each.name for each in source.columns] == ["id", "decl"]
    with pytest.raises(Wrong, match="several tables are described"):
        run(theirs, "--role", "regular")


def test_a_json_file_that_describes_no_table_is_refused(run: Run, qserv: Path) -> None:
    with pytest.raises(Wrong, match=r"database\.json does not describe a table") as refused:
        run(qserv / "case01/ingest/database.json")
    assert refused.value.code == "bad_table"


@pytest.mark.parametrize(
    ("theirs", "datatype", "mysql", "length"),
    [
        ("bigint(20) NOT NULL", "long", "BIGINT", None),
        ("BIGINT(20) UNSIGNED", "long", "BIGINT UNSIGNED", None),
        ("int(11) default null", "int", "INTEGER", None),
        ("MEDIUMINT(8) unsigned", "int", "MEDIUMINT(8) UNSIGNED", None),
        ("tinyint(1)", "byte", "TINYINT", None),
        ("bool", "boolean", "BOOLEAN", None),
        ("bit(1)", "boolean", "BIT(1)", None),
        ("float(9,3)", "float", "FLOAT", None),
        ("double precision", "double", "DOUBLE", None),
        ("decimal(20, 3)", "double", "DECIMAL(20,3)", None),
        ("char(34)", "char", "CHAR(34)", 34),
        ("char", "char", "CHAR(1)", 1),
        ("varchar(255) not null", "string", "VARCHAR(255)", 255),
        ("datetime(6)", "timestamp", "DATETIME(6)", None),
        ("varbinary(100)", "binary", "VARBINARY(100)", 100),
        ("blob", "binary", "BLOB", 65_535),
        ("text", "text", "TEXT", None),
    ],
)
def test_types_of_qservs_json_are_felis_and_mysqls(
    theirs: str, datatype: str, mysql: str, length: int | None, tmp_path: Path
) -> None:
    path, into = tmp_path / "T.json", tmp_path / "release.yaml"
    path.write_text(json.dumps({"table": "T", "is_partitioned": 0, "schema": [{"name": "x", "type": theirs}]}))
    (table,) = qserv_json.read(path).tables
    felis_file.write(Database("release", (table,)), into)
    (column,) = felis_file.read(into).tables[0].columns
    assert (column.datatype, column.mysql, column.length) == (datatype, mysql, length)
    assert column.nullable is ("not null" not in theirs.lower())
