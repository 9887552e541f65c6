"""The tables against the files: rows that nothing published. Invariants 2, 5, 6 and 7 from the other side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from stream.audit.commits import RECENT_S
from stream.audit.findings import Findings
from stream.audit.notes import shared_note
from stream.audit.places import Lies, Places
from stream.audit.scratch import Scratch
from stream.audit.seen import Record, record_text
from stream.audit.stored import Ledger, Row, Stored
from stream.tables.model import table

PAGE = 20_000
MOST = 2000
"""Findings in one segment and table after which no more are looked for there."""
_Lie = tuple[Record, int | None, int, int]
"""RecordId, diaSourceId and place."""


@dataclass(frozen=True, slots=True)
class Reverse:
    """Counts rows by segment, and looks one by one only where a count is not that of the rows that led there.

    Attributes
    ----------
    matched
        By segment and table the rows that were found in its files.
    unread
        Segments that could not be read: what is wrong with them is a finding of its own.
    night
        The one night that is judged; None for all.
    began
        Seconds since 1970-01-01 UTC at which the audit began.
    """

    stored: Stored
    scratch: Scratch
    findings: Findings
    ledger: Ledger
    places: Places
    matched: Mapping[int, Mapping[str, int]]
    unread: Collection[int]
    night: int | None
    began: float

    def judge(self) -> None:
        """Judge all rows of Level-1, of the repeats and of the quarantine."""
        for name in ("level1", "level1_repeat", "quarantine"):
            counted: Counter[int] = Counter()
            for clause in self._pages(name):
                counted += self._count(name, clause)
            self.findings.counts[name] += counted.total()
            for segment in sorted(counted):
                if segment not in self.unread and counted[segment] != self.matched.get(segment, {}).get(name, 0):
                    self._look(name, segment)
        if self.night is None:
            # A re-driven packet may lie in another night than its quarantine.
            self._redriven()

    def _pages(self, name: str) -> Iterator[sa.ColumnElement[bool]]:
        """Clauses that cut a table into pages of a few thousand rows along its primary key."""
        rows = table(name)
        key = rows.c.diaSourceId if name == "level1" else rows.c.kafkaOffset
        for lead in self._leads(name):
            low = -(1 << 63)
            while True:
                query = sa.select(key).where(lead, key > low).order_by(key).offset(PAGE - 1).limit(1)
                found = self.stored.all(query)
                if not found:
                    yield sa.and_(lead, key > low)
                    break
                yield sa.and_(lead, key > low, key <= found[0][0])
                low = found[0][0]

    def _leads(self, name: str) -> Iterator[sa.ColumnElement[bool]]:
        rows = table(name)
        if name == "level1":
            for number in sorted(self.stored.surveys()):
                yield rows.c.survey == number
            yield rows.c.survey.not_in(sorted(self.stored.surveys()))
            return
        places = sorted(self.ledger.next)
        for stream, partition in places:
            yield sa.and_(rows.c.stream == stream, rows.c.kafkaPartition == partition)
        known = [sa.and_(rows.c.stream == stream, rows.c.kafkaPartition == partition) for stream, partition in places]
        yield sa.not_(sa.or_(*known)) if known else sa.true()

    def _judged(self, name: str) -> sa.ColumnElement[bool]:
        """Rows that are not in flight, of the night that is asked for."""
        rows = table(name)
        ahead = [
            sa.and_(rows.c.stream == stream, rows.c.kafkaPartition == partition, rows.c.kafkaOffset >= end)
            for (stream, partition), end in sorted(self.ledger.next.items())
        ]
        clause = sa.not_(sa.or_(*ahead)) if ahead else sa.true()
        return clause if self.night is None else sa.and_(clause, rows.c.night == self.night)

    def _count(self, name: str, clause: sa.ColumnElement[bool]) -> Counter[int]:
        rows = table(name)
        query = (
            sa.select(rows.c.segment, sa.func.count().label("rows"))
            .where(clause, self._judged(name))
            .group_by(rows.c.segment)
        )
        return Counter({row.segment: row.rows for row in self.stored.all(query)})

    def _look(self, name: str, segment: int) -> None:
        rows = table(name)
        found = 0
        led: Counter[_Lie] = Counter()
        for clause in self._pages(name):
            query = sa.select(rows).where(clause, self._judged(name), rows.c.segment == segment)
            page = self.stored.all(query)
            # Read after the rows: whatever published them is there.
            lying = self.places.of(segment).rows
            for row in page:
                there = lying.get((row.blockOffset, row.slot), [])
                lie = _lie(name, row)
                led[lie] += 1
                right = _confirmed(name, lie, there)
                if led[lie] <= right or not self._is_there(name, row):
                    continue
                many = f"is one too many: {led[lie]} rows lead to this packet"
                self._unpublished(name, row, many if right else f"nothing published there; {_said(there)}")
                found += 1
                if found == MOST:
                    return

    def _unpublished(self, name: str, row: Row, what: str) -> None:
        record = (row.stream, row.kafkaPartition, row.kafkaOffset)
        where = f"{record_text(record)} in segment {row.segment}, block {row.blockOffset}, slot {row.slot}"
        if name == "quarantine":
            self.findings.add(7, "quarantine_lost", f"quarantine has a row of a packet that {what}", where)
            return
        text = f"{name} has a row of id {row.diaSourceId} and night {row.night} that {what}"
        self.findings.add(5 if name == "level1" else 6, "row_unpublished", text, where)

    def _is_there(self, name: str, row: Row) -> bool:
        """Whether the row is still there as it was."""
        rows = table(name)
        key = [column == getattr(row, column.name) for column in rows.primary_key.columns]
        found = self.stored.all(sa.select(rows).where(*key))
        return bool(found) and found[0] == row

    def _redriven(self) -> None:
        for stream, partition in sorted(self.ledger.next):
            end = self.ledger.next[stream, partition]
            for row in self.stored.of_place("quarantine", (stream, partition), 0, end, state="redriven"):
                record = (row.stream, row.kafkaPartition, row.kafkaOffset)
                if not self.unread and not self.scratch.is_redriven(*record) and not self._came_late(row, record):
                    text = "quarantine says that it was re-driven, and no segment of the AlertDB has it"
                    self.findings.add(2, "redriven_lost", text, record_text(record))

    def _came_late(self, row: Row, record: Record) -> bool:
        """Whether a record was re-driven after the segment that has it now was read."""
        body = self.scratch.body(row.redriveCommit or 0)
        if body is not None:
            parts = (segment for segment, _ in shared_note(body).parts if segment != row.segment)
            return any(self.places.of(segment).has(record) for segment in parts)
        commits: Any = self.stored.of_commits("commits", [row.redriveCommit or 0])
        return bool(commits) and commits[0].committedAt >= self.began - RECENT_S


def _lie(name: str, row: Row) -> _Lie:
    """What a row says that lies at its place."""
    number = None if name == "quarantine" else row.diaSourceId
    return (row.stream, row.kafkaPartition, row.kafkaOffset), number, row.blockOffset, row.slot


def _confirmed(name: str, lie: _Lie, there: Sequence[Lies]) -> int:
    """How many rows of a table may say so: a message may have an id in several of its records."""
    return sum(record == lie[0] and (name == "quarantine" or number == lie[1]) for record, number in there)


def _said(there: Sequence[Lies]) -> str:
    if not there:
        return "nothing is published there"
    record, number = there[0]
    return f"{record_text(record)} of id {number} lies there"
