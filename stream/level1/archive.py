"""One packet back, by its DIASource id: Level-1 says where it lies, the AlertDB gives it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import sqlalchemy as sa

from stream.alert import RecordId
from stream.alertdb.damage import SegmentAbsent
from stream.alertdb.port import SegmentStore
from stream.alertdb.reader import Message, SegmentReader
from stream.alertdb.segment import SegmentRef
from stream.alertdb.store import open_store
from stream.errors import Held, SkyburstError, Transient
from stream.level1.packet import Packet, Place, Standing
from stream.level1.query import whole
from stream.tables.engine import open_reader
from stream.tables.model import table
from stream.tables.trouble import translated

T = TypeVar("T")
OPEN_SEGMENTS = 32


class AlertArchive:
    """Packets and whole messages by id. Threads may share one; a context manager.

    Parameters
    ----------
    level1
        The database's URL, as `stream.level1.Level1` takes it.
    alertdb
        The segment store: a folder or an object store's URL.
    survey
        The survey's name; None where the database has one survey alone.

    Examples
    --------
    ::

        with AlertArchive("sqlite:///level1.db", "alertdb") as archive:
            packet = archive.packet(169298433191444493)
            flux = packet.decode()["diaSource"]["psfFlux"]
    """

    def __init__(self, level1: str, alertdb: str | SegmentStore, survey: str | None = None) -> None:
        self._engine = open_reader(level1)
        self._store = _opened(alertdb) if isinstance(alertdb, str) else alertdb
        self._named = survey
        self._survey: int | None = None
        self._lock = threading.Lock()
        self._readers: OrderedDict[int, SegmentReader] = OrderedDict()

    def packet(self, source: int, night: int | None = None) -> Packet:
        """The packet of the Level-1 row of diaSourceId `source`: of `night` (YYYYMMDD), or of its newest night.

        Raises
        ------
        SkyburstError
            ``alert_unknown``: Level-1 has no such row.
        """
        return self.fetch(self._first(source, night))

    def message(self, source: int, night: int | None = None) -> Message:
        """The whole Kafka message that `packet` came in, exactly as it came; errors as there."""
        return self.fetch_message(self._first(source, night))

    def places(self, source: int, night: int | None = None) -> list[Place]:
        """Every packet of diaSourceId `source`, of one night or of all: rows first, newest night first, then repeats,
        conflicts, and what is held in quarantine."""
        source, night = _asked(source, night)
        found = self._rows(source, night)
        survey = self._number()
        with translated(), self._engine.connect() as conn:
            repeats = conn.execute(_repeats(survey, source, night)).all()
            quarantined = conn.execute(_quarantined(survey, source, night)).all()
        found += [_place(row, row.kind, row.part) for row in repeats]
        found += [_place(row, "quarantined", 0, row.code, row.reason) for row in quarantined]
        return found

    def fetch(self, place: Place) -> Packet:
        """The packet at `place`, checked against its digest."""

        def read(reader: SegmentReader) -> Packet:
            header = reader.header
            if header.key.kind in ("raw", "quarantine"):
                place_read = place if header.key.kind == "quarantine" else _with_part(reader, place)
                value = reader.message(reader.find(place.block_offset, place.slot, place_read.part)).value
                return Packet(place_read, header.key.kind, header.schema_text, header.schema_id, value)
            datum = reader.datum(place.block_offset, place.slot)
            return Packet(place, header.key.kind, header.schema_text, header.schema_id, datum)

        return self._reading(place, read)

    def fetch_message(self, place: Place) -> Message:
        """The whole message at `place`, byte for byte, with key, timestamp and headers."""
        return self._reading(place, lambda reader: reader.message(_row(reader, place)))

    def close(self) -> None:
        """Let go of files and connections."""
        with self._lock:
            while self._readers:
                self._readers.popitem()[1].close()
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _first(self, source: int, night: int | None) -> Place:
        found = self._rows(*_asked(source, night))
        if not found:
            of = f" of night {night}" if night else ""
            advice = "see `skyburst alert ID --all` for packets in quarantine"
            raise SkyburstError("alert_unknown", f"Level-1 has no alert {source}{of}", advice)
        return found[0]

    def _rows(self, source: int, night: int | None) -> list[Place]:
        survey = self._number()  # before there is a connection: threads that held one would wait for another's
        with translated(), self._engine.connect() as conn:
            return [_place(row, "first", 0) for row in conn.execute(_level1(survey, source, night)).all()]

    def _number(self) -> int:
        if self._survey is None:
            with translated(), self._engine.connect() as conn:
                surveys = {row.name: int(row.survey) for row in conn.execute(sa.select(table("surveys"))).all()}
            if self._named is None and len(surveys) != 1:
                text = f"Level-1 has {len(surveys)} surveys ({', '.join(sorted(surveys))})"
                raise SkyburstError(
                    "unknown_survey", text, "say which with --survey" if surveys else "ingest something"
                )
            if self._named is not None and self._named not in surveys:
                raise SkyburstError("unknown_survey", f"Level-1 has nothing of a survey {self._named!r}")
            self._survey = surveys[self._named] if self._named is not None else next(iter(surveys.values()))
        return self._survey

    def _reading(self, place: Place, read: Callable[[SegmentReader], T]) -> T:
        with self._lock:
            try:
                return read(self._reader(place))
            except SegmentAbsent:
                # It may just have been sealed, copied or moved: its row says where to.
                self._drop(place.segment)
            try:
                return read(self._reader(place))
            except SegmentAbsent as absent:
                advice = "see that the setting alertdb is right; else `skyburst verify` names what is lost"
                raise Held("segment_absent", absent.message, advice) from absent

    def _reader(self, place: Place) -> SegmentReader:
        reader = self._readers.get(place.segment)
        if reader is not None and place.block_offset < reader.ref.data_length:
            self._readers.move_to_end(place.segment)
            return reader
        self._drop(place.segment)
        reader = self._store.read(self._ref(place.segment))
        self._readers[place.segment] = reader
        while len(self._readers) > OPEN_SEGMENTS:
            self._readers.popitem(last=False)[1].close()
        return reader

    def _drop(self, segment: int) -> None:
        reader = self._readers.pop(segment, None)
        if reader is not None:
            reader.close()

    def _ref(self, segment: int) -> SegmentRef:
        with translated(), self._engine.connect() as conn:
            rows = table("segments")
            row = conn.execute(sa.select(rows).where(rows.c.segment == segment)).one_or_none()
        if row is None or row.dataName is None:
            raise Held("segment_unknown", f"table segments has no file of segment {segment}", "run `skyburst verify`")
        if row.state == "retired":
            raise SkyburstError("segment_retired", f"the packets of segment {segment} were retired")
        return SegmentRef(segment, row.dataName, row.indexName, row.dataLength, row.indexLength)


def _asked(source: int, night: int | None) -> tuple[int, int | None]:
    return whole("diaSourceId", source), None if night is None else whole("night", night)


def _opened(alertdb: str) -> SegmentStore:
    """A store to read from: a folder that is not there is not made."""
    if "://" not in alertdb and not Path(alertdb).exists():
        raise Transient("store_away", f"there is no folder {alertdb}", "is alertdb right, and its file system mounted?")
    return open_store(alertdb)


def _level1(survey: int, source: int, night: int | None) -> sa.Select[Any]:
    c = table("level1").c
    query = sa.select(
        c.diaSourceId, c.night, c.stream, c.kafkaPartition, c.kafkaOffset, c.segment, c.blockOffset, c.slot
    ).where(c.survey == survey, c.diaSourceId == source)
    return _of_night(query, c.night, night)


def _repeats(survey: int, source: int, night: int | None) -> sa.Select[Any]:
    c = table("level1_repeat").c
    return _of_night(sa.select(*c).where(c.survey == survey, c.diaSourceId == source), c.night, night)


def _quarantined(survey: int, source: int, night: int | None) -> sa.Select[Any]:
    c = table("quarantine").c
    held = sa.select(*c).where(c.survey == survey, c.diaSourceId == source, c.state == "held")
    return _of_night(held, c.night, night)


def _of_night(query: sa.Select[Any], column: sa.ColumnElement[Any], night: int | None) -> sa.Select[Any]:
    return (query if night is None else query.where(column == night)).order_by(column.desc())


def _place(row: sa.Row[Any], standing: Standing, part: int, code: str = "", reason: str = "") -> Place:
    record = RecordId(int(row.stream), int(row.kafkaPartition), int(row.kafkaOffset))
    source, night = int(row.diaSourceId), int(row.night)
    return Place(
        source, night, standing, record, part, int(row.segment), int(row.blockOffset), int(row.slot), code, reason
    )


def _with_part(reader: SegmentReader, place: Place) -> Place:
    """`place` with the part of its message that has its id: several alerts of a raw container share a slot."""
    rows = reader.table(("blockOffset", "slot", "part", "diaSourceId")).to_pydict()
    here = zip(rows["blockOffset"], rows["slot"], rows["part"], rows["diaSourceId"])
    parts = [p for b, s, p, i in here if (b, s, i) == (place.block_offset, place.slot, place.source)]
    part = place.part if place.part in parts or not parts else parts[0]
    return replace(place, part=part)


def _row(reader: SegmentReader, place: Place) -> int:
    part = _with_part(reader, place).part if reader.header.key.kind == "raw" else 0
    return reader.find(place.block_offset, place.slot, part)
