"""The table model is valid felis, and reading it without felis gives the same tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, Table, UniqueConstraint
from sqlalchemy.dialects import mysql, sqlite

import schemas
from stream.tables.model import Version, metadata, model, notes, version
from stream.tables.reference import reference

PROJECT = Path(__file__).parents[2]
FILE = Path(schemas.__file__).with_name("level1.yaml")


@pytest.fixture(scope="module")
def by_felis() -> MetaData:
    from felis import Schema
    from felis.metadata import MetaDataBuilder

    checks = {"id_generation": True, "check_description": True, "check_redundant_datatypes": True}
    made: MetaData = MetaDataBuilder(Schema.from_uri(str(FILE), context=checks), apply_schema_to_metadata=False).build()
    return made


def columns(table: Table, dialect: Any) -> dict[str, tuple[str, bool, bool, str | None]]:
    return {c.name: (c.type.compile(dialect), bool(c.nullable), c.primary_key, c.comment) for c in table.columns}


def keys(table: Table) -> set[tuple[str, tuple[str, ...]]]:
    unique = {(str(c.name), tuple(c.columns.keys())) for c in table.constraints if isinstance(c, UniqueConstraint)}
    return unique | {(str(index.name), tuple(index.columns.keys())) for index in table.indexes}


@pytest.mark.parametrize("dialect", [mysql.dialect(), sqlite.dialect()], ids=["mariadb", "sqlite"])
def test_felis_makes_the_same_columns_and_keys(by_felis: MetaData, dialect: Any) -> None:
    assert set(by_felis.tables) == set(metadata().tables)
    for name, ours in metadata().tables.items():
        theirs = by_felis.tables[name]
        expected = columns(theirs, dialect)
        if name == "level1" and dialect.name == "mysql":
            # felis has no unsigned integers: a `long` kept in a MySQL INTEGER is one.
            expected["flags"] = ("INTEGER UNSIGNED", *expected["flags"][1:])
        assert columns(ours, dialect) == expected
        assert keys(ours) == keys(theirs)
        assert [c.name for c in ours.primary_key] == [c.name for c in theirs.primary_key]


def test_no_key_of_a_number_that_we_make_counts_up_by_itself() -> None:
    for table in metadata().tables.values():
        assert table.autoincrement_column is None, table.name


def test_reading_the_model_does_not_import_felis() -> None:
    code = "import sys, stream.tables.model as m; m.metadata(); sys.exit(bool({'felis', 'astropy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT).returncode == 0


def test_every_index_of_level1_begins_with_the_survey_and_no_unique_key_leaves_out_the_night() -> None:
    level1 = metadata().tables["level1"]
    assert [column.name for column in level1.primary_key] == ["survey", "diaSourceId", "night"]
    assert all(index.columns.keys()[0] == "survey" and not index.unique for index in level1.indexes)
    assert not any(isinstance(one, UniqueConstraint) for one in level1.constraints)


def test_units_are_known_to_astropy() -> None:
    from astropy.units import Unit

    for entry in model()["tables"]:
        for note in notes(entry["name"]).values():
            Unit(note.unit)
    assert notes("level1")["psfFlux"].unit == "nJy"


def test_version_is_major_and_minor() -> None:
    assert version() == Version(1, 1)
    assert Version(1, 9) < Version(1, 10) < Version(2, 0)


def test_the_reference_page_says_what_the_model_says() -> None:
    page = (PROJECT / "docs/reference/level1-tables.md").read_text(encoding="utf-8")
    assert page == reference(), "run: python -m stream.tables.reference > docs/reference/level1-tables.md"
