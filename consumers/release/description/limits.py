"""What MariaDB can make of a table: checked before anything is sent to a service.

The rules are those that MariaDB 10.11 was found to follow for MyISAM tables, to the byte, with the columns that Qserv
and partitioning add. What a table's definition takes is bounded, and that bound is met long before 4096 columns are:
each column costs the bytes of its name and 18 more.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from consumers.release.description.widths import bits, width
from consumers.release.table import CHUNK, FLAGS, LONGEST_NAME, SUB_CHUNK, Column, Role, Table
from stream.errors import Wrong

COLUMNS = 4096
DEFINITION, OF_TABLE, OF_COLUMN = 65_535, 290, 18
"""Bytes of a table's definition: at most; of any table; of a column beside its name."""
ROW = 65_535
"""Bytes of a row; a BLOB or TEXT counts as its pointer."""
TABLE_NAME = 56
"""Characters of the names of database and table together (Qserv API v50)."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a table takes of MariaDB's limits, with what Qserv adds.

    Parameters
    ----------
    columns
        How many it has.
    definition
        Bytes of its definition.
    row
        Bytes of a row.
    """

    columns: int
    definition: int
    row: int

    @property
    def over(self) -> str:
        """Which limit it is over, in words; empty where it is within all."""
        if self.columns > COLUMNS:
            return f"{self.columns} columns of {COLUMNS}"
        if self.definition > DEFINITION:
            return (
                f"its definition has {self.definition} bytes of {DEFINITION} (each column takes its name and 18 more)"
            )
        if self.row > ROW:
            return f"its rows have {self.row} bytes of {ROW}"
        return ""


def added(role: Role) -> Sequence[Column]:
    """The columns that a table has in Qserv beside its own."""
    names = ["qserv_trans_id"]
    if role is not Role.REGULAR:
        names += [CHUNK, SUB_CHUNK]
    if role is Role.MATCH:
        names.append(FLAGS)
    return [Column(name, name, "int", "INT", nullable=False) for name in names]


def size(columns: Sequence[Column], role: Role, *, character_bytes: int = 1) -> Size:
    """What a table of these columns takes.

    Parameters
    ----------
    columns
        Its own columns.
    role
        What it is to Qserv, which says what columns are added.
    character_bytes
        Most bytes of a character: 1 in latin1, which Qserv's API takes for tables unless told, 4 in utf8mb4.

    Raises
    ------
    Wrong
        ``bad_table``: a column has a type whose size is not known.
    """
    row = more = 0
    every = [*added(role), *columns]
    for column in every:
        taken = width(column.mysql, character_bytes)
        if taken is None:
            text = f"column {column.name} has the type {column.mysql}, whose size is not known"
            raise Wrong("bad_table", text, "give it one of MySQL's usual types by mysql:datatype")
        row += taken
        more += column.nullable + bits(column.mysql)
    # Rows of fixed length have a bit that says whether they are deleted.
    more += not any(re.match(r"N?VAR|.*(?:BLOB|TEXT)", column.mysql.upper()) for column in every)
    definition = OF_TABLE + sum(OF_COLUMN + len(column.name.encode()) for column in every)
    return Size(len(every), definition, row + (more + 7) // 8)


def check(table: Table, database: str, *, character_bytes: int = 1) -> None:
    """Refuse a table that MariaDB or Qserv would refuse.

    Raises
    ------
    Wrong
        ``bad_name``: a name cannot be. ``table_too_large``: it is over a limit; says what to drop. ``bad_table``: a
        director with BLOB or TEXT, which Qserv does not take.
    """
    _check_names(table, database)
    blobs = [column.name for column in table.columns if re.search(r"BLOB|TEXT", column.mysql.upper())]
    if table.role is Role.DIRECTOR and blobs:
        text = f"director {table.name} has BLOB or TEXT ({', '.join(blobs)}), which Qserv does not take"
        raise Wrong("bad_table", text, f"drop them: {_options(blobs)}")
    over = size(table.columns, table.role, character_bytes=character_bytes).over
    if over:
        which, left = _to_drop(table, character_bytes)
        text = f"table {table.name} is too large for MariaDB: {over}"
        advice = f"drop columns, for example {_options(which)}, which leaves {left}"
        raise Wrong("table_too_large", text, advice)


def _check_names(table: Table, database: str) -> None:
    for name in (database, table.name):
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
            text = f"{name!r} is no name for a database or a table"
            raise Wrong("bad_name", text, "take letters, digits and underscores, a letter first")
    together = len(database) + len(table.name)
    if together > TABLE_NAME:
        text = f"the names {database} and {table.name} have {together} characters together"
        raise Wrong("bad_name", text, f"shorten one of them: Qserv takes {TABLE_NAME} since API 50")
    for column in table.columns:
        if not 0 < len(column.name) <= LONGEST_NAME:
            text = f"column {column.name!r} of table {table.name} has {len(column.name)} characters"
            raise Wrong("bad_name", text, f"give it a name of 1 to {LONGEST_NAME} in the felis file, and keep its @id")
    theirs = {column.name.lower() for column in added(table.role)}
    clash = [column.name for column in table.columns if column.name.lower() in theirs]
    if clash:
        text = f"table {table.name} has {', '.join(clash)}, which partitioning or Qserv adds by itself"
        raise Wrong("bad_name", text, f"drop them: {_options(clash)}")
    seen: dict[str, str] = {}
    for column in table.columns:
        other = seen.setdefault(column.name.lower(), column.name)
        if other is not column.name:
            text = f"columns {other} and {column.name} of table {table.name} are the same name to MariaDB"
            raise Wrong("bad_name", text, "rename one of them in the felis file, and keep its @id")


def _to_drop(table: Table, character_bytes: int) -> tuple[list[str], int]:
    """Patterns of columns without which the table is small enough, the largest families first; columns left then."""
    kept = {table.key, table.ra, table.dec, *(each.key for each in table.follows)}
    whole = size(table.columns, table.role, character_bytes=character_bytes)
    definition, row = whole.definition, whole.row
    left = {column.name: column for column in table.columns}
    patterns: list[str] = []
    for pattern, matched in _families(list(left)):
        gone = [left[name] for name in matched if name in left]
        if kept.intersection(matched) or not gone:
            continue
        patterns.append(pattern)
        for column in gone:
            del left[column.name]
            definition -= OF_COLUMN + len(column.name.encode())
            row -= width(column.mysql, character_bytes) or 0
        if definition <= DEFINITION and row <= ROW:
            break
    return patterns, len(left)


def _families(names: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
    """Columns that belong together and a pattern that takes them, the largest family first."""
    ordered = sorted(names)
    found = []
    for start in {"_".join(re.sub(r"(?:_\d+)+$", "", name).split("_")[:2]) for name in names}:
        first = bisect_left(ordered, start)
        found.append((f"{start}*", ordered[first : bisect_left(ordered, f"{start}\x7f", lo=first)]))
    return sorted(found, key=lambda each: (-len(each[1]), each[0]))


def _options(patterns: Sequence[str]) -> str:
    shown = patterns[:8]
    more = f" and {len(patterns) - 8} more" if len(patterns) > 8 else ""
    return " ".join(f"--drop '{each}'" for each in shown) + more
