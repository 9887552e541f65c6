"""The tables, read from ``schemas/level1.yaml`` (felis) into SQLAlchemy.

The file is read with PyYAML: importing felis takes 1.8 s, which every start of a command would pay. A test holds that
felis validates the file and makes the same columns, keys and indexes of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml  # type: ignore[import-untyped]
from sqlalchemy import (
    BIGINT,
    BLOB,
    CHAR,
    DOUBLE,
    INTEGER,
    SMALLINT,
    VARCHAR,
    Column,
    Constraint,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

COLLATION = "utf8mb4_nopad_bin"
"""Text is compared byte by byte, as on SQLite: names of objects differ by case."""


@dataclass(frozen=True, slots=True)
class ColumnNote:
    """What a reader wants to know of a column: its unit (IVOA notation, empty where it has none) and its meaning."""

    unit: str
    description: str


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Version of the tables: a minor one only adds; a daemon runs on its own minor or a later one."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


UNFINISHED = Version(0, 0)
"""That of tables which a rebuild is filling: nothing runs on them, and no migration makes them whole."""
REBUILT_AGAIN = "a rebuild is under way or was cut off; make an empty database, migrate that, and rebuild into it"


@cache
def model() -> Mapping[str, Any]:
    """The felis file as it is, for docs and tests."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = files("schemas").joinpath("level1.yaml").read_text(encoding="utf-8")
    loaded: Mapping[str, Any] = yaml.load(text, Loader=loader)  # noqa: S506 (both loaders are safe)
    return loaded


def version() -> Version:
    """The version of the tables that this code was written for."""
    major, minor = str(model()["version"]).split(".")
    return Version(int(major), int(minor))


@cache
def metadata() -> MetaData:
    """All tables by name.

    Returns
    -------
    sqlalchemy.MetaData
        One for the whole process: do not change it.
    """
    made = MetaData()
    for table in model()["tables"]:
        _table(table, made)
    return made


def table(name: str) -> Table:
    """One table of the model by its name."""
    return metadata().tables[name]


@cache
def notes(name: str) -> Mapping[str, ColumnNote]:
    """Unit and description of each column of table `name`."""
    entry = next(entry for entry in model()["tables"] if entry["name"] == name)
    return {
        column["name"]: ColumnNote(column.get("ivoa:unit", ""), column["description"]) for column in entry["columns"]
    }


def _table(entry: Mapping[str, Any], made: MetaData) -> Table:
    columns = {column["name"]: _column(column) for column in entry["columns"]}

    def named(ids: str | list[str]) -> list[Column[Any]]:
        return [columns[one.split(".")[1]] for one in ([ids] if isinstance(ids, str) else ids)]

    constraints: list[Constraint] = [PrimaryKeyConstraint(*named(entry["primaryKey"]))]
    constraints += [UniqueConstraint(*named(one["columns"]), name=one["name"]) for one in entry.get("constraints", ())]
    table = Table(
        entry["name"],
        made,
        *columns.values(),
        *constraints,
        comment=entry["description"],
        mysql_engine=entry["mysql:engine"],
        mysql_charset=entry["mysql:charset"],
        mysql_collate=COLLATION,
    )
    for index in entry.get("indexes", ()):
        Index(index["name"], *named(index["columns"]))
    return table


def _column(entry: Mapping[str, Any]) -> Column[Any]:
    return Column(
        entry["name"],
        _type(entry),
        nullable=entry.get("nullable", True),
        autoincrement=entry.get("autoincrement", "auto"),
        comment=entry["description"],
    )


def _type(entry: Mapping[str, Any]) -> TypeEngine[Any]:
    length = entry.get("length")
    override = entry.get("mysql:datatype")
    match entry["datatype"], override:
        case "short", None:
            return SMALLINT()
        case "int", None:
            return INTEGER()
        case "long", None:
            return BIGINT()
        case "long", "INTEGER":
            return BIGINT().with_variant(mysql.INTEGER(unsigned=True), "mysql", "mariadb")
        case "double", None:
            return DOUBLE()
        case "string", None:
            return VARCHAR(length)
        case "char", None:
            return CHAR(length)
        case "binary", str() if re.fullmatch(rf"BINARY\({length}\)", override):
            return BLOB(length).with_variant(mysql.BINARY(length), "mysql", "mariadb")
    raise ValueError(f"column {entry['name']}: {entry['datatype']} {override} is not a type that Level-1 uses")
