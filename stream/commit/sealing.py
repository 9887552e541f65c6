"""Sealing: the end of a segment of ours, and the heartbeat that says it is still ours."""

from __future__ import annotations

import asyncio

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from stream.alertdb.port import SegmentStore
from stream.commit.failpoints import Failpoints
from stream.commit.segments import Mine, sealed_values
from stream.tables.model import table


async def seal(engine: AsyncEngine, store: SegmentStore, mine: Mine, failpoints: Failpoints) -> bool:
    """Seal a segment that its caller has forgotten, so that nothing is appended to it any more.

    Gives whether the row names what was sealed here: False where somebody else has sealed it. The index file of the
    open segment goes once the row names the sealed one. Where it fails it can be called again.
    """
    segment, before = mine.segment, mine.segment.ref
    if not mine.rowed or not await _is_open(engine, mine.number):
        await asyncio.to_thread(segment.close)
        return False
    failpoints.hit("before_seal")
    sealed = await asyncio.to_thread(segment.seal)
    failpoints.hit("after_seal_files")
    rows = table("segments")
    async with engine.begin() as connection:
        changed = await connection.execute(
            sa.update(rows)
            .where(
                rows.c.segment == mine.number,
                rows.c.state == "open",
                rows.c.dataLength == before.data_length,
                rows.c.indexLength == before.index_length,
            )
            .values(**sealed_values(sealed))
        )
        query = sa.select(rows.c.indexName).where(rows.c.segment == mine.number)
        # Not by the number of rows: the answer to our own COMMIT may have been lost before.
        ours: bool = changed.rowcount == 1 or (await connection.execute(query)).scalar_one() == sealed.index_name
    failpoints.hit("after_seal_row")
    await asyncio.to_thread(store.remove, before.index_name if ours else sealed.index_name)
    return ours


async def _is_open(engine: AsyncEngine, number: int) -> bool:
    rows = table("segments")
    async with engine.connect() as connection:
        state = (await connection.execute(sa.select(rows.c.state).where(rows.c.segment == number))).scalar_one_or_none()
    return state == "open"


async def heartbeat(engine: AsyncEngine, owner: str) -> None:
    """Say that the open segments of daemon `owner` still have one: only rows of its own id, by the database's clock."""
    rows = table("segments")
    async with engine.begin() as connection:
        await connection.execute(
            sa.update(rows).where(rows.c.owner == owner, rows.c.state == "open").values(heartbeat=server_time(engine))
        )


def server_time(engine: AsyncEngine) -> sa.ColumnElement[float]:
    """Seconds since 1970 UTC on the database's clock, so that hosts with skewed clocks agree on who is gone."""
    if engine.dialect.name == "sqlite":
        return sa.literal_column("((julianday('now') - 2440587.5) * 86400.0)", sa.Float())
    return sa.literal_column("UNIX_TIMESTAMP(NOW(6))", sa.Float())
