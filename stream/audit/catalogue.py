"""What the files tell of commits, gathered in a private SQLite file: a rebuild orders them there, in little memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from stream.audit.notepad import Notepad
from stream.audit.notes import Note, shared_note
from stream.audit.stored import Place
from stream.commit.batch import fresh_number

_TABLES = """
CREATE TABLE told (told INTEGER PRIMARY KEY, commitId INTEGER, body TEXT);
CREATE INDEX told_commit ON told (commitId);
CREATE TABLE part (
    lot INTEGER, ordinal INTEGER, commitId INTEGER, segment INTEGER, messages INTEGER, aside INTEGER, sure INTEGER,
    dataEnd INTEGER, indexEnd INTEGER, told INTEGER, PRIMARY KEY (lot, ordinal)
) WITHOUT ROWID;
CREATE TABLE span (commitId INTEGER, stream INTEGER, partition INTEGER, low INTEGER, high INTEGER);
CREATE TABLE begun (stream INTEGER, partition INTEGER, low INTEGER);
CREATE TABLE first (stream INTEGER, partition INTEGER, low INTEGER, told INTEGER);
CREATE TABLE planned (step INTEGER PRIMARY KEY, commitId INTEGER, ranges TEXT);
CREATE TABLE state (
    commitId INTEGER PRIMARY KEY, told INTEGER, at REAL, sure INTEGER, aside INTEGER, taken INTEGER
);
"""

RETIRED = 1 << 60
"""Stands for the quarantined messages of ranges of which no packet stays: whatever has the packets goes before."""


@dataclass(frozen=True, slots=True)
class Part:
    """One intact index batch of a segment.

    Attributes
    ----------
    ordinal
        Which batch of its segment it is, from 0.
    aside
        Messages among them that went to quarantine.
    sure
        Whether it was published for certain: the last two batches of a segment that its owner has not sealed may not
        have been.
    data_end, index_end
        The bytes of the two files behind it.
    """

    note: Note
    segment: int
    ordinal: int
    messages: int
    aside: int
    sure: bool
    data_end: int
    index_end: int


@dataclass(frozen=True, slots=True)
class Span:
    """The offsets [low, high) of a partition that a commit covers."""

    commit: int
    low: int
    high: int


class Catalogue(Notepad):
    """What the commits of all segments say, and which of them a rebuild takes."""

    def __init__(self) -> None:
        super().__init__(_TABLES, "rebuild")
        self._lots = 0

    def add(self, parts: Iterable[Part]) -> int:
        """Take in a segment's batches, each as it comes; gives their lot, which stands behind those before it.

        Where `parts` raises, none of them stays.
        """
        self._lots += 1
        lot = self._lots
        try:
            for part in parts:
                told = self._tell(part.note.commit, part.note.body)
                counts = (part.messages, part.aside, part.sure, part.data_end, part.index_end)
                row = (lot, part.ordinal, part.note.commit, part.segment, *counts, told)
                self._base.execute("INSERT INTO part VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        except BaseException:
            self.drop(lot)
            raise
        return lot

    def drop(self, lot: int) -> None:
        """Leave out the batches of a lot."""
        self._base.execute("DELETE FROM part WHERE lot = ?", (lot,))

    def replace(self, lot: int, better: int) -> None:
        """Put the batches of the lot `better` into `lot`, instead of those that are there."""
        self.drop(lot)
        self._base.execute("UPDATE part SET lot = ? WHERE lot = ?", (lot, better))

    def _tell(self, commit: int, body: str) -> int:
        """The row of ``told`` that has what a part of a commit says; mostly all its parts say the same."""
        for told, known in self._base.execute("SELECT told, body FROM told WHERE commitId = ?", (commit,)):
            if known == body:
                return int(told)
        new = self._base.execute("INSERT INTO told (commitId, body) VALUES (?, ?)", (commit, body))
        return int(new.lastrowid or 0)

    def settle(self, retired: set[int]) -> int:
        """Everything is in: leave out commits that lack a part, and give how many those are."""
        self._base.execute("CREATE INDEX part_commit ON part (commitId)")
        self._base.execute("CREATE INDEX part_segment ON part (segment, ordinal)")
        torn = sum(not self._take_in(commit, retired) for commit in self._commits())
        self._base.execute("CREATE INDEX span_place ON span (stream, partition, low)")
        self._base.execute("CREATE INDEX span_commit ON span (commitId)")
        self._base.execute("CREATE INDEX begun_place ON begun (stream, partition, low)")
        # Also those that are left out tell where a partition begins.
        self._base.execute("INSERT INTO first SELECT stream, partition, min(low), 0 FROM span GROUP BY 1, 2")
        begun = "(SELECT min(low) FROM begun b WHERE b.stream = first.stream AND b.partition = first.partition)"
        self._base.execute(f"UPDATE first SET low = {begun}, told = 1 WHERE {begun} <= low")  # noqa: S608 (our own words)
        self._base.execute("DELETE FROM span WHERE commitId NOT IN (SELECT commitId FROM state)")
        return torn

    def _commits(self) -> Iterator[int]:
        last = -1
        while True:
            query = "SELECT DISTINCT commitId FROM part WHERE commitId > ? ORDER BY commitId LIMIT 500"
            page = self._base.execute(query, (last,)).fetchall()
            if not page:
                return
            yield from (commit for (commit,) in page)
            last = page[-1][0]

    def _take_in(self, commit: int, retired: set[int]) -> bool:
        """Take in what a commit says, as the first of its parts has it; gives whether all its parts are there."""
        parts = "SELECT told, segment, messages, aside, sure FROM part WHERE commitId = ? ORDER BY lot, ordinal"
        rows = self._base.execute(parts, (commit,)).fetchall()
        notes = {told: self._note(told) for told in dict.fromkeys(row[0] for row in rows)}
        for row in rows:
            self._retire(notes[row[0]])
        told, note = next(iter(notes.items()))
        spans = [(commit, r.stream, r.partition, r.start, r.end) for r in note.ranges]
        self._base.executemany("INSERT INTO span VALUES (?, ?, ?, ?, ?)", spans)
        self._base.executemany("INSERT INTO begun VALUES (?, ?, ?)", note.begins)
        found = {row[1]: row[2:] for row in rows}
        if not all(segment in retired or found.get(segment, (-1,))[0] == n for segment, n in note.parts):
            return False
        sure = any(row[2] for row in found.values())
        aside = sum(row[1] for row in found.values())
        self._base.execute("INSERT INTO state VALUES (?, ?, ?, ?, ?, 0)", (commit, told, note.at, sure, aside))
        return True

    def _retire(self, note: Note) -> None:
        """Take in ranges of which no packet stays: each stands for the commits that had them."""
        for stream, partition, low, high in note.retired:
            commit = fresh_number()
            body = {"commit": commit, "daemon": note.daemon, "survey": note.survey, "at": note.at, "parts": []}
            body |= {"ranges": [[stream, partition, low, high, 0, 0]], "reason": note.reason}
            told = self._tell(commit, json.dumps(body))
            self._base.execute("INSERT INTO span VALUES (?, ?, ?, ?, ?)", (commit, stream, partition, low, high))
            self._base.execute("INSERT INTO state VALUES (?, ?, ?, 1, ?, 0)", (commit, told, note.at, RETIRED))

    def _note(self, told: int) -> Note:
        ((body,),) = self._base.execute("SELECT body FROM told WHERE told = ?", (told,))
        return shared_note(body)

    def note(self, commit: int) -> Note:
        """What all parts of a commit that is whole say alike."""
        ((told,),) = self._base.execute("SELECT told FROM state WHERE commitId = ?", (commit,))
        return self._note(told)

    def notes(self) -> Iterator[Note]:
        """The commits that are whole, in the order of their time."""
        for (told,) in self._base.execute("SELECT told FROM state ORDER BY at, commitId"):
            yield self._note(told)

    def drop_unsure(self) -> int:
        """Leave out what was surely not published: it overlaps what surely was. Gives how many commits that is."""
        self._base.execute(
            "CREATE TABLE published AS SELECT stream, partition, low, "
            "max(high) OVER (PARTITION BY stream, partition ORDER BY low) AS reach "
            "FROM span JOIN state USING (commitId) WHERE sure = 1"
        )
        self._base.execute("CREATE INDEX published_place ON published (stream, partition, low)")
        gone = self._base.execute(
            "DELETE FROM span WHERE commitId IN (SELECT a.commitId FROM span a JOIN state s USING (commitId) "
            "WHERE s.sure = 0 AND a.low < (SELECT reach FROM published b WHERE b.stream = a.stream "
            "AND b.partition = a.partition AND b.low < a.high ORDER BY b.low DESC LIMIT 1))"
        )
        return gone.rowcount

    def places(self) -> list[tuple[Place, int]]:
        """Every partition with the first offset that any commit took, whole or not."""
        query = "SELECT stream, partition, low FROM first ORDER BY stream, partition"
        return [((stream, partition), low) for stream, partition, low in self._base.execute(query)]

    def untold(self) -> list[tuple[Place, int]]:
        """Partitions that begin behind offset 0 though no file tells that the ledger began there."""
        query = "SELECT stream, partition, low FROM first WHERE low > 0 AND told = 0 ORDER BY stream, partition"
        return [((stream, partition), low) for stream, partition, low in self._base.execute(query)]

    def reaching(self, place: Place, at: int) -> list[Span]:
        """The spans of a partition that begin at or before `at` and reach beyond it."""
        query = (
            "SELECT commitId, low, high FROM span WHERE stream = ? AND partition = ? AND low <= ? AND high > ? "
            "ORDER BY low DESC, commitId LIMIT 16"
        )
        return [Span(*row) for row in self._base.execute(query, (*place, at, at))]

    def next_low(self, place: Place, at: int) -> int | None:
        """Where the next span behind `at` begins; None where there is none."""
        query = "SELECT min(low) FROM span WHERE stream = ? AND partition = ? AND low > ?"
        ((found,),) = self._base.execute(query, (*place, at))
        return None if found is None else int(found)

    def spans(self, commit: int) -> dict[Place, Span]:
        """What a commit covers."""
        query = "SELECT stream, partition, commitId, low, high FROM span WHERE commitId = ?"
        return {(row[0], row[1]): Span(*row[2:]) for row in self._base.execute(query, (commit,))}

    def begins_at(self, place: Place, low: int) -> bool:
        """Whether a commit that is not taken begins just there."""
        query = "SELECT 1 FROM span WHERE stream = ? AND partition = ? AND low = ?"
        return self._base.execute(query, (*place, low)).fetchone() is not None

    def standing(self, commit: int) -> tuple[bool, int]:
        """Whether a commit was surely published, and how many of its messages went to quarantine."""
        ((sure, aside),) = self._base.execute("SELECT sure, aside FROM state WHERE commitId = ?", (commit,))
        return bool(sure), int(aside)

    def take(self, commit: int) -> None:
        """Take a commit: the spans are those of commits that are whole and not taken, so that its own go."""
        self._base.execute("UPDATE state SET taken = 1 WHERE commitId = ?", (commit,))
        self._base.execute("DELETE FROM span WHERE commitId = ?", (commit,))

    def plan(self, commit: int | None, ranges: object) -> None:
        """Put a commit (None: an accepted gap) at the end of what will be taken, with its ranges as JSON has them."""
        self._base.execute("INSERT INTO planned (commitId, ranges) VALUES (?, ?)", (commit, json.dumps(ranges)))

    def planned(self) -> Iterator[tuple[int | None, list[list[int]]]]:
        """What was put there, in order."""
        last = 0
        while True:
            query = "SELECT step, commitId, ranges FROM planned WHERE step > ? ORDER BY step LIMIT 500"
            page = self._base.execute(query, (last,)).fetchall()
            if not page:
                return
            for _, commit, ranges in page:
                yield commit, json.loads(ranges)
            last = page[-1][0]

    def left_out(self) -> int:
        """How many whole commits are not taken."""
        ((found,),) = self._base.execute("SELECT count(*) FROM state WHERE taken = 0")
        return int(found)

    def parts(self, commit: int) -> list[tuple[int, int]]:
        """Segment and ordinal of each of a commit's parts."""
        query = "SELECT segment, ordinal FROM part WHERE commitId = ? ORDER BY segment"
        return [(row[0], row[1]) for row in self._base.execute(query, (commit,))]

    def extent(self, segment: int) -> tuple[int, int, int] | None:
        """Bytes of a segment's two files up to its last batch that is taken, and how many batches; None for none."""
        query = (
            "SELECT dataEnd, indexEnd, ordinal FROM part JOIN state USING (commitId) "
            "WHERE segment = ? AND taken = 1 ORDER BY ordinal DESC LIMIT 1"
        )
        row: tuple[Any, ...] | None = self._base.execute(query, (segment,)).fetchone()
        return None if row is None else (int(row[0]), int(row[1]), int(row[2]) + 1)
