"""The database and its tables in Qserv: made where absent, recognised where equal, refused where they differ."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from consumers.release.load.release import Release
from consumers.release.load.world import World
from consumers.release.service import DatabaseState, Refused, TableState
from consumers.release.table import CHUNK, FLAGS, RESERVED, SUB_CHUNK, Role, Table
from stream.errors import Wrong

_ADDED = ((CHUNK, "INT NOT NULL"), (SUB_CHUNK, "INT NOT NULL"))
_TOLD = (
    "director_table",
    "director_key",
    "director_table2",
    "director_key2",
    "flag",
    "latitude_key",
    "longitude_key",
)
_COMPARED = ("partitioned", "columns", *_TOLD)
_SAME_TYPE = {"INTEGER": "INT", "BOOLEAN": "TINYINT", "BOOL": "TINYINT", "DOUBLE PRECISION": "DOUBLE", "REAL": "DOUBLE"}


def columns_of(table: Table) -> list[tuple[str, str]]:
    """Names and types of a table's columns as Qserv is to have them, with those that partitioning appends."""
    for column in table.columns:
        if column.name in RESERVED:
            raise Wrong(
                "bad_table",
                f"table {table.name}: Qserv adds {column.name} by itself",
                "leave it out of the description",
            )
    own = [(each.name, f"{each.mysql} {'DEFAULT NULL' if each.nullable else 'NOT NULL'}") for each in table.columns]
    added = list(_ADDED) if table.partitioned else []
    if table.role is Role.MATCH:
        added.append((FLAGS, "INT NOT NULL"))
    return own + added


def request(database: str, table: Table, overlap: float) -> dict[str, Any]:
    """The body with which a table is registered."""
    body: dict[str, Any] = {
        "database": database,
        "table": table.name,
        "is_partitioned": int(table.partitioned),
        "schema": [{"name": name, "type": kind} for name, kind in columns_of(table)],
    }
    if table.role is Role.DIRECTOR:
        body |= {"director_table": "", "director_key": table.key, "unique_primary_key": 1}
    if table.role in (Role.CHILD, Role.MATCH):
        body |= {"director_table": table.follows[0].director, "director_key": table.follows[0].key}
    if table.role is Role.MATCH:
        second = table.follows[1]
        body |= {"director_table2": second.director, "director_key2": second.key, "flag": FLAGS, "ang_sep": overlap}
    if table.role in (Role.DIRECTOR, Role.CHILD) and table.ra and table.dec:
        body |= {"longitude_key": table.ra, "latitude_key": table.dec}
    return body


def wanted(database: str, table: Table, overlap: float) -> TableState:
    """The table as the service will tell it."""
    body = request(database, table, overlap)
    return TableState(
        name=table.name,
        partitioned=table.partitioned,
        columns=tuple((name, _spelt(kind)) for name, kind in columns_of(table)),
        **{name: body.get(name, "") for name in _TOLD},
        ang_sep=body.get("ang_sep", 0.0),
        unique_primary_key=True,
    )


def differences(table: TableState, found: TableState) -> list[str]:
    """How a table that is there differs from the one that is wanted, in words."""
    said = []
    for name in _COMPARED:
        ours, theirs = getattr(table, name), getattr(found, name)
        if name == "columns":
            theirs = tuple((each, _spelt(kind)) for each, kind in theirs)
            if ours != theirs:
                said += _columns(dict(ours), dict(theirs))
        elif ours != theirs:
            said.append(f"{name} is {theirs!r} there and {ours!r} here")
    return said


def _columns(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    said = [f"column {name} is not there" for name in ours if name not in theirs]
    said += [f"column {name} is there only" for name in theirs if name not in ours]
    said += [
        f"column {name} is {theirs[name]} there and {kind} here"
        for name, kind in ours.items()
        if name in theirs and theirs[name] != kind
    ]
    return said or ["its columns are in another order"]


def _spelt(kind: str) -> str:
    """A MySQL type, as far as it decides what a column holds: no display width of integers, no default."""
    text = " ".join(kind.upper().replace("DEFAULT NULL", "").split())
    null = " NOT NULL" if text.endswith("NOT NULL") else ""
    text = text.removesuffix("NOT NULL").removesuffix("NULL").strip()
    name, _, rest = text.partition("(")
    name = _SAME_TYPE.get(name.strip(), name.strip())
    width, _, after = rest.partition(")")
    if name.endswith("INT") or not width:
        width = ""
    return f"{name}({width})".replace("()", "") + after.rstrip() + null


async def register(world: World) -> DatabaseState:
    """Bring the database and all its tables about.

    Raises
    ------
    Wrong
        ``release_table_differs``: one is there and is another. ``release_layout_differs``: the sky is cut otherwise.
        ``release_no_layout``: all tables are regular, so that the database cannot be made.
    """
    release = world.release
    found = await look(world)
    if found is None:
        await _database(world)
        found = await look(world)
    if found is None:
        raise Wrong("qserv_refused", f"database {release.database.name} cannot be registered", "see Qserv's log")
    if (most := world.limits.of_worker) is not None:
        await world.asked(lambda: world.controller.configure(release.database.name, {"ASYNC_PROC_LIMIT": most}))
    have = {table.name: table for table in found.tables}
    for name in release.tables:
        if name not in have:
            await _table(world, name)
    after = await look(world)
    assert after is not None
    there = {table.name: table for table in after.tables}
    overlap = release.layout.overlap if release.layout else 0.0
    for name, each in release.tables.items():
        check(release, wanted(release.database.name, each.table, overlap), there.get(name))
    return after


def check(release: Release, ours: TableState, found: TableState | None) -> None:
    """Refuse a table that is not there or is another."""
    said = ["it is not there"] if found is None else differences(ours, found)
    if said:
        text = f"table {release.database.name}.{ours.name} in Qserv differs: {'; '.join(said[:8])}"
        raise Wrong("release_table_differs", text, "take another database's name, or release replace")


async def look(world: World) -> DatabaseState | None:
    """The database as it is, None where it is not; its layout is checked."""
    name, layout = world.release.database.name, world.release.layout
    found = await world.asked(lambda: world.controller.database(name))
    if found is not None and layout is not None:
        family = f"layout_{layout.stripes}_{layout.sub_stripes}"
        if found.family != family:
            text = f"database {name} in Qserv is of family {found.family}, the release of {family}"
            raise Wrong("release_layout_differs", text, "partition for that layout, or take another name")
    return found


async def _database(world: World) -> None:
    name, layout = world.release.database.name, world.release.layout
    if layout is None:
        text = f"database {name} is not there, and a release of regular tables alone does not say how it is cut"
        raise Wrong("release_no_layout", text, "partition a director into the same folder")
    cut = (layout.stripes, layout.sub_stripes, layout.overlap)
    await _once(world, lambda: world.controller.register_database(name, *cut))


async def _table(world: World, name: str) -> None:
    release = world.release
    body = request(release.database.name, release.tables[name].table, release.layout.overlap if release.layout else 0.0)
    await _once(world, lambda: world.controller.register_table(body))


async def _once(world: World, registering: Callable[[], Awaitable[object]]) -> None:
    """Register something, again where the answer was lost: the service refuses what is there."""
    try:
        await world.asked(registering)
    except Refused as refused:
        if "already exists" not in refused.words:
            raise
