"""One commit taken into empty tables again: rows as its own transaction wrote them, from what the files have."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from stream.alert import Level1Column, RecordId
from stream.audit.blocks import Head
from stream.audit.catalogue import Catalogue
from stream.audit.files import Files
from stream.audit.headers import Surveys
from stream.audit.messages import Batch, Messages
from stream.audit.notes import Note, Range
from stream.audit.remake import Maker, quarantined
from stream.audit.stored import SINK, Place
from stream.commit import rows
from stream.commit.batch import Quarantined
from stream.commit.redrive import among, mark_redriven
from stream.level1.rows import Values, ready
from stream.sky import Layout
from stream.tables.model import table

_OPEN = 24
"""Segments of which a reader, and of which a decoder, is kept: those that were asked for last."""
_Part = tuple[Batch, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Names:
    """Where a segment's files are, and how many bytes of them count."""

    data_name: str
    index_name: str
    data_length: int
    index_length: int


@dataclass(slots=True)
class Taking:
    """Takes commits one after the other.

    Attributes
    ----------
    segments
        By number where the segments' files are.
    surveys
        Their numbers, and the files by which values are made.
    messages
        By segment how many of its messages were taken.
    """

    catalogue: Catalogue
    files: Files
    segments: Mapping[int, Names]
    surveys: Surveys
    layout: Layout
    statement_bytes: int
    messages: Counter[int] = field(default_factory=Counter)
    alerts: int = 0
    aside: int = 0
    _readers: OrderedDict[int, Messages] = field(default_factory=OrderedDict)
    _makers: OrderedDict[int, Maker] = field(default_factory=OrderedDict)

    def close(self) -> None:
        """Let go of the files."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    async def take(self, connection: AsyncConnection, note: Note, ranges: Sequence[Range]) -> bool:
        """Take a commit, of each range what is not yet covered; False where a re-drive has nothing to do any more."""
        held = await self._held(connection, note)
        if note.redriven and not held:
            return False
        parts = [self._part(segment, ordinal, ranges, held) for segment, ordinal in self.catalogue.parts(note.commit)]
        survey = self._survey(parts)
        counted = Counter((one["stream"], one["partition"]) for _, mine in parts for one in mine if one["part"] == 0)
        if len(parts) < len(note.parts):  # the others were retired: what is not clipped has the records that it had
            counted |= Counter({(one.stream, one.partition): one.records for one in {*ranges} & {*note.ranges}})
        await self._record(connection, note, self._digest(note, parts), ranges, counted)
        lifted = await mark_redriven(connection, held, note.commit)
        alerts = self._alerts(parts, note.commit, connection.dialect.name)
        verdicts, _ = await rows.write_rows(connection, alerts, note.commit)
        await rows.write_repeats(connection, alerts, verdicts, note.commit)
        aside: list[tuple[Quarantined, rows.Place]] = []
        for batch, mine in parts:
            if batch.head.kind == "quarantine":
                aside += quarantined(batch, mine, self.surveys.file(batch.head.survey, batch.head.survey_digest))
        await rows.insert_quarantine(connection, aside, survey, note.commit)
        put = [record for record, _ in aside]
        await rows.write_visit_parts(connection, alerts, verdicts, put, lifted, survey, note.commit)
        await _move(connection, note, ranges)
        for batch, mine in parts:
            self.messages[batch.head.number] += sum(one["part"] == 0 for one in mine)
        self.alerts += len(verdicts)
        self.aside += len(aside)
        return True

    async def _held(self, connection: AsyncConnection, note: Note) -> list[RecordId]:
        """Of the records that the commit re-drove those that are held."""
        if not note.redriven:
            return []
        aside = table("quarantine")
        key = (aside.c.stream, aside.c.kafkaPartition, aside.c.kafkaOffset)
        found: list[RecordId] = []
        for wanted in among(aside, note.redriven):
            there = await connection.execute(sa.select(*key).where(wanted, aside.c.state == "held"))
            found += [RecordId(*row) for row in there]
        return sorted(found)

    def _part(self, segment: int, ordinal: int, ranges: Sequence[Range], held: Sequence[RecordId]) -> _Part:
        bounds = {(one.stream, one.partition): one for one in ranges}
        batch = self._reader(segment).batch(ordinal)
        mine = []
        for one in batch.rows:
            taken = bounds.get((one["stream"], one["partition"]))
            inside = taken is not None and taken.start <= one["offset"] < taken.end
            if inside or RecordId(one["stream"], one["partition"], one["offset"]) in held:
                mine.append(one)
        return batch, mine

    def _reader(self, segment: int) -> Messages:
        reader = self._readers.pop(segment, None)
        if reader is None:
            names = self.segments[segment]
            lengths = (names.data_length, names.index_length)
            reader = Messages(self.files, (names.data_name, names.index_name), lengths)
            while len(self._readers) >= _OPEN:
                self._readers.popitem(last=False)[1].close()
        self._readers[segment] = reader
        return reader

    def _maker(self, head: Head) -> Maker:
        maker = self._makers.pop(head.number, None)
        if maker is None:
            survey = self.surveys.file(head.survey, head.survey_digest)
            maker = Maker.of(head, survey, self.surveys.numbers[survey.name], self.layout)
            while len(self._makers) >= _OPEN:
                self._makers.popitem(last=False)
        self._makers[head.number] = maker
        return maker

    def _survey(self, parts: Sequence[_Part]) -> int:
        return self.surveys.numbers[parts[0][0].head.survey] if parts else 0

    def _digest(self, note: Note, parts: Sequence[_Part]) -> str | None:
        """That of the survey file by which a commit's values are made."""
        if not parts or not note.survey_digest:
            return note.survey_digest or None
        return self.surveys.file(parts[0][0].head.survey, note.survey_digest).digest

    def _alerts(self, parts: Sequence[_Part], commit: int, dialect: str) -> rows.Alerts | None:
        pieces: list[dict[str, Values]] = []
        listed: list[dict[str, Any]] = []
        for batch, mine in parts:
            if batch.head.kind == "quarantine" or not mine:
                continue
            pieces.append(self._maker(batch.head).columns(batch, mine))
            listed += mine
        if not pieces:
            return None
        columns = _joined(pieces) | {"commitId": commit}
        part = np.array([one["part"] for one in listed], np.int64)
        timestamp = np.array([one["timestamp"] for one in listed], np.int64)
        made = ready(columns, part, dialect=dialect, max_bytes=self.statement_bytes)
        return rows.Alerts(columns, part, timestamp, made)

    async def _record(
        self,
        connection: AsyncConnection,
        note: Note,
        digest: str | None,
        ranges: Sequence[Range],
        counted: Counter[Place],
    ) -> None:
        row = {
            "commitId": note.commit,
            "daemon": note.daemon,
            "surveyDigest": digest,
            "committedAt": note.at,
            "records": counted.total(),
            "reason": note.reason[:255] or None,
        }
        await connection.execute(sa.insert(table("commits")), row)
        listed = [
            {
                "commitId": note.commit,
                "stream": one.stream,
                "kafkaPartition": one.partition,
                "startOffset": one.start,
                "endOffset": one.end,
                "records": counted[one.stream, one.partition],
                "tombstones": min(one.tombstones, one.end - one.start - counted[one.stream, one.partition]),
            }
            for one in sorted(ranges)
        ]
        if listed:
            await connection.execute(sa.insert(table("commit_ranges")), listed)
        if note.accepted and listed:
            names = ("stream", "kafkaPartition", "startOffset", "endOffset")
            more = {"commitId": note.commit, "reason": note.reason[:1024], "acceptedAt": note.at}
            await connection.execute(
                sa.insert(table("accepted_gaps")), [{n: r[n] for n in names} | more for r in listed]
            )


async def _move(connection: AsyncConnection, note: Note, ranges: Sequence[Range]) -> None:
    """The ledger's places of a commit; a place that it has not had yet begins where the commit ends."""
    ledger = table("ledger")
    places: defaultdict[Place, int] = defaultdict(int)
    for stream, partition, begin in note.begins:
        places[stream, partition] = begin
    for one in ranges:
        places[one.stream, one.partition] = one.end
    for (stream, partition), upto in sorted(places.items()):
        mine = (ledger.c.sink == SINK, ledger.c.stream == stream, ledger.c.kafkaPartition == partition)
        there = (await connection.execute(sa.select(ledger.c.next).where(*mine))).scalar_one_or_none()
        if there is None:
            row = {"sink": SINK, "stream": stream, "kafkaPartition": partition, "next": upto}
            await connection.execute(sa.insert(ledger), row)
        elif upto > there:
            await connection.execute(sa.update(ledger).where(*mine).values(next=upto))


def _joined(pieces: Sequence[Mapping[str, Values]]) -> dict[str, Values]:
    joined: dict[str, Values] = {}
    for name, first in pieces[0].items():
        columns: list[Any] = [piece[name] for piece in pieces]
        if isinstance(first, Level1Column):
            values: NDArray[Any] = np.concatenate([column.values for column in columns])
            joined[name] = Level1Column(values, np.concatenate([column.null for column in columns]))
        else:
            joined[name] = np.concatenate(columns)
    return joined
