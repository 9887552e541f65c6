"""Making the tables, bringing them to this version, and checking that a daemon may run on them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, inspect, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

from stream.errors import Fatal, Transient
from stream.tables.model import REBUILT_AGAIN, UNFINISHED, Version, metadata, table, version
from stream.tables.nights import alter, ensure_partitions, partition_clause, partitions
from stream.tables.trouble import translated

OTHERS_S = 60
"""Seconds that a migration waits for another one to end."""

Step = Callable[[AsyncConnection], Coroutine[Any, Any, None]]


async def _ledger_remembers_what_it_is_ahead_of(conn: AsyncConnection) -> None:
    await add_column(conn, "ledger", "aheadOf")


STEPS: Mapping[Version, Step] = {Version(1, 1): _ledger_remembers_what_it_is_ahead_of}
"""What brings the tables from the version before to the key's. A minor step only adds, and may be run again."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database says of itself: the version of its tables and its instance id (32 hex digits)."""

    version: Version
    instance: str


@dataclass(frozen=True, slots=True)
class Migrated:
    """What :func:`migrate` did: the version found (None: there were no tables), the version now, partitions made."""

    found: Version | None
    now: Stored
    partitions: tuple[str, ...]


async def stored(conn: AsyncConnection) -> Stored | None:
    """Version and instance of the database, None where it has no tables yet."""
    if not await conn.run_sync(lambda sync: inspect(sync).has_table("schema_version")):
        return None
    row = (await conn.execute(select(table("schema_version")))).one_or_none()
    return None if row is None else Stored(Version(row.major, row.minor), row.instance)


async def check(conn: AsyncConnection) -> Stored:
    """Version and instance, where this code may run on the database.

    Raises
    ------
    Fatal
        ``level1_version``: no tables, another major version, a minor version below this code's, or a rebuild that has
        not ended.
    """
    found, ours = await stored(conn), version()
    advice = "run skyburst level1 migrate"
    if found is not None and found.version == UNFINISHED:
        raise _unfinished()
    if found is None:
        raise Fatal("level1_version", "the Level-1 database has no tables", advice)
    if found.version.major != ours.major:
        advice = advice if found.version < ours else "install a skyburst of that version"
        raise Fatal("level1_version", f"Level-1 has version {found.version}, this skyburst needs {ours}", advice)
    if found.version.minor < ours.minor:
        raise Fatal("level1_version", f"Level-1 has version {found.version}, this skyburst needs {ours}", advice)
    return found


async def migrate(engine: AsyncEngine, from_night: int, upto_night: int) -> Migrated:
    """Make what is missing: all tables in an empty database, else the steps to this version; then partitions.

    Parameters
    ----------
    engine
        With the migrate role on MariaDB, which commits each DDL statement by itself: a migration that was cut off is
        simply run again.
    from_night, upto_night
        YYYYMMDD. A new table gets blocks of 30 nights from the one to the other; an old one as far as `upto_night`.

    Raises
    ------
    Fatal
        ``level1_version``: the database is of a later major version, or a rebuild of it has not ended.
        ``level1_tables``: a table is not as it should be.
    Transient
        ``level1_busy``: another migration goes on. ``lock_wait``: somebody has a transaction open on a table.
        The others are those of `stream.tables.trouble.translate`.
    """
    with translated():
        async with _alone(engine) as conn:
            found = await stored(conn)
            had = await partitions(conn)
            if found is None:
                await must_be_whole(conn, absent=True)
                await conn.run_sync(_create, from_night, upto_night)
                await conn.execute(table("schema_version").insert().values(**_first_row()))
            else:
                await _advance(conn, found.version)
                await must_be_whole(conn)
            await ensure_partitions(conn, upto_night)
            made = [part.name for part in await partitions(conn) if part not in had]
            now = await check(conn)
    return Migrated(found.version if found else None, now, tuple(made))


async def must_be_whole(conn: AsyncConnection, *, absent: bool = False) -> None:
    """Hold the tables of the database against the model; columns and tables beyond it may be there.

    Parameters
    ----------
    absent
        Whether tables may be missing.

    Raises
    ------
    Fatal
        ``level1_tables``: a table is missing, or has not all of its columns.
    """
    have = await conn.run_sync(lambda sync: inspect(sync).get_multi_columns())
    columns = {key[1]: {one["name"] for one in found} for key, found in have.items()}
    for made in metadata().tables.values():
        if made.name not in columns:
            if not absent:
                advice = "restore the database, or rebuild it: `skyburst level1 rebuild`, into an empty one"
                raise Fatal("level1_tables", f"the Level-1 database has lost its table {made.name}", advice)
        elif lacking := [one.name for one in made.columns if one.name not in columns[made.name]]:
            text = f"the table {made.name} is none of skyburst's: it has no column {', '.join(lacking[:3])}"
            raise Fatal("level1_tables", text, "give Level-1 a database of its own")


@asynccontextmanager
async def _alone(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction beside which no other migration of the database goes on; on SQLite none could."""
    async with engine.connect() as conn:
        if conn.dialect.name == "sqlite":
            async with conn.begin():
                yield conn
            return
        lock = "CONCAT('skyburst migrate ', MD5(DATABASE()))"
        if (await conn.exec_driver_sql(f"SELECT GET_LOCK({lock}, {OTHERS_S})")).scalar() != 1:
            text = "another migration of this database goes on"
            raise Transient("level1_busy", text, "run this again when it has ended")
        await conn.commit()
        try:
            async with conn.begin():
                yield conn
        finally:
            with suppress(SQLAlchemyError):  # the server lets go by itself where the connection is lost
                await conn.exec_driver_sql(f"SELECT RELEASE_LOCK({lock})")


async def renew_instance(conn: AsyncConnection) -> str:
    """Give the database a new instance id (a rebuild does), so that a daemon of the old one can commit nothing."""
    fresh = secrets.token_hex(16)
    await conn.execute(update(table("schema_version")).values(instance=fresh))
    return fresh


async def add_column(conn: AsyncConnection, name: str, column: str) -> None:
    """Add a column of the model behind the others of table `name`, where it is not there yet."""
    have = await conn.run_sync(lambda sync: {one["name"] for one in inspect(sync).get_columns(name)})
    if column not in have:
        ddl = CreateColumn(table(name).c[column]).compile(dialect=conn.dialect)
        await alter(conn, name, f"ADD COLUMN {ddl}")


async def _advance(conn: AsyncConnection, found: Version) -> None:
    if found == UNFINISHED:
        # With a version that daemons run on they would sweep every segment that the rebuild had not come to.
        raise _unfinished()
    if found.major > version().major:
        raise Fatal("level1_version", f"Level-1 has version {found}, newer than this skyburst", "install a newer one")
    for step in sorted(step for step in STEPS if found < step <= version()):
        await STEPS[step](conn)
        await conn.execute(update(table("schema_version")).values(major=step.major, minor=step.minor))


def _unfinished() -> Fatal:
    return Fatal("level1_version", f"the Level-1 database is half made (version {UNFINISHED})", REBUILT_AGAIN)


def _first_row() -> dict[str, object]:
    ours = version()
    return {"id": 1, "major": ours.major, "minor": ours.minor, "instance": secrets.token_hex(16)}


def _create(conn: Connection, from_night: int, upto_night: int) -> None:
    """All tables that are not there, `schema_version` last: with it the making is complete."""
    have = set(inspect(conn).get_table_names())
    for made in metadata().tables.values():
        if made.name not in have:
            _create_table(conn, made, from_night, upto_night)


def _create_table(conn: Connection, made: Table, from_night: int, upto_night: int) -> None:
    if conn.dialect.name == "sqlite":
        made.create(conn)
        return
    # One statement a table, indexes included: half a table would pass for a whole one when the making is resumed.
    ddl = str(CreateTable(made).compile(dialect=conn.dialect)).rstrip()
    inner, _, options = ddl.rpartition("\n)")
    keys = "".join(f",\n\t{_key(conn, index)}" for index in sorted(made.indexes, key=lambda one: str(one.name)))
    clause = f"\n{partition_clause(from_night, upto_night)}" if made.name == "level1" else ""
    conn.exec_driver_sql(f"{inner}{keys}\n){options}{clause}".replace("%", "%%"))


def _key(conn: Connection, index: Any) -> str:
    text = str(CreateIndex(index).compile(dialect=conn.dialect))
    columns = text[text.index("(") :]
    return f"KEY {conn.dialect.identifier_preparer.quote(index.name)} {columns}"
