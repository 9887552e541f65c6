"""Rows of ``segments`` whose state or number would let go of files that something leads to: invariant 4."""

from __future__ import annotations

from dataclasses import dataclass, field

from stream.audit.files import Files
from stream.audit.findings import Findings
from stream.audit.stored import READ, Row, Stored


@dataclass(slots=True)
class Standing:
    """Holds states against each other, and against markers."""

    files: Files
    stored: Stored
    findings: Findings
    _retired: set[int] = field(default_factory=set)

    def segment(self, row: Row) -> bool:
        """Judge the row of a segment that is neither swept nor a copy's number; gives whether its files are to be read.

        A retired one is remembered for `markers`.
        """
        if row.state == "retired":
            self._retired.add(row.segment)
            return False
        if row.state not in READ:
            self._add(row, f"its state is {row.state!r}, which is none")
        elif row.state == "open" and (row.indexName or "").endswith(".parquet"):
            self._add(row, "its row says open, and it names a sealed index")
        numbers = {_number_in(name or "") for name in (row.dataName, row.indexName)}
        for number in sorted(numbers - {row.segment, -1}):
            other = self.stored.segment(number)
            if other is None or (other.state, other.copyOf) != ("copy", row.segment):
                found = "is not there" if other is None else f"says {other.state}"
                self._add(row, f"its files have the number {number}, whose row {found}: a sweep takes them")
        return True

    def unread(self, night: int | None) -> None:
        """Judge the rows that stand for files that are gone, or for another row's."""
        for row in self.stored.unread_segments(night):
            if row.state == "swept" and row.kind != "swept":
                self._add(row, f"its row says swept, and {row.records} records of it were published: a sweep takes it")
            elif row.state == "copy" and row.copyOf is None:
                self._add(row, "its row says that it is a copy, and not of which segment: a sweep may take it")

    def markers(self) -> None:
        """A retired segment has left a marker file, which went before its row did."""
        if not self._retired:
            return
        left = {_number_in(name) for name in self.files.names() if name.endswith(".retired")}
        for number in sorted(self._retired - left):
            text = "its row says retired, and there is no marker file that says so: a rebuild would miss it"
            self.findings.add(4, "state_differs", text, f"segment {number}")

    def _add(self, row: Row, what: str) -> None:
        self.findings.add(4, "state_differs", what, f"segment {row.segment}, {row.dataName or 'no file'}")


def _number_in(name: str) -> int:
    """The number in a file's name; -1 where it is none of ours."""
    digits = name.partition("/")[2].partition("-")[0]
    return int(digits) if digits.isdigit() else -1
