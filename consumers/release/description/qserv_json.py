"""The description of a table for Qserv's ingest API as loaders keep it in JSON: ``{"table": …, "schema": […], …}``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consumers.release.description.types import mysql_type
from consumers.release.table import CHUNK, FLAGS, SUB_CHUNK, Column, Follows, Role, Table
from stream.errors import Wrong

_WORDS = {
    "BOOLEAN": "boolean", "BOOL": "boolean", "BIT": "boolean", "TINYINT": "byte", "SMALLINT": "short",
    "MEDIUMINT": "int", "INT": "int", "INTEGER": "int", "BIGINT": "long", "FLOAT": "float", "DOUBLE": "double",
    "REAL": "double", "DECIMAL": "double", "NUMERIC": "double", "CHAR": "char", "VARCHAR": "string",
    "VARBINARY": "binary", "BINARY": "binary", "BLOB": "binary", "LONGBLOB": "binary", "TEXT": "text",
    "LONGTEXT": "text", "DATETIME": "timestamp", "TIMESTAMP": "timestamp", "DATE": "timestamp",
}  # fmt: skip
"""felis' words for MySQL's."""
BLOB = 65_535
"""Bytes that a BLOB holds."""
_ADDED = (CHUNK.lower(), SUB_CHUNK.lower(), FLAGS.lower())


@dataclass(frozen=True, slots=True)
class QservTable:
    """A table, its database's name, and the columns that partitioning adds by itself and the table does not have.

    A child is one that is placed by id: the position that a child's description names may be its own, by which no row
    of a child is placed.
    """

    table: Table
    database: str
    added: tuple[str, ...]


def read(path: Path) -> QservTable:
    """The table that a JSON file describes as Qserv's ingest API takes it (``POST /ingest/table``, API v55).

    Raises
    ------
    Wrong
        ``bad_table``: the file is not such a description, or has a type that felis has no word for.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return _table(told)
    except OSError as error:
        raise Wrong("no_file", f"{path} cannot be read: {error.strerror}", "check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        text = f"{path} does not describe a table as Qserv's ingest API takes it ({type(error).__name__}: {error})"
        raise Wrong("bad_table", text, "give a JSON file with table, is_partitioned, schema and keys") from error


def _table(told: Mapping[str, Any]) -> QservTable:
    partitioned = bool(told["is_partitioned"])
    directors = [
        Follows(told[f"director_table{number}"], told[f"director_key{number}"])
        for number in ("", "2")
        if told.get(f"director_table{number}")
    ]
    role = (Role.DIRECTOR if partitioned else Role.REGULAR, Role.CHILD, Role.MATCH)[len(directors)]
    names = [each["name"] for each in told["schema"]]
    gone = [name for name in names if partitioned and name.lower() in _ADDED]
    return QservTable(
        Table(
            name=told["table"],
            role=role,
            columns=tuple(_column(each) for each in told["schema"] if each["name"] not in gone),
            key=told["director_key"] if role is Role.DIRECTOR else "",
            ra=told["longitude_key"] if role is Role.DIRECTOR else "",
            dec=told["latitude_key"] if role is Role.DIRECTOR else "",
            follows=tuple(directors),
        ),
        told.get("database", ""),
        tuple(gone),
    )


def _column(told: Mapping[str, str]) -> Column:
    name, kind = told["name"], told["type"].strip()
    found = re.match(r"(\w+)\s*(\([\d\s,]*\))?((?:\s+unsigned)?)", kind, re.IGNORECASE)
    word = found[1].upper() if found else ""
    datatype = _WORDS.get(word)
    if found is None or datatype is None:
        raise ValueError(f"column {name} has the type {kind}")
    given, unsigned = (found[2] or "").replace(" ", ""), found[3].upper()
    length = int(given[1:-1]) if given else None
    if datatype not in ("char", "string", "binary"):
        length = None
    elif length is None:
        length = BLOB if datatype == "binary" else 1
    whole = datatype in ("byte", "short", "int", "long", "float", "double") and word not in ("DECIMAL", "NUMERIC")
    # The width at which a whole number was once shown says nothing of what it holds.
    if word == "MEDIUMINT" or not (whole or datatype in ("char", "string")):
        mysql = word + (given if not whole else "") + unsigned
    else:
        mysql = mysql_type(datatype, length) + unsigned
    nullable = not re.search(r"\bnot\s+null\b", kind, re.IGNORECASE)
    return Column(name, name, datatype, mysql, length, nullable)
