"""The description of a table for Qserv's ingest API as loaders keep it in JSON: ``{"table": …, "schema": […], …}``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consumers.release.description.types import SIZED, mysql_type
from consumers.release.table import Column, Database, Follows, Role, Table
from stream.errors import Wrong

_WORDS = {
    "BOOLEAN": "boolean", "BOOL": "boolean", "BIT": "boolean", "TINYINT": "byte", "SMALLINT": "short",
    "MEDIUMINT": "int", "INT": "int", "INTEGER": "int", "BIGINT": "long", "FLOAT": "float", "DOUBLE": "double",
    "REAL": "double", "DECIMAL": "double", "NUMERIC": "double", "CHAR": "char", "VARCHAR": "string",
    "VARBINARY": "binary", "BINARY": "binary", "BLOB": "binary", "LONGBLOB": "binary", "TEXT": "text",
    "LONGTEXT": "text", "DATETIME": "timestamp", "TIMESTAMP": "timestamp", "DATE": "timestamp",
}  # fmt: skip
"""felis' words for MySQL's."""
_NUMBERS = ("BOOLEAN", "BOOL", "TINYINT", "SMALLINT", "INT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "REAL")
BLOB = 65_535
"""Bytes that a BLOB holds."""


def read(path: Path) -> Database:
    """The table that a JSON file describes as Qserv's ingest API takes it (``POST /ingest/table``, API v55).

    Its columns are all that the API is told, those that partitioning adds among them. A child is one that is placed by
    id: the position that its description names may be its own, by which no row of a child is placed.

    Returns
    -------
    Database
        Of the one table; its name is empty where the file has none.

    Raises
    ------
    Wrong
        ``bad_table``: the file is not such a description, or has a type that felis has no word for.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Database(told.get("database", ""), (_table(told),))
    except OSError as error:
        raise Wrong("no_file", f"{path} cannot be read: {error.strerror}", "check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        text = f"{path} does not describe a table as Qserv's ingest API takes it ({type(error).__name__}: {error})"
        raise Wrong("bad_table", text, "give a JSON file with table, is_partitioned, schema and keys") from error


def _table(told: Mapping[str, Any]) -> Table:
    directors = [
        Follows(told[f"director_table{number}"], told[f"director_key{number}"])
        for number in ("", "2")
        if told.get(f"director_table{number}")
    ]
    role = (Role.DIRECTOR if told["is_partitioned"] else Role.REGULAR, Role.CHILD, Role.MATCH)[len(directors)]
    director = role is Role.DIRECTOR
    return Table(
        name=told["table"],
        role=role,
        columns=tuple(_column(each) for each in told["schema"]),
        key=told["director_key"] if director else "",
        ra=told["longitude_key"] if director else "",
        dec=told["latitude_key"] if director else "",
        follows=tuple(directors),
    )


def _column(told: Mapping[str, str]) -> Column:
    name, kind = told["name"], told["type"].strip()
    found = re.match(r"(\w+)\s*(\([\d\s,]*\))?((?:\s+unsigned)?)", kind, re.IGNORECASE)
    word = found[1].upper() if found else ""
    datatype = _WORDS.get(word)
    if found is None or datatype is None:
        raise ValueError(f"column {name} has the type {kind}")
    given, unsigned = (found[2] or "").replace(" ", ""), found[3].upper()
    length = None
    if datatype in SIZED or datatype == "binary":
        length = int(given[1:-1]) if given else BLOB if datatype == "binary" else 1
    if word in _NUMBERS:
        # The width at which a number was once shown says nothing of what it holds.
        mysql = mysql_type(datatype) + unsigned
    else:
        mysql = mysql_type(datatype, length) if datatype in SIZED else word + given + unsigned
    nullable = not re.search(r"\bnot\s+null\b", kind, re.IGNORECASE)
    return Column(name, name, datatype, mysql, length, nullable)
