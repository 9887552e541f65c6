"""felis files of others are taken, ours are known without felis, and what cannot be said or read is refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from consumers.release.description import felis_file
from consumers.release.description.types import PLAIN, SIZED, mysql_type
from consumers.release.table import Column, Database, Follows, Role, Table
from stream.errors import Wrong

SDM = """
name: dp02
description: As the schemas of the Science Data Model are written.
version: {current: "1.0"}
tables:
- name: Object
  description: Objects
  tap:table_index: 1
  primaryKey: "#Object.objectId"
  columns:
  - {name: objectId, "@id": "#Object.objectId", datatype: long, nullable: false, ivoa:ucd: meta.id;src;meta.main}
  - {name: coord_ra, datatype: double, ivoa:ucd: pos.eq.ra;meta.main, fits:tunit: deg, tap:principal: 1}
  - {name: coord_dec, datatype: double, ivoa:ucd: pos.eq.dec;meta.main, fits:tunit: deg}
  - {name: detect_isPrimary, datatype: boolean}
  - {name: tract, datatype: long, mysql:datatype: INTEGER}
  - {name: band, datatype: char, length: 1}
- name: CcdVisit
  primaryKey: "#CcdVisit.ccdVisitId"
  columns:
  - {name: ccdVisitId, datatype: long}
  - {name: expMidpt, datatype: timestamp, precision: 6}
  - {name: obsStart, datatype: timestamp}
- name: ForcedSource
  primaryKey: ["#ForcedSource.objectId", "#ForcedSource.ccdVisitId"]
  columns:
  - {name: objectId, datatype: long}
  - {name: ccdVisitId, datatype: long}
  - {name: psfFlux, datatype: float, ivoa:unit: nJy}
  constraints:
  - {name: CcdVisit_key, "@type": ForeignKey, columns: ["#ForcedSource.ccdVisitId"],
     referencedColumns: ["#CcdVisit.ccdVisitId"]}
  - {name: Object_key, "@type": ForeignKey, columns: ["#ForcedSource.objectId"],
     referencedColumns: ["#Object.objectId"]}
"""


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def column(name: str, datatype: str = "long") -> Column:
    return Column(name, name, datatype, mysql_type(datatype))


OBJECT = Table(
    "Object", Role.DIRECTOR, (column("id"), column("ra", "double"), column("decl", "double")), "id", "ra", "decl"
)


def test_a_file_of_the_science_data_model_is_taken(tmp_path: Path) -> None:
    database = felis_file.read(written(tmp_path / "dp02.yaml", SDM))
    assert database.name == "dp02"
    assert [table.name for table in database.tables] == ["Object", "CcdVisit", "ForcedSource"]
    director, visit, forced = database.tables
    assert (director.role, director.key, director.ra, director.dec) == (
        Role.DIRECTOR, "objectId", "coord_ra", "coord_dec",
    )  # fmt: skip
    assert (visit.role, visit.key) == (Role.REGULAR, "ccdVisitId")
    assert (forced.role, forced.key, forced.follows) == (Role.CHILD, "", (Follows("Object", "objectId"),))
    assert [each.mysql for each in director.columns] == ["BIGINT", "DOUBLE", "DOUBLE", "BOOLEAN", "INTEGER", "CHAR(1)"]
    assert [each.mysql for each in visit.columns] == ["BIGINT", "DATETIME(6)", "DATETIME"]
    assert director.column("coord_ra").unit == "deg" and forced.column("psfFlux").unit == "nJy"
    assert not director.column("objectId").nullable
    felis_file.write(database, tmp_path / "ours.yaml")
    assert felis_file.read(tmp_path / "ours.yaml") == database


@pytest.mark.parametrize("datatype", [*PLAIN, *SIZED])
def test_types_are_those_of_felis_own_map(datatype: str) -> None:
    from felis.datamodel import Column as FelisColumn
    from felis.metadata import get_datatype_with_variants
    from sqlalchemy.dialects import mysql

    length = {"length": 7} if datatype in (*SIZED, "binary") else {}
    theirs = FelisColumn.model_validate({"name": "x", "@id": "#x", "datatype": datatype, **length})
    compiled = get_datatype_with_variants(theirs).compile(mysql.dialect())
    same = {"BOOL": "BOOLEAN", "NATIONAL VARCHAR(7)": "NVARCHAR(7)"}
    assert same.get(compiled, compiled) == mysql_type(datatype, 7)


def test_columns_of_another_file_are_filled_in(tmp_path: Path) -> None:
    written(tmp_path / "dp02.yaml", SDM)
    other = written(
        tmp_path / "other.yaml",
        "name: mine\nresources: {dp02: {uri: dp02.yaml}}\ntables:\n- name: Few\n"
        "  columnRefs: {dp02: {Object: {objectId: null, detect_isPrimary: null}}}\n",
    )
    (table,) = felis_file.read(other).tables
    assert [(each.name, each.source, each.mysql) for each in table.columns] == [
        ("objectId", "objectId", "BIGINT"),
        ("detect_isPrimary", "detect_isPrimary", "BOOLEAN"),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: x\ntables: [{name: T, columns: [{name: a}]}]\n", "datatype"),
        ("name: x\ntables: [{name: T, columns: [{name: a, datatype: quad}]}]\n", "quad"),
        ("name: x\ntables: [{name: T, qserv: 1, columns: [{name: a, datatype: int}]}]\n", "qserv"),
        ("name: x\ntables: [{name: T, columns: [{name: a, datatype: int, ivoa:unit: furlong}]}]\n", "furlong"),
        ("tables: []\n", "not a felis file"),
        ("- a\n", "not a felis file"),
        ("name: [\n", "not YAML"),
        ("", "not a felis file"),
    ],
)
def test_a_file_that_felis_does_not_take_is_refused(text: str, told: str, tmp_path: Path) -> None:
    path = written(tmp_path / "bad.yaml", text)
    with pytest.raises(Wrong) as refused:
        felis_file.read(path)
    assert refused.value.code == "bad_felis" and told in refused.value.message and "bad.yaml" in refused.value.message


def test_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Wrong) as refused:
        felis_file.read(tmp_path / "absent.yaml")
    assert refused.value.code == "no_file"


def test_a_file_of_ours_that_was_changed_is_validated_again(tmp_path: Path) -> None:
    path = tmp_path / "release.yaml"
    felis_file.write(Database("release", (OBJECT,)), path)
    written(path, path.read_text().replace("datatype: double", "datatype: quad", 1))
    with pytest.raises(Wrong, match="quad"):
        felis_file.read(path)
    written(path, path.read_text().replace("datatype: quad", "datatype: float", 1))
    assert felis_file.read(path).tables[0].column("ra").mysql == "FLOAT"


def test_reading_a_file_of_ours_does_not_import_felis(tmp_path: Path) -> None:
    path = tmp_path / "release.yaml"
    felis_file.write(Database("release", (OBJECT,)), path)
    code = (
        "import sys; from pathlib import Path; from consumers.release.description import felis_file\n"
        "felis_file.read(Path(sys.argv[1])); sys.exit(bool({'felis', 'astropy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == 0


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (replace(OBJECT, role=Role.REGULAR, name="R"), "has a position"),
        (Table("C", Role.CHILD, (column("id"),), follows=(Follows("Nobody", "id"),)), "no table Nobody"),
        (Table("C", Role.CHILD, (column("id"),), follows=(Follows("Plain", "id"),)), "which is a regular table"),
        (replace(OBJECT, name="O", dec="ra"), "as ra and as dec"),
    ],
)
def test_what_felis_has_no_words_for_is_refused_and_the_file_stays(table: Table, told: str, tmp_path: Path) -> None:
    path = tmp_path / "release.yaml"
    before = Database("release", (OBJECT, Table("Plain", Role.REGULAR, (column("id"),))))
    felis_file.write(before, path)
    with pytest.raises(Wrong, match=told):
        felis_file.write(replace(before, tables=(*before.tables, table)), path)
    assert felis_file.read(path) == before


def test_a_column_that_stands_for_two_is_refused_by_felis_on_writing(tmp_path: Path) -> None:
    twins = Table("T", Role.REGULAR, (replace(column("a"), source="x"), replace(column("b"), source="x")))
    with pytest.raises(Wrong, match="Duplicate IDs") as refused:
        felis_file.write(Database("release", (twins,)), tmp_path / "release.yaml")
    assert refused.value.code == "bad_felis" and not list(tmp_path.iterdir())
