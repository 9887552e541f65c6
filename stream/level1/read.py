"""What do we know here? Level-1 rows by id, object, visit, time and cone: for notebooks, tools and services."""

from __future__ import annotations

import math
import sys
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
from sqlalchemy.ext.asyncio import AsyncConnection

from stream.errors import SkyburstError, Wrong
from stream.level1 import query
from stream.level1.columns import to_arrow
from stream.level1.query import Query, whole
from stream.sky import cone_ranges, distance
from stream.tables.engine import open_reader
from stream.tables.trouble import translated

ROWS_A_PIECE = 10_000
"""Rows as Python objects take seven times the memory that they take as Arrow: no more of them are held at a time."""


class Level1:
    """One survey's rows. Every answer is a `pyarrow.Table` with all columns of ``level1``.

    Units and descriptions are in the fields' metadata; `stream.level1.to_astropy` makes an astropy table of it.
    Instances may be used from several threads.

    Parameters
    ----------
    url
        ``mysql://READER:PASSWORD@HOST:PORT/DATABASE`` or ``sqlite:///FILE``.
    survey
        The survey's name.

    Raises
    ------
    Wrong
        ``level1_url``: not such a URL.

    Examples
    --------
    ::

        with Level1("sqlite:///level1.db", "lsst") as level1:
            curve = level1.by_object(169298433191444493)
    """

    def __init__(self, url: str, survey: str) -> None:
        self.survey = survey
        self._engine = open_reader(url)
        self._number: int | None = None

    def by_id(self, source: int) -> pa.Table:
        """The rows of a diaSourceId, one a night, the newest night first."""
        return self._fetch(query.by_id(self._survey(), whole("diaSourceId", source)))

    def by_object(self, thing: int | str) -> pa.Table:
        """The sources of an object (diaObjectId, or objectName where it is text) in order of time."""
        one = thing if isinstance(thing, str) else whole("diaObjectId", thing)
        return self._fetch(query.by_object(self._survey(), one))

    def by_visit(self, visit: int, detector: int | None = None) -> pa.Table:
        """The sources of a visit, or of one detector of it."""
        one = None if detector is None else whole("detector", detector)
        return self._fetch(query.by_visit(self._survey(), whole("visit", visit), one))

    def between(self, start: float, end: float, limit: int | None = None) -> pa.Table:
        """The first `limit` sources (all where None) with start <= midpointMjdTai < end, MJD TAI, in order of time."""
        return self._fetch(query.between(self._survey(), _moment(start), _moment(end), _most(limit)))

    def since(self, start: float, limit: int | None = None) -> pa.Table:
        """The first `limit` sources (all where None) with midpointMjdTai >= start, MJD TAI, in order of time."""
        return self._fetch(query.between(self._survey(), _moment(start), None, _most(limit)))

    def cone(self, ra: float, dec: float, radius: float) -> pa.Table:
        """The sources within `radius` of a position (degrees, ICRS; the rim included), by great-circle distance.

        Raises
        ------
        Wrong
            ``bad_cone``: a centre off the sky, or a radius not between 0 and 180 degrees.
        """
        queries = list(query.in_cells(self._survey(), cone_ranges(ra, dec, radius), self._engine.dialect.name))
        found = pa.concat_tables([self._fetch(one) for one in queries] or [to_arrow([])])
        apart = distance(ra, dec, found["ra"].to_numpy(), found["dec"].to_numpy())
        order = np.argsort(apart, kind="stable")
        return found.take(pa.array(order[apart[order] <= radius]))

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _survey(self) -> int:
        if self._number is None:
            with translated(), self._engine.connect() as conn:
                self._number = conn.execute(query.survey_number(self.survey)).scalar_one_or_none()
        if self._number is None:
            raise SkyburstError("unknown_survey", f"nothing of a survey {self.survey!r} was ever ingested here")
        return self._number

    def _fetch(self, wanted: Query) -> pa.Table:
        with translated(), self._engine.connect() as conn:
            found = conn.execute(wanted, execution_options={"yield_per": ROWS_A_PIECE})
            return pa.concat_tables([to_arrow(some) for some in found.partitions()] or [to_arrow([])])


def _moment(mjd: float) -> float:
    """`mjd` as both databases take it: MariaDB knows no infinity, and nobody what NaN is later than."""
    if math.isnan(mjd):
        raise Wrong("moment", "NaN is not a time", "give an MJD TAI")
    return min(max(float(mjd), -sys.float_info.max), sys.float_info.max)


def _most(limit: int | None) -> int | None:
    if limit is not None and whole("limit", limit) < 0:
        raise Wrong("number", f"there is no limit of {limit}", "give how many sources at most, or None for all")
    return None if limit is None else int(limit)


async def fetch(conn: AsyncConnection, wanted: Query) -> pa.Table:
    """The answer to one of `stream.level1.query`'s questions, for code that runs on asyncio."""
    with translated():
        return to_arrow((await conn.execute(wanted)).all())
