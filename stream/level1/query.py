"""The questions that Level-1 answers, as SQL, each for one survey (by number) and each led by an index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Select, and_, or_, select

from stream.errors import Wrong
from stream.tables.model import table

Query = Select[Any]

RANGES_A_QUERY = {"mysql": 200, "sqlite": 1}
"""Ranges of cells in one query: SQLite uses no index for several (200 ms instead of 3 in 100,000 rows)."""


def whole(what: str, value: int) -> int:
    """`value` as a whole number that a column can have. A NumPy integer is bytes to SQLite, and equals nothing.

    Raises
    ------
    Wrong
        ``number``: it has more than 64 bits, or is a float, as pandas makes of ids beside a NULL.
    """
    advice = "give a whole number of 64 bits"
    if isinstance(value, float | np.floating):
        raise Wrong("number", f"the {what} {value} is a float, which has lost the last digits of an id", advice)
    number = int(value)
    if not -(1 << 63) <= number < 1 << 63:
        raise Wrong("number", f"there is no {what} {number}", advice)
    return number


def by_id(survey: int, source: int) -> Query:
    """Rows of one DIASource id, one a night: the newest night first."""
    level1 = table("level1").c
    return _rows(survey).where(level1.diaSourceId == source).order_by(level1.night.desc())


def by_object(survey: int, thing: int | str) -> Query:
    """The sources of an object by its id, or by its name where the survey names objects, in order of time."""
    level1 = table("level1").c
    same = level1.objectName == thing if isinstance(thing, str) else level1.diaObjectId == thing
    return _rows(survey).where(same).order_by(level1.midpointMjdTai)


def by_visit(survey: int, visit: int, detector: int | None = None) -> Query:
    """The sources of a visit, or of one detector of it, by detector and id."""
    level1 = table("level1").c
    query = _rows(survey).where(level1.visit == visit)
    if detector is not None:
        query = query.where(level1.detector == detector)
    # An order that the primary key has would lure both databases into walking the whole survey; a sum has no index.
    return query.order_by(level1.detector + 0, level1.diaSourceId + 0)


def between(survey: int, start: float, end: float | None, limit: int | None = None) -> Query:
    """Sources with start <= midpointMjdTai < end (MJD TAI) in order of time; no end where it is None."""
    time = table("level1").c.midpointMjdTai
    query = _rows(survey).where(time >= start)
    if end is not None:
        query = query.where(time < end)
    return query.order_by(time).limit(limit)


def in_cells(survey: int, ranges: NDArray[np.int64], dialect: str) -> Iterator[Query]:
    """Sources in half-open ranges of order-29 cells, as many ranges a query as the database is good at."""
    cell, step = table("level1").c.healpix, RANGES_A_QUERY[dialect]
    for at in range(0, len(ranges), step):
        some = ranges[at : at + step].tolist()
        yield _rows(survey).where(or_(*(and_(cell >= first, cell < beyond) for first, beyond in some)))


def survey_number(name: str) -> Query:
    """The number of a survey by its name."""
    surveys = table("surveys").c
    return select(surveys.survey).where(surveys.name == name)


def _rows(survey: int) -> Query:
    level1 = table("level1")
    return select(level1).where(level1.c.survey == survey)
