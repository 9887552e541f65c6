"""Alerts of segments held against Level-1, the repeats and the quarantine: invariants 2, 5, 6 and 10."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cdshealpix
import numpy as np
from astropy import units
from astropy.coordinates import Latitude, Longitude

from stream.alert import RecordId
from stream.audit.chunks import Chunks
from stream.audit.derive import level1_columns
from stream.audit.findings import Findings
from stream.audit.notes import Note
from stream.audit.places import Places
from stream.audit.scratch import Scratch
from stream.audit.seen import Seen, record_text, rows_of
from stream.audit.stored import Ledger, Row, Stored
from stream.survey import Survey

FLUSH = 1000
_INDEXED = ("visit", "detector", "diaObjectId", "midpointMjdTai", "ra", "dec", "chunk", "healpix")


@dataclass(slots=True)
class Alerts:
    """Rows of one segment, held against the tables a thousand at a time.

    The tables are read after the files: whatever was published when the file's length was read is in them.

    Attributes
    ----------
    number
        The survey's number.
    survey
        The survey file by which values are derived; None where it is not the one that was used.
    chunks
        The layout by which positions are placed again; None where they are not.
    matched
        Rows of Level-1 and of the repeats that lead here, before the ledger's places.
    messages
        Messages of the segment that its commits published.
    """

    stored: Stored
    scratch: Scratch
    findings: Findings
    ledger: Ledger
    places: Places
    number: int
    survey: Survey | None
    chunks: Chunks | None = None
    matched: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    _waiting: list[Seen] = field(default_factory=list)
    _notes: dict[int, Note] = field(default_factory=dict)

    def add(self, note: Note, rows: Sequence[Seen]) -> None:
        """Take the rows of one commit."""
        self._notes[note.commit] = note
        self._waiting += rows
        if len(self._waiting) >= FLUSH:
            self.flush()

    def flush(self) -> None:
        """Hold what has come together against the tables."""
        waiting, self._waiting = self._waiting, []
        for at in range(0, len(waiting), FLUSH):
            self._judge(waiting[at : at + FLUSH])
        self._notes.clear()

    def _judge(self, rows: Sequence[Seen]) -> None:
        rows = published(self.stored, rows)
        values = self._derived(rows)
        nights = {value["night"] if value else seen.night for seen, value in zip(rows, values, strict=True)}
        if any(seen.kind == "raw" and value is None for seen, value in zip(rows, values, strict=True)):
            nights = set()
        ids = [seen.index["diaSourceId"] for seen in rows if seen.index["diaSourceId"] is not None]
        records = {seen.record for seen in rows}
        level1: defaultdict[int, list[Row]] = defaultdict(list)
        for row in self.stored.level1(self.number, nights, ids):
            level1[row.diaSourceId].append(row)
        repeats = {
            (row.stream, row.kafkaPartition, row.kafkaOffset, row.part): row
            for row in self.stored.of_records("level1_repeat", records)
        }
        aside = {
            (row.stream, row.kafkaPartition, row.kafkaOffset): row
            for row in self.stored.of_records("quarantine", records)
        }
        visits: Counter[tuple[int, int, int, int, int, str]] = Counter()
        for seen, value in zip(rows, values, strict=True):
            standing = _standing(seen, value, level1[seen.index["diaSourceId"]])
            night = value["night"] if value else standing.night if standing else seen.night
            kind = self._one(seen, value, standing, repeats.get((*seen.record, seen.part)))
            index, held = seen.index, aside.get(seen.record)
            if self._aside(seen, held) and held is not None:
                # A visit part of the re-drive takes it off those that quarantine counted.
                key = (_or_none(held.visit), _or_none(held.detector), held.night)
                visits[seen.commit, seen.segment, *key, "lifted"] += 1
            visits[seen.commit, seen.segment, _or_none(index["visit"]), _or_none(index["detector"]), night, kind] += 1
        self.scratch.visit((*key, count) for key, count in visits.items())
        self._count(rows)
        self.findings.counts["rows"] += len(rows)

    def _derived(self, rows: Sequence[Seen]) -> list[dict[str, Any] | None]:
        values: list[dict[str, Any] | None] = [None] * len(rows)
        if self.survey is None:
            return values
        groups: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
        for at, seen in enumerate(rows):
            if seen.decoded is not None:
                groups[seen.decoded[0]].append(at)
        for slots, mine in groups.items():
            fields = [each[1] for at in mine if (each := rows[at].decoded) is not None]
            columns, refused = level1_columns(self.survey, slots, fields)
            bad = {refusal.row: refusal for refusal in refused}
            for k, (at, value) in enumerate(zip(mine, rows_of(columns), strict=True)):
                if k in bad:
                    text = f"the survey file refuses its packet: {bad[k].code}, {bad[k].reason}"
                    self.findings.add(5, "row_differs", text, rows[at].text())
                else:
                    values[at] = value
        derived = [value for value in values if value]
        if derived:
            ra, dec = (np.array([value[name] for value in derived], np.float64) for name in ("ra", "dec"))
            place = [Longitude(ra, units.deg), Latitude(dec, units.deg)]
            cells: Any = cdshealpix.lonlat_to_healpix(*place, 29)
            for value, cell in zip(derived, np.asarray(cells).tolist(), strict=True):
                value["healpix"] = cell
            if self.chunks is not None:
                for value, (chunk, sub_chunk) in zip(derived, self.chunks.locate(ra, dec), strict=True):
                    value |= {"chunk": chunk, "subChunk": sub_chunk}
        self.findings.counts["derived"] += len(derived)
        return values

    def _one(self, seen: Seen, value: dict[str, Any] | None, row: Row | None, repeat: Row | None) -> str:
        """Judge one alert; gives what it is: new, repeated, conflict, or lost."""
        self._indexed(seen, value)
        own = row is not None and (row.stream, row.kafkaPartition, row.kafkaOffset) == seen.record
        here = row is not None and own and _place(row) == seen.place
        inside = self.ledger.covers(*seen.record)
        if repeat is not None and _place(repeat) == seen.place:
            self.matched["level1_repeat"] += inside
            if own and row is not None and _place(row) != seen.place:
                self._twice(seen, _place(row))
            return self._repeated(seen, row, repeat)
        if here and row is not None:
            self.matched["level1"] += inside
            if repeat is not None:
                self._twice(seen, _place(repeat))
            self._row(seen, value, row)
            return "new"
        self._unnamed(seen, row if own else None, repeat, row is not None)
        return "lost"

    def _twice(self, seen: Seen, other: tuple[int, int, int]) -> None:
        where = "segment {}, block {}, slot {}".format(*other)
        self.findings.add(2, "kept_twice", f"it is published there and in {where}", seen.text())

    def _unnamed(self, seen: Seen, own: Row | None, repeat: Row | None, standing: bool) -> None:
        number = seen.index["diaSourceId"]
        wrong = own if own is not None else repeat
        if wrong is not None and any(record == seen.record for record, _ in self.places.at(*_place(wrong))):
            self._twice(seen, _place(wrong))
        elif wrong is not None:
            where = "segment {}, block {}, slot {}".format(*_place(wrong))
            name = "level1_repeat" if own is None else "level1"
            text = f"the row of {name} for id {number} leads to {where}, not to where this record was published"
            self.findings.add(5, "row_misplaced", text, seen.text())
        elif standing:
            text = f"another packet has the row of id {number}, and level1_repeat does not name this one"
            self.findings.add(6, "id_unnamed", text, seen.text())
        else:
            self.findings.add(5, "row_missing", f"level1 has no row for id {number} of night {seen.night}", seen.text())

    def _row(self, seen: Seen, value: dict[str, Any] | None, row: Row) -> None:
        expected = {
            "survey": self.number,
            "commitId": seen.commit,
            "digest": seen.index["digest"],
            "diaSourceId": seen.index["diaSourceId"],
            **{name: seen.index[name] for name in _INDEXED},
            **(value or {}),
        }
        stored = row._mapping
        wrong = [name for name, told in expected.items() if stored[name] != told]
        if wrong:
            text = ", ".join(f"{name} is {stored[name]!r}, the packet says {expected[name]!r}" for name in wrong[:3])
            self.findings.add(5, _code(wrong, "row_differs"), f"id {row.diaSourceId}: {text}", seen.text())

    def _repeated(self, seen: Seen, row: Row | None, repeat: Row) -> str:
        expected = {
            "survey": self.number,
            "night": row.night if row else repeat.night,
            "diaSourceId": seen.index["diaSourceId"],
            "commitId": seen.commit,
            "digest": seen.index["digest"],
            "kind": "repeated" if row and bytes(row.digest) == seen.index["digest"] else "conflict",
        }
        wrong = [name for name, told in expected.items() if repeat._mapping[name] != told]
        if row is None:
            self.findings.add(
                6, "row_missing", f"level1 has no row for the repeated id {repeat.diaSourceId}", seen.text()
            )
        elif wrong:
            text = ", ".join(f"{name} is {repeat._mapping[name]!r}, not {expected[name]!r}" for name in wrong)
            self.findings.add(6, "row_differs", f"level1_repeat of id {repeat.diaSourceId}: {text}", seen.text())
        self.findings.counts["repeats"] += 1
        return str(repeat.kind)

    def _indexed(self, seen: Seen, value: dict[str, Any] | None) -> None:
        if value is None:
            return
        if seen.kind != "raw" and value["night"] != seen.night:
            text = f"it is of night {value['night']} and lies in night {seen.night}"
            self.findings.add(10, "night_differs", text, seen.text())
        names = [name for name in ("diaSourceId", *_INDEXED) if name in value and value[name] != seen.index[name]]
        if names:
            text = ", ".join(f"{name} is {seen.index[name]!r}, the packet says {value[name]!r}" for name in names[:3])
            code = _code(names, "index_damaged")
            self.findings.add(5, code, f"the index is not what the packet says: {text}", seen.text())

    def _aside(self, seen: Seen, row: Row | None) -> bool:
        """Judge a record that quarantine has, too; gives whether this commit re-drove it (said once a message)."""
        if row is None:
            return False
        if row.state != "redriven":
            text = "it is in the AlertDB and held in quarantine"
            self.findings.add(2, "kept_twice", text, seen.text())
            return False
        mine = RecordId(*seen.record) in self._notes[seen.commit].redriven
        if mine and row.redriveCommit != seen.commit:
            text = f"quarantine says that commit {row.redriveCommit} re-drove it, the files say {seen.commit}"
            self.findings.add(7, "quarantine_differs", text, seen.text())
        self.scratch.redrive([(*seen.record, seen.segment)])
        return mine and seen.part == 0

    def _count(self, rows: Sequence[Seen]) -> None:
        first = [seen for seen in rows if seen.part == 0]
        self.messages += len(first)
        counted = Counter((seen.commit, seen.segment, seen.record[0], seen.record[1]) for seen in first)
        self.scratch.count((*key, count) for key, count in counted.items())
        doubled = [key for key, n in Counter((s.record, s.part) for s in rows).items() if n > 1]
        for record, _part in doubled:
            where = f"{record_text(record)}, segment {rows[0].segment}"
            self.findings.add(2, "kept_twice", "one segment has it more than once", where)


def published(stored: Stored, rows: Sequence[Seen]) -> list[Seen]:
    """Those of `rows` that their commits published: a rebuild clips ranges, and leaves commits beyond a gap out."""
    commits = sorted({seen.commit for seen in rows})
    known = {row.commitId for row in stored.of_commits("commits", commits)}
    bounds = {
        (row.commitId, row.stream, row.kafkaPartition): (row.startOffset, row.endOffset)
        for row in stored.of_commits("commit_ranges", commits)
    }
    out = []
    for seen in rows:
        stream, partition, offset = seen.record
        low, high = bounds.get((seen.commit, stream, partition), (0, 1 << 63))
        if seen.commit in known and low <= offset < high:
            out.append(seen)
    return out


def _standing(seen: Seen, value: dict[str, Any] | None, rows: Sequence[Row]) -> Row | None:
    """The Level-1 row of an alert's id and night; its own where the night of a message kept whole is not known."""
    if seen.kind == "raw" and value is None:
        own = (row for row in rows if (row.stream, row.kafkaPartition, row.kafkaOffset) == seen.record)
        return next(own, rows[0] if rows else None)
    night = value["night"] if value else seen.night
    return next((row for row in rows if row.night == night), None)


def _code(names: Sequence[str], code: str) -> str:
    """The code of values that differ: where only the chunks do, the layout may be another one."""
    return "chunk_differs" if set(names) <= {"chunk", "subChunk"} else code


def _place(row: Row) -> tuple[int, int, int]:
    return row.segment, row.blockOffset, row.slot


def _or_none(value: int | None) -> int:
    return -1 if value is None else value
