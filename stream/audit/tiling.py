"""The ranges of commits tile each partition up to the ledger: invariant 3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stream.audit.findings import Findings
from stream.audit.stored import Ledger, Place, Stored


@dataclass(slots=True)
class Tiling:
    """Walks the ranges of every partition.

    Attributes
    ----------
    first
        By partition the first offset that any commit took.
    """

    stored: Stored
    findings: Findings
    ledger: Ledger
    first: dict[Place, int] = field(default_factory=dict)

    def judge(self) -> Mapping[Place, int]:
        """Walk them all; gives `first`."""
        for place in sorted(self.stored.ranged_places() - self.ledger.next.keys()):
            started = self.stored.ledger().next
            if place not in started:
                where = f"stream {place[0]}, partition {place[1]}"
                self.findings.add(
                    3, "ledger_differs", "commits took ranges of it, and the ledger does not know it", where
                )
        for place, end in sorted(self.ledger.next.items()):
            self._walk(place, end)
        self.findings.counts["partitions"] += len(self.ledger.next)
        return self.first

    def _walk(self, place: Place, end: int) -> None:
        where = f"stream {place[0]}, partition {place[1]}"
        at, before = None, 0
        for row in self.stored.ranges(place, 0, end):
            self.findings.counts["ranges"] += 1
            start, stop = row.startOffset, row.endOffset
            said = f"commit {row.commitId} took [{start}, {stop})"
            if at is None:
                self.first[place] = at = start
            if start > at:
                text = f"offsets [{at}, {start}) are in no commit: the one before ended there, {said}"
                self.findings.add(3, "ranges_gap", text, where)
            elif start < at:
                text = f"offsets [{start}, {min(at, stop)}) are in two commits, {before} and {row.commitId}: {said}"
                self.findings.add(3, "ranges_overlap", text, where)
            if stop <= start or row.records < 0 or row.tombstones < 0 or row.records + row.tombstones > stop - start:
                text = f"{said} with {row.records} records and {row.tombstones} tombstones"
                self.findings.add(3, "records_differ", text, where)
            if stop > at:
                at, before = stop, row.commitId
        if at is not None and at != end:
            text = f"the ranges end at {at}, the ledger stands at {end}"
            self.findings.add(3, "ledger_differs" if at > end else "ranges_gap", text, where)
