"""Tables that are described already: in a felis file (ours, or sdm_schemas'), or in JSON for Qserv's ingest API."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from consumers.release.description import felis_file, limits, qserv_json
from consumers.release.description.describe import Described, Wish
from consumers.release.reading.catalogue import LeftOut
from consumers.release.table import Column, Database, Role, Table
from stream.errors import Wrong

ENDINGS = (".yaml", ".yml", ".json")
_ADDED = "partitioning adds it"


def is_given(path: Path) -> bool:
    """Whether a file is a description and no catalogue."""
    return path.suffix.lower() in ENDINGS


def read(path: Path) -> Database:
    """The tables that a file describes, with the name of their database, empty where it has none."""
    return qserv_json.read(path) if path.suffix.lower() == ".json" else felis_file.read(path)


def take(table: Table, wish: Wish | None, role: Role | None, database: str) -> Described:
    """A described table, with what the caller says otherwise of it, held to the limits.

    Parameters
    ----------
    table
        As its file describes it.
    wish
        What is said of it; empty fields and no directors leave it as it is. None where nothing is.
    role
        What it shall be to Qserv; None leaves it as it is.
    database
        The name of the release's database.

    Raises
    ------
    Wrong
        As `describe` does.
    """
    columns, out = _without(table.columns, role or table.role, wish.drop if wish else ())
    if wish is None:
        made = replace(table, role=role or table.role, columns=columns)
    else:
        made = _told(table, columns, wish, role or table.role)
    limits.check(made, database)
    return Described(made, tuple(out))


def _told(table: Table, columns: tuple[Column, ...], wish: Wish, role: Role) -> Table:
    regular = role is Role.REGULAR
    follows = wish.follows or table.follows
    return Table(
        name=table.name,
        role=role,
        columns=columns,
        key=wish.key or table.key,
        ra="" if regular else wish.ra or table.ra,
        dec="" if regular else wish.dec or table.dec,
        follows=() if role in (Role.DIRECTOR, Role.REGULAR) else follows,
        description=table.description,
    )


def _without(columns: Sequence[Column], role: Role, drop: Sequence[str]) -> tuple[tuple[Column, ...], list[LeftOut]]:
    """The columns that are wanted: none that partitioning adds, none that is like a pattern."""
    for pattern in drop:
        if not fnmatch.filter([each.name for each in columns] + [each.source for each in columns], pattern):
            raise Wrong("no_column", f"no column is like {pattern}", "look at the columns by describe without --drop")
    theirs = {each.name.lower() for each in limits.added(role)}
    kept, out = [], []
    for each in columns:
        if each.name.lower() in theirs:
            out.append(LeftOut(each.name, _ADDED))
        elif any(fnmatch.fnmatchcase(name, pattern) for pattern in drop for name in (each.name, each.source)):
            out.append(LeftOut(each.name, "dropped, as told"))
        else:
            kept.append(each)
    return tuple(kept), out
