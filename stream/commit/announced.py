"""Announced visits: stored once each, in the transaction that moves the place in their topic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stream.commit import ledger
from stream.commit.batch import OffsetRange
from stream.commit.identity import named_survey
from stream.errors import Fenced
from stream.survey.times import DAY_S, UNIX_EPOCH_MJD
from stream.tables.model import table
from stream.transport.announcements import Announcement, DetectorClosed, VisitOpened

SINK = "visits"
"""The sink of the announcements in the ledger."""

T = TypeVar("T")
_PAGE = 200
_TAI_MINUS_UTC_S = 37.0
"""Since 2017; a latency has no need of the years before, nor of astropy's table in the daemon's loop."""


@dataclass(frozen=True, slots=True)
class Times:
    """What is announced of one visit: its night (YYYYMMDD), and the instants of its runs (s since 1970 UTC).

    A run's instant is the one that stands for the end of readout now, as in a replay; else the end of readout itself.
    """

    night: int
    instants: tuple[float, ...]


async def store(
    engine: AsyncEngine, told: Sequence[Announcement], ranges: Sequence[OffsetRange], instance: str, now: float
) -> None:
    """Move the place of the sink and store what is new; an announcement that is there already stays as it is.

    Raises
    ------
    Fenced
        ``ledger_fenced``: somebody else has read these offsets.
    Fatal
        ``level1_instance``: the database is not the one with which this process began.
    """
    surveys = {name: await named_survey(engine, name, instance) for name in sorted({one.survey for one in told})}
    opened = {(surveys[v.survey], v.visit, v.run): v for v in told if isinstance(v, VisitOpened)}
    closed = {(surveys[d.survey], d.visit, d.detector, d.run): d for d in told if isinstance(d, DetectorClosed)}
    visits = [
        dict(zip(("survey", "visit", "run"), key, strict=True))
        | {
            "night": v.night,
            "detectors": len(v.detectors) or None,
            "endOfReadout": v.endOfReadout,
            "standsForNow": v.standsForNow,
            "openedAt": now,
        }
        for key, v in opened.items()
    ]
    detectors = [
        dict(zip(("survey", "visit", "detector", "run"), key, strict=True)) | {"alerts": d.alerts}
        for key, d in closed.items()
    ]
    async with engine.begin() as connection:
        try:
            await ledger.move(connection, ranges, instance, SINK)
        except Fenced:
            await ledger.same_instance(connection, instance)
            raise
        await _insert_new(connection, table("visits"), ("survey", "visit", "run"), visits)
        await _insert_new(connection, table("detector_closed"), ("survey", "visit", "detector", "run"), detectors)


async def _insert_new(
    connection: AsyncConnection, into: sa.Table, key: Sequence[str], records: Sequence[Mapping[str, object]]
) -> None:
    columns = [into.c[name] for name in key]
    known: set[tuple[Any, ...]] = set()
    for page in _pages(sorted({(r["survey"], r["visit"]) for r in records}, key=repr)):
        which = sa.or_(*(sa.and_(into.c.survey == survey, into.c.visit == visit) for survey, visit in page))
        known |= {tuple(row) for row in await connection.execute(sa.select(*columns).where(which))}
    fresh = [record for record in records if tuple(record[name] for name in key) not in known]
    if fresh:
        await connection.execute(sa.insert(into), fresh)


async def times(engine: AsyncEngine, survey: int, visits: Iterable[int]) -> dict[int, Times]:
    """What is announced of `visits`, those that are."""
    rows = table("visits")
    found: dict[int, Times] = {}
    async with engine.connect() as connection:
        for page in _pages(sorted(set(visits))):
            query = sa.select(rows.c.visit, rows.c.night, rows.c.standsForNow, rows.c.endOfReadout).where(
                rows.c.survey == survey, rows.c.visit.in_(page)
            )
            for row in await connection.execute(query.order_by(rows.c.visit, rows.c.openedAt)):
                before = found.get(row.visit, Times(row.night, ()))
                instant = _unix_of(row.endOfReadout) if row.standsForNow is None else row.standsForNow
                found[row.visit] = Times(row.night, before.instants + (() if instant is None else (instant,)))
    return found


def _unix_of(mjd_tai: float | None) -> float | None:
    return None if mjd_tai is None else (mjd_tai - UNIX_EPOCH_MJD) * DAY_S - _TAI_MINUS_UTC_S


def _pages(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[k : k + _PAGE] for k in range(0, len(items), _PAGE))
