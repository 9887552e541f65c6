"""Segments whose daemon is gone: the published bytes are copied, and the row points to the copy."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from stream.alertdb.port import SegmentStore
from stream.alertdb.segment import SegmentRef
from stream.commit.batch import fresh_number
from stream.commit.failpoints import Failpoints
from stream.commit.sealing import server_time
from stream.commit.segments import Mine, sealed_values
from stream.tables.model import table


@dataclass(frozen=True, slots=True)
class TakenOver:
    """A segment that was sealed for somebody else: its number, the number of the copy, and who owned it."""

    segment: int
    copy: int
    owner: str


async def left_behind(engine: AsyncEngine, silent_s: float, besides: str) -> list[sa.Row[tuple[object, ...]]]:
    """Open segments of other daemons than `besides` without a heartbeat for `silent_s` seconds."""
    rows = table("segments")
    query = sa.select(rows).where(
        rows.c.state == "open", rows.c.owner != besides, rows.c.heartbeat < server_time(engine) - silent_s
    )
    async with engine.connect() as connection:
        return list(await connection.execute(query.order_by(rows.c.segment)))


async def take_over(
    engine: AsyncEngine, store: SegmentStore, row: sa.Row[tuple[object, ...]], failpoints: Failpoints
) -> TakenOver | None:
    """Seal the open segment of `row` by copying its published bytes under a fresh number.

    One transaction points the row to the copy's files and inserts the copy's number, so that a sweep of the copy and
    this exclude each other. None where the owner, or somebody else, was faster: then the copy is left to the sweep.
    """
    ref = SegmentRef(row.segment, row.dataName, row.indexName, row.dataLength, row.indexLength)
    number = fresh_number()
    copied = await asyncio.to_thread(store.copy, ref, number)
    failpoints.hit("after_takeover_copy")
    rows = table("segments")
    async with engine.connect() as connection:
        changed = await connection.execute(
            sa.update(rows)
            .where(
                rows.c.segment == ref.number,
                rows.c.state == "open",
                rows.c.dataLength == ref.data_length,
                rows.c.indexLength == ref.index_length,
            )
            .values(**sealed_values(copied))
        )
        if changed.rowcount != 1:
            await connection.rollback()
            return None
        try:
            await connection.execute(
                sa.insert(rows),
                {
                    **{name: getattr(row, name) for name in ("stream", "survey", "night", "kind", "fingerprint")},
                    **sealed_values(copied),
                    "schemaId": row.schemaId,
                    "segment": number,
                    "state": "copy",
                    "copyOf": ref.number,
                    "records": 0,
                    "owner": row.owner,
                    "heartbeat": row.heartbeat,
                },
            )
        except IntegrityError:
            await connection.rollback()
            return None
        await connection.commit()
    failpoints.hit("after_takeover_row")
    for name in (ref.data_name, ref.index_name):
        await asyncio.to_thread(store.remove, name)
    return TakenOver(ref.number, number, str(row.owner))


async def take_over_own(engine: AsyncEngine, store: SegmentStore, mine: Mine, failpoints: Failpoints) -> None:
    """Seal a segment of ours whose disk failed by copying its published bytes: its files are never synced again."""
    await asyncio.to_thread(mine.segment.close)
    rows = table("segments")
    async with engine.connect() as connection:
        query = sa.select(rows).where(rows.c.segment == mine.number, rows.c.state == "open")
        row = (await connection.execute(query)).one_or_none()
    if row is not None:
        await take_over(engine, store, row, failpoints)
