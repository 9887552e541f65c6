"""Commits as the tables have them against commits as the files tell them: invariants 3 and 11."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stream.audit.findings import Findings
from stream.audit.notes import Note, shared_note
from stream.audit.places import Places
from stream.audit.scratch import Scratch
from stream.audit.stored import Ledger, Place, Row, Stored
from stream.audit.went import Bounds, Went

_KINDS = {"new": "new", "repeated": "repeated", "conflict": "conflicts", "quarantined": "quarantined"}
_LIFTED = "lifted"
"""A record that left quarantine: one less of those that were put there."""
RECENT_S = 60.0
"""By so much the clocks of daemons may be wrong."""


@dataclass(frozen=True, slots=True)
class Commits:
    """Holds commits against each other once all segments were read.

    Attributes
    ----------
    gaps
        The accepted gaps: a commit that lies in them was given up.
    first
        By partition the first offset that any commit took.
    elsewhere
        Whether a segment may have parts of the commits and was not read (another night, retired).
    began
        Seconds since 1970-01-01 UTC at which the audit began.
    gone
        Segments that were retired.
    went
        Takes what the files tell of messages that were let go of.
    """

    stored: Stored
    scratch: Scratch
    findings: Findings
    ledger: Ledger
    places: Places
    gaps: Collection[Bounds]
    first: Mapping[Place, int]
    elsewhere: Collection[int] | None
    began: float
    gone: Collection[int] = ()
    went: Went = field(default_factory=Went)

    def from_files(self) -> None:
        """Every commit that the files tell of."""
        self.scratch.settle()
        for page in self.scratch.commits():
            ids = [commit for commit, _ in page]
            rows = {row.commitId: row for row in self.stored.of_commits("commits", ids)}
            ranges = _grouped(self.stored.of_commits("commit_ranges", ids))
            visits = _grouped(self.stored.of_commits("visit_part", ids))
            accepted = _grouped(self.stored.of_commits("accepted_gaps", ids))
            batches, counted, visited = (
                _by_commit(self.scratch.of_commits(name, ids)) for name in ("batch", "counted", "visited")
            )
            for commit, body in page:
                note = shared_note(body)
                self.went.whole.extend(note.retired)
                if messages := sum(n for segment, n in note.parts if segment in self.gone):
                    self.went.part(commit, ranges.get(commit, []), messages)
                row = rows.get(commit)
                if row is None:
                    self._unknown(note, ranges.get(commit, []))
                    continue
                self.findings.counts["commits"] += 1
                self._ranges(note, ranges[commit])
                self._gaps(note, ranges[commit], accepted[commit])
                if self._whole(note, batches[commit]):
                    self._records(row, ranges[commit], counted[commit])
                    self._visits(note, visits[commit], visited[commit])

    def from_tables(self) -> None:
        """Every commit that the tables have: the files must tell of it."""
        waiting: list[Row] = []
        for row in self.stored.commits():
            waiting.append(row)
            if len(waiting) == 500:
                self._filed(waiting)
                waiting = []
        self._filed(waiting)

    def strays(self) -> None:
        """Rows of commits that the tables do not have: they were written in the transaction that wrote the commit's."""
        for row in self.stored.strays("commit_ranges"):
            where = f"commit {row.commitId}, stream {row.stream}, partition {row.kafkaPartition}"
            text = f"the table commits does not have it, and it has the range [{row.startOffset}, {row.endOffset})"
            self.findings.add(3, "commit_differs", text, where)
        for row in self.stored.strays("visit_part"):
            where = f"commit {row.commitId}, visit {row.visit}, detector {row.detector}, night {row.night}"
            text = "the table commits does not have it, and it counts alerts of a visit"
            self.findings.add(11, "visit_part_differs", text, where)
        for row in self.stored.strays("accepted_gaps"):
            where = f"commit {row.commitId}, stream {row.stream}, partition {row.kafkaPartition}"
            text = f"[{row.startOffset}, {row.endOffset}): the table commits does not have the commit that gave it up"
            self.findings.add(3, "gap_differs", text, where)

    def _filed(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        known = self.scratch.knows([row.commitId for row in rows])
        strange = [row for row in rows if row.commitId not in known]
        ranges = _grouped(self.stored.of_commits("commit_ranges", [row.commitId for row in strange])) if strange else {}
        for row in strange:
            mine = ranges.get(row.commitId, [])
            if any(not self.ledger.covers(r.stream, r.kafkaPartition, r.endOffset - 1) for r in mine):
                continue
            if mine and all(self._retired(r) for r in mine):
                continue
            if not mine and row.committedAt > self.began - RECENT_S:
                continue
            text = f"no segment tells of it; it took {_said(mine)}"
            self.findings.add(3, "commit_unfiled", text, f"commit {row.commitId}")

    def _retired(self, row: Row) -> bool:
        one = (row.stream, row.kafkaPartition, row.startOffset, row.endOffset)
        return any(_inside(one, went) for went in self.went.whole)

    def _unknown(self, note: Note, rows: Sequence[Row]) -> None:
        """A commit that the tables do not have: a rebuild leaves out what others cover, and what lies behind a gap."""
        bounds = [(r.stream, r.partition, r.start, r.end) for r in note.ranges]
        left_out = all(self._left_out(one) for one in bounds) if bounds else self._redrove_nothing(note)
        if left_out and not rows:
            self.findings.counts["left out"] += 1
            return
        text = f"the table commits does not have it; it took {', '.join(map(str, bounds)) or 'no range'}"
        self.findings.add(3, "commit_unknown", text, f"commit {note.commit}")

    def _redrove_nothing(self, note: Note) -> bool:
        """Whether it is a re-drive and no record is said to be its: a rebuild had nothing that it could re-drive."""
        records = [(each.stream, each.partition, each.offset) for each in note.redriven]
        held = self.stored.of_records("quarantine", records)
        return bool(records) and all(row.redriveCommit != note.commit for row in held)

    def _left_out(self, one: Bounds) -> bool:
        stream, partition, start, end = one
        place = (stream, partition)
        upto = self.ledger.next.get(place, 0)
        covered = self.first.get(place, end) <= start and end <= upto
        return covered or start >= upto or any(_inside(one, gap) for gap in self.gaps)

    def _ranges(self, note: Note, rows: Sequence[Row]) -> None:
        told = {(r.stream, r.partition): r for r in note.ranges}
        for row in rows:
            one = told.get((row.stream, row.kafkaPartition))
            where = f"commit {note.commit}, stream {row.stream}, partition {row.kafkaPartition}"
            has = (row.startOffset, row.endOffset, row.records, row.tombstones)
            if one is None:
                self.findings.add(3, "commit_differs", f"the files do not know its range {has[:2]}", where)
            elif has != (one.start, one.end, one.records, one.tombstones):
                clipped = one.start <= row.startOffset and row.endOffset == one.end and row.startOffset > one.start
                if not clipped:
                    text = f"its range is {has}, the files say {(one.start, one.end, one.records, one.tombstones)}"
                    self.findings.add(3, "commit_differs", text, where)
        lost = told.keys() - {(row.stream, row.kafkaPartition) for row in rows}
        for stream, partition in sorted(lost):
            one = told[stream, partition]
            if not self._covered(one.stream, one.partition, one.start, one.end):
                where = f"commit {note.commit}, stream {stream}, partition {partition}"
                self.findings.add(3, "commit_differs", f"its range [{one.start}, {one.end}) is not there", where)

    def _covered(self, stream: int, partition: int, start: int, end: int) -> bool:
        """Whether other commits took these offsets: a rebuild leaves out what is covered."""
        return any(
            row.startOffset <= start and end <= row.endOffset for row in self.stored.ranges((stream, partition), 0, end)
        )

    def _gaps(self, note: Note, rows: Sequence[Row], accepted: Sequence[Row]) -> None:
        """The ranges that a commit gave up by an operator's word are accepted gaps, with that word."""
        wanted = {(r.stream, r.kafkaPartition, r.startOffset, r.endOffset) for r in rows} if note.accepted else set()
        told = {(r.stream, r.kafkaPartition, r.startOffset, r.endOffset): r.reason for r in accepted}
        for gap in sorted(wanted ^ told.keys()):
            only = "the files say that it was given up" if gap in wanted else "only the table says that it was given up"
            self.findings.add(3, "gap_differs", f"[{gap[2]}, {gap[3]}): {only}", _gap_text(note, gap))
        for gap in sorted(wanted & told.keys()):
            if told[gap] != note.reason[:1024]:
                text = f"[{gap[2]}, {gap[3]}): its reason is {told[gap]!r}, the files say {note.reason[:1024]!r}"
                self.findings.add(3, "gap_differs", text, _gap_text(note, gap))

    def _whole(self, note: Note, batches: Sequence[tuple[Any, ...]]) -> bool:
        """Whether all parts of a commit were read; a part that should have been and was not is a finding.

        One that came after its segment was read is in flight.
        """
        seen = Counter({segment: messages for _, segment, messages in batches})
        missing = [part for part in note.parts if part[0] not in seen]
        for segment, messages in note.parts:
            if segment in seen and seen[segment] != messages:
                text = f"its part there has {seen[segment]} messages, the commit says {messages}"
                self.findings.add(3, "commit_counts", text, f"commit {note.commit}, segment {segment}")
        for segment, messages in missing:
            read = self.elsewhere is not None and segment not in self.elsewhere
            if read and note.commit not in self.places.of(segment).commits:
                text = f"its part of {messages} messages is not there"
                self.findings.add(4, "commit_counts", text, f"commit {note.commit}, segment {segment}")
        return not missing

    def _records(self, row: Row, ranges: Sequence[Row], counted: Sequence[tuple[Any, ...]]) -> None:
        messages: Counter[tuple[int, int]] = Counter()
        for _, _, stream, partition, count in counted:
            messages[stream, partition] += count
        if sum(messages.values()) != row.records:
            text = f"it counts {row.records} records, its segments have {sum(messages.values())}"
            self.findings.add(3, "records_differ", text, f"commit {row.commitId}")
        for one in ranges:
            there = messages[one.stream, one.kafkaPartition]
            if there != one.records:
                text = f"[{one.startOffset}, {one.endOffset}) counts {one.records} records, its segments have {there}"
                where = f"commit {row.commitId}, stream {one.stream}, partition {one.kafkaPartition}"
                self.findings.add(3, "records_differ", text, where)

    def _visits(self, note: Note, rows: Sequence[Row], visited: Sequence[tuple[Any, ...]]) -> None:
        sums: defaultdict[tuple[int, int, int, int], Counter[str]] = defaultdict(Counter)
        for _, _, visit, detector, night, kind, alerts in visited:
            mine = sums[visit, detector, night, note.survey]
            if kind == _LIFTED:
                mine["quarantined"] -= alerts
                continue
            if kind not in _KINDS:
                return
            mine[_KINDS[kind]] += alerts
        self.findings.counts["visit parts"] += len(rows)
        told: dict[tuple[int, int, int, int], Counter[str]] = {}
        for row in rows:
            key = (row.visit, row.detector, row.night, row.survey if note.survey else 0)
            told[key] = Counter({k: getattr(row, k) for k in _KINDS.values()})
        for key in sorted(sums.keys() | told.keys()):
            kept, counted = ({k: n for k, n in each.get(key, {}).items() if n} for each in (sums, told))
            if kept != counted:
                text = f"the table counts {counted}, the segments have {kept}"
                where = f"commit {note.commit}, visit {key[0]}, detector {key[1]}, night {key[2]}, survey {key[3]}"
                self.findings.add(11, "visit_part_differs", text, where)


def _gap_text(note: Note, gap: Bounds) -> str:
    return f"commit {note.commit}, stream {gap[0]}, partition {gap[1]}"


def _inside(one: Bounds, gap: Bounds) -> bool:
    return one[:2] == gap[:2] and gap[2] <= one[2] and one[3] <= gap[3]


def _grouped(rows: Sequence[Row]) -> Mapping[int, list[Row]]:
    found: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.commitId].append(row)
    return found


def _by_commit(rows: Sequence[tuple[Any, ...]]) -> Mapping[int, list[tuple[Any, ...]]]:
    found: defaultdict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for row in rows:
        found[row[0]].append(row)
    return found


def _said(rows: Sequence[Row]) -> str:
    return ", ".join(f"{r.stream}/{r.kafkaPartition} [{r.startOffset}, {r.endOffset})" for r in rows) or "no range"
