"""The ledger: the place in each partition, moved by compare-and-set in the transaction that publishes (step 3a)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stream.commit.batch import Begin, OffsetRange
from stream.errors import Fatal, Fenced
from stream.tables.model import table

SINK = "alertdb"
"""The sink of ingest, whatever the consumer group is called."""

Place = tuple[int, int]
"""A stream's number and a Kafka partition."""


async def places(engine: AsyncEngine, wanted: Iterable[Place], sink: str = SINK) -> dict[Place, int]:
    """The next offset of each wanted place that has a ledger row."""
    return await _told(engine, wanted, sink, table("ledger").c.next)


async def ahead(engine: AsyncEngine, wanted: Iterable[Place], sink: str = SINK) -> dict[Place, int]:
    """The wanted places that a daemon has found ahead of their log, with the offset at which the log ended then."""
    found = await _told(engine, wanted, sink, table("ledger").c.aheadOf)
    return {place: end for place, end in found.items() if end is not None}


async def has_topic(engine: AsyncEngine, topic: str, sink: str = SINK) -> bool:
    """Whether any stream of this topic, of whatever cluster, has a place."""
    streams, ledger = table("streams"), table("ledger")
    joined = sa.select(ledger.c.stream).join_from(ledger, streams, ledger.c.stream == streams.c.stream)
    query = joined.where(ledger.c.sink == sink, streams.c.topic == topic).limit(1)
    async with engine.connect() as connection:
        return (await connection.execute(query)).first() is not None


async def begins(engine: AsyncEngine, wanted: Iterable[Place], sink: str = SINK) -> dict[Place, int]:
    """Where each wanted place began: the first offset that a commit took, or `next` where none has taken any yet."""
    ledger, ranges = table("ledger").c, table("commit_ranges").c
    mine = (ranges.stream == ledger.stream, ranges.kafkaPartition == ledger.kafkaPartition)
    first = sa.select(ranges.startOffset).where(*mine).order_by(ranges.startOffset).limit(1)
    began = sa.func.coalesce(first.correlate(table("ledger")).scalar_subquery(), ledger.next)
    return await _told(engine, wanted, sink, began)


async def _told(
    engine: AsyncEngine, wanted: Iterable[Place], sink: str, what: sa.ColumnElement[Any]
) -> dict[Place, Any]:
    ledger = table("ledger")
    keys = sorted(set(wanted))
    if not keys:
        return {}
    query = sa.select(ledger.c.stream, ledger.c.kafkaPartition, what).where(ledger.c.sink == sink, _among(keys))
    async with engine.connect() as connection:
        return {(row[0], row[1]): row[2] for row in await connection.execute(query)}


def _among(places: Sequence[Place]) -> sa.ColumnElement[bool]:
    ledger = table("ledger")
    return sa.or_(*(sa.and_(ledger.c.stream == s, ledger.c.kafkaPartition == p) for s, p in places))


async def mark_ahead(engine: AsyncEngine, ends: Mapping[Place, int], instance: str, sink: str = SINK) -> None:
    """Write down that places lie ahead of logs that end at `ends`, for whoever reads them next; a first mark stays.

    Raises
    ------
    Fatal
        ``level1_instance``: see `same_instance`.
    """
    ledger = table("ledger")
    async with engine.begin() as connection:
        await same_instance(connection, instance)
        for place, end in sorted(ends.items()):
            unmarked = (ledger.c.sink == sink, _among([place]), ledger.c.aheadOf.is_(None))
            await connection.execute(sa.update(ledger).where(*unmarked).values(aheadOf=end))


async def clear_ahead(connection: AsyncConnection, closed: Iterable[Place], sink: str = SINK) -> None:
    """Take marks away, as part of the transaction that closes these places for a new generation of their stream."""
    ledger = table("ledger")
    if keys := sorted(set(closed)):
        mine = (ledger.c.sink == sink, _among(keys), ledger.c.aheadOf.is_not(None))
        await connection.execute(sa.update(ledger).where(*mine).values(aheadOf=None))


async def begin(engine: AsyncEngine, starts: Mapping[Place, int], instance: str, sink: str = SINK) -> dict[Place, int]:
    """Insert a row for each place that has none, and give the next offset of each, whoever inserted it.

    All or none: whoever sees a place that was begun here can tell that others, which have no row, were not there.

    Raises
    ------
    Fatal
        ``level1_instance``: see `same_instance`; nothing was inserted.
    """
    known = await places(engine, starts, sink)
    while missing := starts.keys() - known.keys():
        begins = [Begin(stream, partition, starts[stream, partition]) for stream, partition in missing]
        with suppress(Fenced):
            async with engine.begin() as connection:
                await same_instance(connection, instance)
                await insert(connection, begins, sink)
        known = await places(engine, starts, sink)
    return known


async def insert(connection: AsyncConnection, begins: Sequence[Begin], sink: str = SINK) -> None:
    """Places that the ledger has not had, as part of the transaction that says why.

    Raises
    ------
    Fenced
        ``ledger_fenced``: somebody else has begun one of them.
    """
    if not begins:
        return
    rows = [{"sink": sink, "stream": b.stream, "kafkaPartition": b.partition, "next": b.next} for b in sorted(begins)]
    try:
        await connection.execute(sa.insert(table("ledger")), rows)
    except IntegrityError as error:
        text = "a place that was to begin is in the ledger already"
        raise Fenced("ledger_fenced", text, "look again: `skyburst ledger show`") from error


async def move(connection: AsyncConnection, ranges: Sequence[OffsetRange], instance: str, sink: str = SINK) -> None:
    """Step 3a: move every range's place from its start to its end, all or none.

    Raises
    ------
    Fenced
        ``ledger_fenced``: a place is not at its start, or the database is not the instance that this daemon began with:
        `same_instance` tells which.
    Fatal
        ``level1_instance``, where there is no range.
    """
    if not ranges:
        await same_instance(connection, instance)
        return
    ordered = sorted(ranges)
    # A rebuild that gives the database a new instance waits for us, or we see it.
    lock = "" if connection.dialect.name == "sqlite" else " LOCK IN SHARE MODE"
    moved = (await connection.exec_driver_sql(_move_sql(ordered, instance, sink, lock))).rowcount
    if moved != len(ordered):
        raise Fenced(
            "ledger_fenced",
            f"{len(ordered) - moved} of {len(ordered)} places in the ledger are not where this batch starts",
            "another daemon has moved on; this one reads the ledger again",
        )


def _move_sql(ranges: Sequence[OffsetRange], instance: str, sink: str, lock: str) -> str:
    """One statement for all ranges, written out: SQLAlchemy would take longer to build it than the server to run it.

    Nothing in it but integers, and names made of letters and digits.
    """
    if not (instance.isalnum() and sink.isalnum()):
        raise ValueError(f"not a name: {instance!r}, {sink!r}")
    match = [
        f"(stream = {int(r.stream)} AND kafkaPartition = {int(r.partition)} AND next = {int(r.start)})" for r in ranges
    ]
    cases = " ".join(f"WHEN {clause} THEN {int(r.end)}" for clause, r in zip(match, ranges, strict=True))
    return (
        f"UPDATE ledger SET next = CASE {cases} ELSE next END WHERE sink = '{sink}' AND ({' OR '.join(match)})"  # noqa: S608
        f" AND EXISTS (SELECT 1 FROM schema_version WHERE instance = '{instance}'{lock})"
    )


async def same_instance(connection: AsyncConnection, instance: str) -> None:
    """Hold the database against the instance that this daemon began with, until the transaction ends.

    Raises
    ------
    Fatal
        ``level1_instance``: it was rebuilt, or another one stands at its URL. To read the ledger again would not help.
    """
    version = table("schema_version")
    query = sa.select(version.c.instance).where(version.c.id == 1).with_for_update(read=True)
    found = (await connection.execute(query)).scalar_one_or_none()
    if found != instance:
        text = f"the database is instance {found}, not {instance}, with which this process began"
        raise Fatal("level1_instance", text, "start it again, once the database behind `level1` is the right one")
