"""A stored night sent again: visit by visit, each message byte for byte with its key, timestamp and headers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from stream.alertdb.damage import SegmentAbsent
from stream.alertdb.port import SegmentStore
from stream.alertdb.reader import SegmentReader
from stream.alertdb.segment import SegmentRef
from stream.errors import Held, Wrong
from stream.tables.engine import open_reader
from stream.tables.model import table
from stream.tables.trouble import translated
from stream.visit import Outgoing, Visit

OPEN = 4
_COLUMNS = ("visit", "midpointMjdTai", "partition", "offset", "part")


@dataclass(frozen=True, slots=True)
class _Stored:
    """The messages of one segment, one row each, by the visit of their first alert."""

    number: int
    row: NDArray[np.int64]
    visit: NDArray[np.int64]
    midpoint: NDArray[np.float64]
    partition: NDArray[np.int32]
    offset: NDArray[np.int64]


class StoredNights:
    """The nights of one survey in the AlertDB. What is in quarantine is left there.

    Holds 36 bytes of memory for each message of the night that is sent.

    Parameters
    ----------
    level1
        The database's URL.
    store
        Where the segments are.
    survey
        The survey's name.
    """

    def __init__(self, level1: str, store: SegmentStore, survey: str) -> None:
        self._engine = open_reader(level1)
        self._store = store
        self._survey = survey
        self._readers: OrderedDict[int, SegmentReader] = OrderedDict()

    def segments(self, night: int) -> list[tuple[int, int]]:
        """The segments that hold the packets of `night`, in the order in which they are sent, and how many each has."""
        try:
            with translated(), self._engine.connect() as conn:
                number = _number(conn, self._survey)
                if number is None:
                    return []
                return [(row.segment, row.records) for row in conn.execute(_segments(number, night))]
        finally:
            self._engine.dispose()

    def oldest(self, night: int) -> int | None:
        """The smallest Kafka timestamp (ms since 1970 UTC) of a message of `night`; None where none has one."""
        found: list[int] = []
        try:
            for segment, _ in self.segments(night):
                stamps = self._reader(segment).table(("timestamp",)).column("timestamp").to_numpy()
                found += [int(stamps[stamps >= 0].min())] if np.any(stamps >= 0) else []
        finally:
            self._close()
        return min(found, default=None)

    def visits(self, night: int) -> Iterator[Visit]:
        """The visits of `night` (YYYYMMDD) in the order of their times, with counts as Level-1 has them.

        Raises
        ------
        stream.errors.Wrong
            ``night_unknown``: nothing of it is stored.
        """
        with translated(), self._engine.connect() as conn:
            number = _number(conn, self._survey)
            segments = [] if number is None else conn.execute(_segments(number, night)).scalars().all()
            counts = {} if number is None else _counts(conn.execute(_counted(number, night)).all())
            ends = {} if number is None else {row[0]: row[1] for row in conn.execute(_ends(number, night)).all()}
        if not segments:
            raise Wrong("night_unknown", f"nothing of {self._survey} night {night} is stored", "see `skyburst status`")
        stored = [self._stored(segment) for segment in segments]
        try:
            for visit in _in_time(stored):
                expected = counts.get(visit, {})
                yield Visit(visit, night, tuple(expected), expected, ends.get(visit), self._alerts(stored, visit))
        finally:
            self._close()

    def _alerts(self, stored: list[_Stored], visit: int) -> Iterator[Outgoing]:
        for segment in stored:
            at = np.flatnonzero(segment.visit == visit)
            if len(at):
                wanted = set(zip(segment.partition[at].tolist(), segment.offset[at].tolist(), strict=True))
                yield from self._messages(segment.number, segment.row[at], wanted)

    def _messages(self, segment: int, rows: NDArray[np.int64], wanted: set[tuple[int, int]]) -> Iterator[Outgoing]:
        for commit in self._reader(segment).commits:
            if not np.any((rows >= commit.first) & (rows < commit.first + commit.rows)):
                continue
            # Asked for again: whoever takes the messages may be slow, and other segments are read meanwhile.
            for message in self._reader(segment).messages(commit):
                if (message.record.partition, message.record.offset) in wanted:
                    yield Outgoing(message.key, message.value, message.headers, message.timestamp)

    def _stored(self, segment: int) -> _Stored:
        rows = self._reader(segment).table(_COLUMNS)
        visit, midpoint, partition, offset, part = (rows.column(name).to_numpy() for name in _COLUMNS)
        order = np.lexsort((part, offset, partition))
        first = np.ones(len(order), np.bool_)
        first[1:] = (np.diff(partition[order]) != 0) | (np.diff(offset[order]) != 0)
        kept = np.sort(order[first])
        return _Stored(
            segment,
            kept,
            visit[kept].astype(np.int64),
            midpoint[kept].astype(np.float64),
            partition[kept].astype(np.int32),
            offset[kept].astype(np.int64),
        )

    def _reader(self, segment: int) -> SegmentReader:
        if segment in self._readers:
            self._readers.move_to_end(segment)
            return self._readers[segment]
        try:
            reader = self._store.read(self._ref(segment))
        except SegmentAbsent:
            # It may just have been sealed, copied or moved: its row says where to.
            reader = self._store.read(self._ref(segment))
        self._readers[segment] = reader
        while len(self._readers) > OPEN:
            self._readers.popitem(last=False)[1].close()
        return reader

    def _ref(self, segment: int) -> SegmentRef:
        rows = table("segments")
        with translated(), self._engine.connect() as conn:
            row = conn.execute(sa.select(rows).where(rows.c.segment == segment)).one()
        if row.dataName is None:
            raise Held("segment_unknown", f"table segments has no file of segment {segment}", "run `skyburst verify`")
        return SegmentRef(segment, row.dataName, row.indexName, row.dataLength, row.indexLength)

    def _close(self) -> None:
        while self._readers:
            self._readers.popitem()[1].close()
        self._engine.dispose()


def _in_time(stored: list[_Stored]) -> list[int]:
    begins: dict[int, float] = {}
    for segment in stored:
        visits, where = np.unique(segment.visit, return_inverse=True)
        first = np.full(len(visits), np.inf)
        np.minimum.at(first, where, segment.midpoint)
        for visit, begin in zip(visits.tolist(), first.tolist(), strict=True):
            begins[visit] = min(begin, begins.get(visit, np.inf))
    return sorted(begins, key=lambda visit: (begins[visit], visit))


def _number(conn: sa.Connection, survey: str) -> int | None:
    """The number of the survey of that name; None where nothing of it was ever stored."""
    surveys = table("surveys").c
    return conn.execute(sa.select(surveys.survey).where(surveys.name == survey)).scalar()


def _segments(survey: int, night: int) -> sa.Select[Any]:
    c = table("segments").c
    stored = c.state.in_(("open", "sealed", "moved"))
    return (
        sa.select(c.segment, c.records)
        .where(c.survey == survey, c.night == night, c.kind != "quarantine", stored, c.records > 0)
        .order_by(c.heartbeat, c.segment)
    )


def _counted(survey: int, night: int) -> sa.Select[Any]:
    c = table("level1").c
    return (
        sa.select(c.visit, c.detector, sa.func.count())
        .where(c.survey == survey, c.night == night)
        .group_by(c.visit, c.detector)
        .order_by(c.visit, c.detector)
    )


def _counts(rows: Any) -> dict[int, dict[int, int]]:
    found: dict[int, dict[int, int]] = {}
    for visit, detector, alerts in rows:
        found.setdefault(visit, {})[detector] = alerts
    return found


def _ends(survey: int, night: int) -> sa.Select[Any]:
    c = table("visits").c
    return (
        sa.select(c.visit, sa.func.max(c.endOfReadout))
        .where(c.survey == survey, c.night == night, c.endOfReadout.is_not(None))
        .group_by(c.visit)
    )
