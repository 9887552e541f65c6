"""What lies in quarantine: which records, their whole bytes, and how many more may come."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from stream.alert import RecordId
from stream.alertdb.damage import SegmentAbsent
from stream.alertdb.port import SegmentStore
from stream.alertdb.quarantine import Quarantined, read_quarantined
from stream.alertdb.segment import SegmentRef
from stream.commit.redrive import among
from stream.errors import SkyburstError, Wrong
from stream.tables.model import table

Row = sa.Row[Any]
PAGE = 1000


@dataclass(frozen=True, slots=True)
class Selection:
    """Which quarantined records of a survey are meant: all that fit every condition that is not None.

    Attributes
    ----------
    survey
        The survey's number.
    records
        These alone.
    code, visit, night, state, schema_id
        As the columns of table ``quarantine``.
    """

    survey: int
    records: tuple[RecordId, ...] | None = None
    code: str | None = None
    visit: int | None = None
    night: int | None = None
    state: Literal["held", "redriven"] | None = None
    schema_id: int | None = None


def parse_record(text: str) -> RecordId:
    """Read ``STREAM:PARTITION:OFFSET``; raises Wrong ``record`` where it is none."""
    cells = text.split(":")
    if len(cells) != 3 or not all(cell.isascii() and cell.isdigit() and len(cell) < 19 for cell in cells):
        raise Wrong("record", f"{text!r} is no record", "write it as STREAM:PARTITION:OFFSET")
    return RecordId(*map(int, cells))


def record_text(row: Row) -> str:
    """``STREAM:PARTITION:OFFSET`` of a row."""
    return f"{row.stream}:{row.kafkaPartition}:{row.kafkaOffset}"


def record_of(row: Row) -> RecordId:
    """The record of a row."""
    return RecordId(row.stream, row.kafkaPartition, row.kafkaOffset)


async def quarantined(engine: AsyncEngine, wanted: Selection, after: RecordId | None, limit: int = PAGE) -> list[Row]:
    """At most `limit` rows of ``quarantine`` behind the record `after`, in the order of their records."""
    rows = table("quarantine")
    key = (rows.c.stream, rows.c.kafkaPartition, rows.c.kafkaOffset)
    query = sa.select(rows).where(rows.c.survey == wanted.survey).order_by(*key)
    for name, column in (
        ("code", rows.c.code),
        ("visit", rows.c.visit),
        ("night", rows.c.night),
        ("state", rows.c.state),
        ("schema_id", rows.c.schemaId),
    ):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(column == value)
    clauses: Iterable[sa.ColumnElement[bool]] = [sa.true() if after is None else _behind(rows, after)]
    if wanted.records is not None:
        clauses = among(rows, {record for record in wanted.records if after is None or record > after})
    found: list[Row] = []
    async with engine.connect() as connection:
        for clause in clauses:
            found += await connection.execute(query.where(clause).limit(limit - len(found)))
            if len(found) >= limit:
                break
    return found


def _behind(rows: sa.Table, record: RecordId) -> sa.ColumnElement[bool]:
    same_stream = rows.c.stream == record.stream
    same_partition = sa.and_(same_stream, rows.c.kafkaPartition == record.partition)
    return sa.or_(
        rows.c.stream > record.stream,
        sa.and_(same_stream, rows.c.kafkaPartition > record.partition),
        sa.and_(same_partition, rows.c.kafkaOffset > record.offset),
    )


async def segment_refs(engine: AsyncEngine, numbers: set[int]) -> dict[int, SegmentRef]:
    """Where segments are now, by their numbers."""
    rows = table("segments")
    query = sa.select(rows).where(rows.c.segment.in_(sorted(numbers)))
    async with engine.connect() as connection:
        return {
            row.segment: SegmentRef(row.segment, row.dataName, row.indexName, row.dataLength, row.indexLength)
            for row in await connection.execute(query)
            if row.state not in ("retired", "swept")
        }


def read_back(store: SegmentStore, refs: dict[int, SegmentRef], rows: Sequence[Row]) -> list[Quarantined]:
    """The whole messages of `rows`, in their order; held against their digests. Blocks: it reads files.

    Raises
    ------
    SkyburstError
        ``segment_retired``: the packets are gone for good; ``segment_absent``, ``segment_damaged``.
    """
    found: dict[RecordId, Quarantined] = {}
    for number in sorted({row.segment for row in rows}):
        if number not in refs:
            raise SkyburstError("segment_retired", f"segment {number} has been retired, with what lay in quarantine")
        with store.read(refs[number]) as reader:
            for row in rows:
                if row.segment == number:
                    found[record_of(row)] = read_quarantined(reader.datum(row.blockOffset, row.slot))
    return [found[record_of(row)] for row in rows]


async def fetch(engine: AsyncEngine, store: SegmentStore, rows: Sequence[Row]) -> list[Quarantined]:
    """As `read_back`; who finds no file reads the row of the segment again, since it may just have been sealed."""
    numbers = {row.segment for row in rows}
    refs = await segment_refs(engine, numbers)
    while True:
        try:
            return await asyncio.to_thread(read_back, store, refs, rows)
        except SegmentAbsent:
            now = await segment_refs(engine, numbers)
            if now == refs:
                raise
            refs = now


async def allow(engine: AsyncEngine, survey: int, more: int) -> int:
    """Let `more` bad packets pass beyond what was allowed; gives the new total for the survey."""
    rows = table("quarantine_allowance")
    while True:
        try:
            async with engine.begin() as connection:
                changed = await connection.execute(
                    sa.update(rows).where(rows.c.survey == survey).values(allowed=rows.c.allowed + more)
                )
                if changed.rowcount == 0:
                    await connection.execute(sa.insert(rows), {"survey": survey, "allowed": more})
                query = sa.select(rows.c.allowed).where(rows.c.survey == survey)
                return int((await connection.execute(query)).scalar_one())
        except IntegrityError:
            continue
