"""What a table of a release is: its columns, its role in Qserv, and where its rows lie on the sky.

The words are Qserv's: a *director* is cut into chunks by its own position and has overlap; a *child* follows a
director, by the director's position or by its id; a *match* table pairs rows of two directors; a *regular* table is
whole on every worker.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from stream.errors import Wrong

CHUNK, SUB_CHUNK = "chunkId", "subChunkId"
"""Columns that partitioning appends to each row of a partitioned table (a match table has the flags besides)."""
FLAGS = "partitioningFlags"
RESERVED = ("qserv_trans_id",)
"""Columns that Qserv adds by itself: no table may bring them."""
LONGEST_NAME = 64
"""Characters of an identifier in MariaDB."""


class Role(StrEnum):
    """What a table is to Qserv."""

    DIRECTOR = "director"
    CHILD = "child"
    MATCH = "match"
    REGULAR = "regular"


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the database has it.

    Parameters
    ----------
    name
        Its name in the database, at most 64 characters.
    source
        Its name in the catalogue as `consumers.release.reading` gives it (a packed flag, one element of an array
        and an angle in degrees have names of their own there); the same as `name` where that is not too long.
    datatype
        felis' word: ``boolean``, ``byte``, ``short``, ``int``, ``long``, ``float``, ``double``, ``char``, ``string``,
        ``text``, ``timestamp``.
    mysql
        The MySQL type, without NULL or NOT NULL: ``BIGINT``, ``DOUBLE``, ``CHAR(34)``.
    length
        Characters, of text alone.
    nullable
        Whether a value may be missing.
    unit
        IVOA notation; empty where it has none.
    description
        What it means.
    """

    name: str
    source: str
    datatype: str
    mysql: str
    length: int | None = None
    nullable: bool = True
    unit: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Follows:
    """That the rows of a table go where those of a director go.

    Parameters
    ----------
    director
        The director's name.
    key
        The column of this table that has the director's key.
    """

    director: str
    key: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a release.

    Parameters
    ----------
    name
        Its name.
    role
        What it is to Qserv.
    columns
        In the order of the catalogue's files, without `CHUNK`, `SUB_CHUNK` and `FLAGS`.
    key
        The column that names a row; empty where there is none. A director needs one.
    ra, dec
        The columns by which rows are placed, degrees ICRS; of a child the director's position, empty where it is
        placed by id.
    follows
        A child's one director, a match table's two, nobody's else.
    description
        What it holds.
    """

    name: str
    role: Role
    columns: tuple[Column, ...]
    key: str = ""
    ra: str = ""
    dec: str = ""
    follows: tuple[Follows, ...] = ()
    description: str = ""

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if twice:
            raise Wrong("bad_table", f"table {self.name} has {', '.join(twice)} more than once", "rename one of them")
        wanted = [self.key, self.ra, self.dec, *(each.key for each in self.follows)]
        missing = [name for name in wanted if name and name not in names]
        if missing:
            raise Wrong(
                "bad_table", f"table {self.name} has no column {', '.join(missing)}", "name columns that the table has"
            )
        directors = {Role.DIRECTOR: 0, Role.CHILD: 1, Role.MATCH: 2, Role.REGULAR: 0}[self.role]
        if len(self.follows) != directors:
            raise Wrong(
                "bad_table",
                f"table {self.name} is a {self.role} table and follows {len(self.follows)} directors, not {directors}",
                "a child follows one director, a match table two, others none",
            )
        if self.role is Role.DIRECTOR and not (self.key and self.ra and self.dec):
            raise Wrong(
                "bad_table", f"director {self.name} has no key or no position", "name its key, its ra and its dec"
            )

    @property
    def partitioned(self) -> bool:
        """Whether its rows are cut into chunks."""
        return self.role is not Role.REGULAR

    def column(self, name: str) -> Column:
        """One of its columns by its name."""
        return next(column for column in self.columns if column.name == name)


def fingerprint(table: Table) -> str:
    """SHA-256 (hex) of all that decides what a file of the table's rows looks like and where its rows go.

    Units and descriptions are not part of it: a better word for a column is no reason to partition anew.
    """
    told = asdict(table)
    del told["description"]
    for column in told["columns"]:
        del column["unit"], column["description"]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Database:
    """All tables of a release; what one felis file describes."""

    name: str
    tables: tuple[Table, ...]
    description: str = ""

    def table(self, name: str) -> Table:
        """A table by its name.

        Raises
        ------
        Wrong
            Code ``unknown_table``.
        """
        for table in self.tables:
            if table.name == name:
                return table
        have = ", ".join(table.name for table in self.tables) or "none"
        raise Wrong("unknown_table", f"database {self.name} has no table {name}", f"it has {have}")

    def in_order(self) -> Sequence[Table]:
        """Its tables as they are to be registered: directors first, then what follows them, regular ones last."""
        order = (Role.DIRECTOR, Role.CHILD, Role.MATCH, Role.REGULAR)
        return sorted(self.tables, key=lambda table: order.index(table.role))
