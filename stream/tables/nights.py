"""Range partitions of ``level1`` by night on MariaDB: 30 nights each, the first takes all before, the last all after.

On SQLite there are none: the functions that make and count partitions do nothing, and retiring deletes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import delete, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stream.errors import Fatal, Wrong
from stream.tables.model import table
from stream.tables.trouble import translated

NIGHTS = 30
PORTION = 10_000
"""Rows that one transaction deletes."""
ALTER_WAIT_S = 5
"""Seconds that an ALTER TABLE waits for transactions that have its table: whoever comes later waits behind it."""
FIRST, _LAST = "earlier", "later"
_MJD_0 = date(1858, 11, 17).toordinal()
_NAME = re.compile(r"p(\d{8})")


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition.

    Attributes
    ----------
    name
        ``earlier``, ``pYYYYMMDD`` by its first night, or ``later``.
    below
        The night (YYYYMMDD) that is too late for it; None for the last.
    """

    name: str
    below: int | None


def day_of(night: int) -> date:
    """The calendar day of a night written as YYYYMMDD; `Wrong` (``night``) where there is no such day."""
    try:
        return date(night // 10000, night // 100 % 100, night % 100)
    except ValueError:
        raise Wrong("night", f"{night} is not a night", "write it as YYYYMMDD") from None


def night_of(day: date) -> int:
    """YYYYMMDD of a calendar day."""
    return day.year * 10000 + day.month * 100 + day.day


def block_of(night: int) -> int:
    """The first night of the 30 that `night` belongs to: the blocks are the same for every database."""
    day = day_of(night)
    return night_of(_moved(day, -(day.toordinal() % NIGHTS)))


def blocks(from_night: int, upto_night: int) -> list[int]:
    """First nights of the blocks that hold the nights from `from_night` to `upto_night`, both included."""
    first, last = day_of(block_of(from_night)), day_of(block_of(upto_night))
    return [night_of(first + timedelta(days=n)) for n in range(0, (last - first).days + 1, NIGHTS)]


def partition_clause(from_night: int, upto_night: int) -> str:
    """The PARTITION BY of a new table with blocks from `from_night` to `upto_night`."""
    starts = blocks(from_night, max(from_night, upto_night))
    parts = [f"PARTITION {FIRST} VALUES LESS THAN ({starts[0]})", *_parts(starts)]
    return f"PARTITION BY RANGE (night) ({', '.join(parts)}, PARTITION {_LAST} VALUES LESS THAN MAXVALUE)"


async def partitions(conn: AsyncConnection) -> list[Partition]:
    """The partitions of ``level1`` in order; none on SQLite."""
    if conn.dialect.name == "sqlite":
        return []
    found = await conn.execute(
        text(
            "SELECT partition_name, partition_description FROM information_schema.partitions"
            " WHERE table_schema = DATABASE() AND table_name = 'level1' AND partition_name IS NOT NULL"
            " ORDER BY partition_ordinal_position"
        )
    )
    return [Partition(name, None if below == "MAXVALUE" else int(below)) for name, below in found]


async def ensure_partitions(conn: AsyncConnection, upto_night: int) -> list[str]:
    """Split the last partition so that every night up to `upto_night` has a block of its own (the migrate role).

    Returns
    -------
    list of str
        Names of the partitions made; empty where all were there.
    """
    have = await partitions(conn)
    if not have:
        return []
    if len(have) < 2 or have[-1] != Partition(_LAST, None):
        raise Fatal("level1_partition", "level1 has no last partition named later", "restore it by hand")
    beyond = have[-2].below
    if beyond is None or beyond > upto_night:
        return []
    starts = blocks(beyond, upto_night)
    parts = [*_parts(starts), f"PARTITION {_LAST} VALUES LESS THAN MAXVALUE"]
    await alter(conn, "level1", f"REORGANIZE PARTITION {_LAST} INTO ({', '.join(parts)})")
    return [f"p{start}" for start in starts]


async def alter(conn: AsyncConnection, name: str, what: str) -> None:
    """ALTER TABLE of table `name`; on MariaDB it gives up after `ALTER_WAIT_S` where somebody has the table.

    Raises
    ------
    Transient
        ``lock_wait``: nothing was changed.
    """
    wait = "" if conn.dialect.name == "sqlite" else f" WAIT {ALTER_WAIT_S}"
    with translated():
        await conn.exec_driver_sql(f"ALTER TABLE {name}{wait} {what}".replace("%", "%%"))


async def clear_part(engine: AsyncEngine, before_night: int) -> tuple[str, int]:
    """Delete the rows before the block of `before_night` from the partition that holds nights on both sides of it.

    That is the first one where it reaches so far; else the one that has taken, since the partitions before it were
    dropped, late alerts of their nights. In portions, so that no transaction is long (the migrate role). `retire` does
    the rest: partitions that lie wholly before the block, and SQLite, are its own.

    Returns
    -------
    tuple
        Name of that partition (empty where there is none), and rows deleted.
    """
    bound, gone = block_of(before_night), 0
    async with engine.connect() as conn:
        name = _split_by(await partitions(conn), bound)
        if name is None:
            return "", 0
        surveys = await conn.exec_driver_sql(f"SELECT DISTINCT survey FROM level1 PARTITION ({name})")  # noqa: S608
        # Found by the index of times: to go through a partition of thirty nights takes long. Whatever its survey says,
        # a night ends within a day of its date; a day more is for TAI ahead of UTC.
        upto = day_of(bound).toordinal() - _MJD_0 + 2
        for survey in surveys.scalars().all():
            where = f"survey = {survey} AND midpointMjdTai < {upto} AND night < {bound}"
            delete_some = f"DELETE FROM level1 PARTITION ({name}) WHERE {where} LIMIT {PORTION}"  # noqa: S608
            count = PORTION
            while count == PORTION:
                count = (await conn.exec_driver_sql(delete_some)).rowcount
                await conn.commit()
                gone += count
    return name, gone


def _split_by(have: Sequence[Partition], bound: int) -> str | None:
    """The partition that may hold nights before `bound` and others; None where one begins there, or there are none."""
    at = next((n for n, part in enumerate(have) if part.below is None or part.below > bound), 0)
    return have[at].name if have and (at == 0 or have[at - 1].below != bound) else None


async def retire(conn: AsyncConnection, before_night: int) -> list[str]:
    """Drop the rows of every block that lies wholly before `before_night` (the migrate role).

    The first partition stays, emptied, so that a late alert of a retired night has its place. On SQLite the rows before
    the block of `before_night` are deleted.

    Returns
    -------
    list of str
        Names of the partitions dropped or emptied (``earlier`` on SQLite where rows went).
    """
    bound = block_of(before_night)
    if conn.dialect.name == "sqlite":
        level1 = table("level1")
        gone = await conn.execute(delete(level1).where(level1.c.night < bound))
        return [FIRST] if gone.rowcount else []
    old = [part for part in await partitions(conn) if part.below is not None and part.below <= bound]
    dropped = [part.name for part in old if part.name != FIRST]
    if len(old) > len(dropped):
        await alter(conn, "level1", f"TRUNCATE PARTITION {FIRST}")
    if dropped:
        await alter(conn, "level1", f"DROP PARTITION {', '.join(dropped)}")
    return [part.name for part in old]


async def rows_in_last(conn: AsyncConnection) -> bool:
    """Whether any row lies in the last partition: `level1 migrate` is overdue. False where there is none (SQLite)."""
    if all(part.name != _LAST for part in await partitions(conn)):
        return False
    found = await conn.exec_driver_sql(f"SELECT 1 FROM level1 PARTITION ({_LAST}) LIMIT 1")  # noqa: S608 (a constant)
    return found.first() is not None


def nights_of(parts: Sequence[Partition], name: str) -> tuple[int | None, int | None]:
    """First night of partition `name`, and the first night beyond it; None where it is open."""
    at = next((n for n, part in enumerate(parts) if part.name == name), None)
    if at is None:
        raise Wrong("level1_partition", f"level1 has no partition {name!r}")
    return (parts[at - 1].below if at else None), parts[at].below


def _parts(starts: Iterable[int]) -> list[str]:
    return [f"PARTITION p{start} VALUES LESS THAN ({night_of(_moved(day_of(start), NIGHTS))})" for start in starts]


def _moved(day: date, days: int) -> date:
    try:
        return day + timedelta(days=days)
    except OverflowError:
        text = f"the block of the night {night_of(day)} reaches beyond the calendar"
        raise Wrong("night", text, "give one that is not so near its end") from None
