"""Retiring nights: their packets and rows go for good; what remains says that they were there."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from stream.alertdb.port import SegmentStore
from stream.alertdb.segment import SegmentRef
from stream.commit.batch import OffsetRange
from stream.commit.committer import Committer
from stream.commit.gap import Where
from stream.errors import Held
from stream.tables.model import table
from stream.tables.nights import block_of, clear_part, retire

Row = sa.Row[Any]


@dataclass(frozen=True, slots=True)
class Retired:
    """What went: nights before `before`, so many segments and bytes, and the partitions of ``level1``."""

    before: int
    segments: int
    bytes: int
    partitions: tuple[str, ...]


async def retire_nights(committer: Committer, where: Where, before: int) -> Retired:
    """Retire the nights of every block of 30 that lies wholly before the night `before` (the migrate role).

    First the files say so, with the offset ranges of which no packet stays; then each segment leaves its marker and its
    row says retired; then the rows of Level-1 go, and the files. Quarantine stays. Cut off, it is simply called again.

    Raises
    ------
    Held
        ``retire_open``: a segment of such a night is still appended to.
    """
    bound, store = block_of(before), committer.segments.store
    gone: list[Row] = []
    emptied: dict[str, None] = {}
    cleared = False
    # Until there is none left: late alerts may come meanwhile, and their rows may just have gone with the others'.
    while (going := [row for row in await _segments(committer, bound) if row.state != "retired"]) or not cleared:
        await _let_go(committer, where, going, bound)
        gone += going
        emptied |= dict.fromkeys(await _clear(committer.engine, before))
        cleared = True
    for row in await _segments(committer, bound):
        if row.state == "retired":
            for name in (row.dataName, row.indexName):
                await asyncio.to_thread(store.remove, name)
    return Retired(bound, len(gone), sum(row.dataLength + row.indexLength for row in gone), tuple(emptied))


async def _let_go(committer: Committer, where: Where, going: Sequence[Row], bound: int) -> None:
    """Say in the files which ranges go with the segments of `going`, leave their markers, and mark their rows."""
    if not going:
        return
    if any(row.state == "open" for row in going):
        text = f"segments of nights before {bound} are still open"
        raise Held("retire_open", text, "a daemon seals them ten minutes after their last alert, or when it ends")
    store = committer.segments.store
    ranges = await asyncio.to_thread(_ranges, store, going, await _retired(committer))
    batch = where.batch((), f"retired: nights before {bound}", accepted=False)
    await committer.commit(replace(batch, retired=ranges))
    for row in going:
        await asyncio.to_thread(store.retire, _ref(row))
        await _mark(committer, row)


async def _clear(engine: AsyncEngine, before: int) -> list[str]:
    """Let the rows of Level-1 go; the partitions that were dropped or emptied, or lost some."""
    name, cleared = await clear_part(engine, before)
    async with engine.begin() as connection:
        return [name] * (cleared > 0) + await retire(connection, before)


async def _segments(committer: Committer, bound: int) -> list[Row]:
    segments = table("segments")
    query = sa.select(segments).where(
        segments.c.night < bound,
        segments.c.kind != "quarantine",
        segments.c.state.in_(("open", "sealed", "moved", "retired")),
    )
    async with committer.engine.connect() as connection:
        return list(await connection.execute(query.order_by(segments.c.segment)))


async def _retired(committer: Committer) -> set[int]:
    """The segments that were retired before: their parts of commits are gone already."""
    segments = table("segments")
    async with committer.engine.connect() as connection:
        query = sa.select(segments.c.segment).where(segments.c.state == "retired")
        return set((await connection.execute(query)).scalars())


async def _mark(committer: Committer, row: Row) -> None:
    segments = table("segments")
    async with committer.engine.begin() as connection:
        await connection.execute(
            sa.update(segments).where(segments.c.segment == row.segment).values(state="retired", heartbeat=0.0)
        )


def _ref(row: Row) -> SegmentRef:
    return SegmentRef(row.segment, row.dataName, row.indexName, row.dataLength, row.indexLength)


def _ranges(store: SegmentStore, rows: Sequence[Row], retired: set[int]) -> tuple[OffsetRange, ...]:
    """The ranges of commits of which every part is in the segments of `rows` or `retired`, joined where they touch."""
    going = retired | {row.segment for row in rows}
    found: set[tuple[int, int, int, int]] = set()
    for row in rows:
        with store.read(_ref(row)) as reader:
            for commit in reader.commits:
                if all(segment in going for segment, _ in commit.note["parts"]):
                    found.update((one[0], one[1], one[2], one[3]) for one in commit.note["ranges"])
    return tuple(_joined(found))


def _joined(ranges: Iterable[tuple[int, int, int, int]]) -> list[OffsetRange]:
    places: defaultdict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for stream, partition, start, end in sorted(ranges):
        spans = places[stream, partition]
        if spans and spans[-1][1] == start:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return [OffsetRange(*place, *span, 0) for place, spans in sorted(places.items()) for span in spans]
