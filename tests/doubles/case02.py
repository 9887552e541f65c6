"""Qserv's test case 02 as its workers have it: chunk tables in MyISAM, and the tables that a query names over them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from consumers.release.table import Column, Database, Follows, Role, Table
from stream.local import LocalMariadb

CIRCLE = """
CREATE FUNCTION scisql_s2PtInCircle(ra DOUBLE, de DOUBLE, ra0 DOUBLE, de0 DOUBLE, radius DOUBLE) RETURNS INT
DETERMINISTIC RETURN POW(COS(RADIANS(de)) * COS(RADIANS(ra)) - COS(RADIANS(de0)) * COS(RADIANS(ra0)), 2)
    + POW(COS(RADIANS(de)) * SIN(RADIANS(ra)) - COS(RADIANS(de0)) * SIN(RADIANS(ra0)), 2)
    + POW(SIN(RADIANS(de)) - SIN(RADIANS(de0)), 2) <= 4 * POW(SIN(RADIANS(radius) / 2), 2)
"""
"""What a worker's scisql has, by the chord of unit vectors: another formula than the one that is tried."""
CHUNKS = {"Object": (7310, 7480), "Source": (7480,)}


def schema(folder: Path, table: str) -> list[dict[str, str]]:
    """The columns of a table as they are registered: names and MySQL types."""
    found: list[dict[str, str]] = json.loads((folder / f"ingest/{table}.json").read_text())["schema"]
    return found


def load(mariadb: LocalMariadb, folder: Path, database: str) -> None:
    """Make `database` with the chunk tables of Object and Source and what is in them."""
    mariadb.create_database(database)
    for table, chunks in CHUNKS.items():
        columns = ", ".join(f"`{each['name']}` {each['type']}" for each in schema(folder, table))
        for chunk in chunks:
            for name, file in ((f"{table}_{chunk}", f"chunk_{chunk}.txt"),
                               (f"{table}FullOverlap_{chunk}", f"chunk_{chunk}_overlap.txt")):  # fmt: skip
                mariadb.execute(f"CREATE TABLE `{name}` ({columns}) ENGINE=MyISAM", database=database)
                path = folder / "expected" / table / file
                if path.exists():
                    _load(mariadb, database, name, path)
        merged = ", ".join(f"`{table}_{chunk}`" for chunk in chunks)
        mariadb.execute(f"CREATE TABLE `{table}` ({columns}) ENGINE=MERGE UNION=({merged})", database=database)
    mariadb.execute(CIRCLE, database=database)


def _load(mariadb: LocalMariadb, database: str, table: str, path: Path) -> None:
    mariadb.execute(
        f"LOAD DATA INFILE '{path}' INTO TABLE `{table}` FIELDS TERMINATED BY ',' ESCAPED BY '\\\\'", database=database
    )


def described(folder: Path, database: str) -> Database:
    """What a release's description says of the two tables."""
    return Database(
        database,
        (
            Table("Object", Role.DIRECTOR, _columns(folder, "Object"), key="objectId", ra="ra_PS", dec="decl_PS"),
            Table(
                "Source",
                Role.CHILD,
                _columns(folder, "Source"),
                key="sourceId",
                ra="raObject",
                dec="declObject",
                follows=(Follows("Object", "objectId"),),
            ),
        ),
    )


def _columns(folder: Path, table: str) -> tuple[Column, ...]:
    units = {"ra_PS": "deg", "decl_PS": "deg", "taiMidPoint": "d"}
    kinds = {"bigint": "long", "int": "int", "smallint": "short", "tinyint": "byte", "float": "float",
             "double": "double", "char": "char"}  # fmt: skip
    found = []
    for each in schema(folder, table)[:-2]:
        mysql = re.split(r" (?:not|default) ", each["type"], flags=re.IGNORECASE)[0]
        kind = kinds[mysql.partition("(")[0]]
        length = 34 if kind == "char" else None
        found.append(Column(each["name"], each["name"], kind, mysql, length, unit=units.get(each["name"], "")))
    return tuple(found)


def values(folder: Path, table: str) -> dict[str, Any]:
    """The catalogue's CSV as NumPy columns: floats with NaN where NULL, the columns named ``…Id`` whole numbers."""
    import numpy as np

    names = [each["name"] for each in schema(folder, table)[:-2]]
    lines = [line.split(",") for line in (folder / f"input/{table}.csv").read_text().splitlines()]
    columns = {}
    for name, column in zip(names, zip(*lines, strict=True), strict=True):
        if name.endswith("Id") and "\\N" not in column:
            columns[name] = np.array(column, np.int64)
        else:
            columns[name] = np.array(["nan" if value == "\\N" else value for value in column], np.float64)
    return columns
