"""Verifying: the invariants of the commit protocol proven on what is stored, also while ingest runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, field

import sqlalchemy as sa

from stream.alert import Stream
from stream.audit.broker import Broker, Comparison, Retained
from stream.audit.chunks import Chunks
from stream.audit.commits import Commits
from stream.audit.files import Absent, Files
from stream.audit.findings import Findings
from stream.audit.places import Places
from stream.audit.report import Compared, Report
from stream.audit.reverse import Reverse
from stream.audit.scratch import Scratch
from stream.audit.segment import Around, Segment, missing
from stream.audit.standing import Standing
from stream.audit.stored import Ledger, Place, Row, Stored
from stream.audit.tiling import Tiling
from stream.audit.went import Went
from stream.clock import Clock
from stream.errors import Fatal
from stream.survey import Survey
from stream.tables.model import REBUILT_AGAIN, UNFINISHED, version

Connect = Callable[[Mapping[int, Stream]], Broker]
"""Makes the consumer for the streams that the database knows."""

_TRIES = 5
_NOBODY_S = 60.0


@dataclass(frozen=True, slots=True)
class Stores:
    """What is audited.

    Attributes
    ----------
    engine
        Level-1, for reading.
    files
        The AlertDB.
    connect
        The broker; None leaves it out.
    survey_files
        The survey files at hand, by digest: values are derived again where the very file that was used is one of them.
    chunks
        How ingest cut the sky: chunks and sub-chunks are made again; None holds chunks against the index alone.
    """

    engine: sa.Engine
    files: Files
    connect: Connect | None
    survey_files: Mapping[str, Survey]
    clock: Clock
    chunks: Chunks | None = None


def verify(stores: Stores, night: int | None = None) -> Report:
    """Judge all that is stored up to the ledger, or the segments of one night (YYYYMMDD).

    The ledger is read first: what was published later is in flight, not wrong. Each file is read after its row and each
    table after the files, so that nothing is missed and no snapshot held.

    Raises
    ------
    Transient
        The database, the store or the broker is away.
    Fatal
        ``level1_version``: the tables are not those of this version.
    """
    started, began = time.monotonic(), stores.clock.now()
    stored = Stored(stores.engine)
    found = stored.version()
    if found != (version().major, version().minor):
        told = "no tables" if found is None else f"version {found[0]}.{found[1]}"
        newer = found is not None and found > astuple(version())
        advice = "verify with the newer skyburst that migrated them" if newer else "run skyburst level1 migrate"
        advice = REBUILT_AGAIN if found == astuple(UNFINISHED) else advice
        raise Fatal("level1_version", f"Level-1 has {told}, this skyburst reads {version()}", advice)
    ledger, streams = stored.ledger(), stored.streams()
    broker = stores.connect(streams) if stores.connect else None
    try:
        with Scratch() as scratch:
            audit = _Audit(stores, stored, scratch, ledger, streams, broker, began, night)
            compared = audit.run()
    finally:
        if broker is not None:
            broker.close()
    gaps = [dict(row._mapping) for row in stored.gaps()]
    return Report(night, audit.findings, compared, gaps, broker is None, time.monotonic() - started)


@dataclass(slots=True)
class _Audit:
    stores: Stores
    stored: Stored
    scratch: Scratch
    ledger: Ledger
    streams: dict[int, Stream]
    broker: Broker | None
    began: float
    night: int | None
    findings: Findings = field(default_factory=Findings)

    def run(self) -> list[Compared]:
        retained = self.broker.retained(self.ledger) if self.broker else {}
        first = Tiling(self.stored, self.findings, self.ledger).judge()
        gaps = [(row.stream, row.kafkaPartition, row.startOffset, row.endOffset) for row in self.stored.gaps()]
        around = self._segments(retained)
        elsewhere = around.unread if self.night is None else None
        commits = Commits(
            stored=self.stored,
            scratch=self.scratch,
            findings=self.findings,
            ledger=self.ledger,
            places=around.places,
            gaps=gaps,
            first=first,
            elsewhere=elsewhere,
            began=self.began,
            gone=around.retired,
        )
        commits.from_files()
        if self.night is None:
            commits.strays()
            if around.unread <= around.retired:
                commits.from_tables()
        Reverse(
            stored=self.stored,
            scratch=self.scratch,
            findings=self.findings,
            ledger=self.ledger,
            places=around.places,
            matched=around.matched,
            unread=around.unread,
            night=self.night,
            began=self.began,
        ).judge()
        commits.went.whole.extend(gaps)
        commits.went.settle()
        return self._compare(retained, first, commits.went)

    def _segments(self, retained: Mapping[Place, Retained]) -> Around:
        around = Around(
            files=self.stores.files,
            stored=self.stored,
            scratch=self.scratch,
            findings=self.findings,
            ledger=self.ledger,
            places=Places(self.stores.files, self.stored),
            streams=self.streams,
            surveys=self.stored.surveys(),
            survey_files=self.stores.survey_files,
            chunks=self.stores.chunks,
            retained={place: (each.low, each.high) for place, each in retained.items()},
        )
        standing = Standing(self.stores.files, self.stored, self.findings)
        for row in self.stored.segments(self.night):
            self.findings.counts[row.state] += 1
            if standing.segment(row):
                self._segment(around, row)
            else:
                around.unread.add(row.segment)
                around.retired.add(row.segment)
        standing.unread(self.night)
        standing.markers()
        return around

    def _segment(self, around: Around, row: Row) -> None:
        """Read one segment; who finds no file reads the row again, since it may just have been sealed or moved."""
        for _ in range(_TRIES):
            try:
                Segment(around, row).read()
                return
            except Absent as error:
                self.scratch.forget(row.segment)
                now = self.stored.segment(row.segment)
                same = now is not None and (now.dataName, now.indexName) == (row.dataName, row.indexName)
                if now is not None and now.state == "retired":
                    around.unread.add(row.segment)
                    around.retired.add(row.segment)
                    return
                if now is None or same or now.state == "swept":
                    missing(around, row, error)
                    return
                row = now
        missing(around, row, Absent(row.dataName))

    def _compare(self, retained: Mapping[Place, Retained], first: Mapping[Place, int], went: Went) -> list[Compared]:
        out = []
        for (stream, partition), end in sorted(self.ledger.next.items()):
            place = (stream, partition)
            topic = self.streams[stream].topic if stream in self.streams else "?"
            begin = first.get(place, end)
            kept = retained.get(place)
            if self.broker is None or kept is None or self.night is not None:
                reason = "not asked" if self.broker is None else self.broker.reason(stream)
                out.append(Compared(stream, topic, partition, begin, end, end, None, 0, 0, reason or "one night only"))
                continue
            comparison = Comparison(self.broker, self.stored, self.scratch, self.findings, went)
            low, compared, gone = comparison.partition(place, topic, begin, kept)
            lag = max(0, kept.log_end - end)
            out.append(Compared(stream, topic, partition, begin, low, end, lag, compared, gone, ""))
        return out
