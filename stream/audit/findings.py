"""What an audit counts and what it finds: invariants by their numbers in the commit protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

MOST_OF_A_KIND = 25
"""Findings of one code that are kept and shown; further ones are only counted."""

INVARIANTS: Mapping[int, str] = {
    1: "every packet that the broker acknowledged is kept, byte for byte",
    2: "no record is published twice",
    3: "the ranges tile up to the ledger, and their records are kept",
    4: "published bytes are there and have their digests",
    5: "each Level-1 row leads to its packet and has its values",
    6: "one row for a survey, night and id; every other packet is named",
    7: "bad packets are kept whole",
    8: "memory is bounded whatever stalls",
    9: "a kill at any instant keeps 1 to 6",
    10: "the night of an alert comes from the alert",
    11: "visit parts are what each commit kept",
}

ADVICE: Mapping[str, str] = {
    "chunk_differs": "set the stripes and sub-stripes that ingest had; if they are set, `skyburst level1 rebuild`",
    "commit_counts": "look for the part that is missing; `skyburst level1 rebuild` counts again from the files",
    "commit_differs": "the files say what was committed: `skyburst level1 rebuild` into an empty database",
    "commit_unfiled": "no segment tells of it and a rebuild would not have it: look for a segment that is missing",
    "commit_unknown": "the files have it and the tables do not: `skyburst level1 rebuild` into an empty database",
    "file_long": "somebody wrote to a sealed file: keep it, and restore the segment from a copy",
    "file_missing": "restore the file from a copy; what the broker still has can be ingested again",
    "file_short": "restore the file from a copy; what the broker still has can be ingested again",
    "file_unreadable": "restore the file from a copy; what the broker still has can be ingested again",
    "gap_differs": "the files say what was given up: `skyburst level1 rebuild` into an empty database",
    "header_differs": "the file is not that of this row: restore it from a copy, or rebuild the tables",
    "id_unnamed": "`skyburst level1 rebuild` into an empty database names it",
    "index_damaged": "restore the index from a copy; the data file still has the packets",
    "kept_twice": "stop ingest: a fence is broken; rebuild the tables, which takes each record once",
    "ledger_differs": "stop ingest; `skyburst level1 rebuild` into an empty database",
    "night_differs": "rebuild the tables with the survey file that is meant",
    "packet_damaged": "restore the segment from a copy; what the broker still has can be ingested again",
    "packet_differs": "keep both: the broker's copy and the segment; one of them is damaged",
    "packet_missing": "stop ingest while the broker still has it; accept no gap; ingest it again",
    "quarantine_differs": "`skyburst level1 rebuild` into an empty database",
    "quarantine_lost": "`skyburst level1 rebuild` into an empty database; look for the segment that it names",
    "ranges_gap": "see what the offsets are: `skyburst ledger show`; accept the gap, or rebuild the tables",
    "ranges_overlap": "stop ingest: a fence is broken; rebuild the tables, which takes each record once",
    "records_differ": "`skyburst level1 rebuild` into an empty database",
    "redriven_lost": "re-drive it again once the row says held; `skyburst level1 rebuild` says so",
    "row_differs": "`skyburst level1 rebuild` into an empty database makes the row again",
    "row_misplaced": "`skyburst level1 rebuild` into an empty database makes the row again",
    "row_missing": "`skyburst level1 rebuild` into an empty database makes the row again",
    "row_unpublished": "`skyburst level1 rebuild` into an empty database leaves it out",
    "state_differs": "stop the daemons: a sweep may take its files; `skyburst level1 rebuild` into an empty database",
    "tombstones_differ": "compare the commit's ranges with the topic",
    "visit_part_differs": "`skyburst level1 rebuild` into an empty database sums again",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes
    ----------
    invariant
        Its number.
    code
        Stable slug.
    what, where
        What is wrong, and in which file, row, commit or offsets.
    """

    invariant: int
    code: str
    what: str
    where: str

    @property
    def advice(self) -> str:
        """What to do about it."""
        return ADVICE[self.code]


@dataclass(slots=True)
class Findings:
    """Collects findings, the first of each code in full; counts what was looked at.

    Attributes
    ----------
    counts
        How many of what was looked at, by words.
    found
        How many findings by (invariant, code).
    kept
        Those that are shown.
    """

    counts: Counter[str] = field(default_factory=Counter)
    found: Counter[tuple[int, str]] = field(default_factory=Counter)
    kept: list[Finding] = field(default_factory=list)

    def add(self, invariant: int, code: str, what: str, where: str) -> None:
        """Add a finding."""
        finding = Finding(invariant, code, what, where)
        finding.advice  # noqa: B018  (a code without advice is a mistake here, not at the end of an hour)
        self.found[invariant, code] += 1
        if self.found[invariant, code] <= MOST_OF_A_KIND:
            self.kept.append(finding)

    def of(self, invariant: int) -> int:
        """How many findings break this invariant."""
        return sum(count for (number, _), count in self.found.items() if number == invariant)

    @property
    def more(self) -> dict[str, int]:
        """By code, how many findings are not shown."""
        return {code: n - MOST_OF_A_KIND for (_, code), n in sorted(self.found.items()) if n > MOST_OF_A_KIND}

    @property
    def sound(self) -> bool:
        """Nothing was found."""
        return not self.found
