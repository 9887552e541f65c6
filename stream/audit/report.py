"""What an audit says: a verdict for each invariant with what was counted, then what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stream.audit.findings import INVARIANTS, Findings

HELD_BY_TESTS = (8,)
"""Invariants of which nothing stored shows anything."""
_FOLLOWS = {9: (1, 2, 3, 4, 5, 6)}


@dataclass(frozen=True, slots=True)
class Compared:
    """One partition, and how its offsets were judged.

    Attributes
    ----------
    first
        The first offset that any commit took.
    low
        From here to `end` it was compared with the broker; before it, tiling and digests prove it.
    end
        The ledger's place: what lies behind it is in flight.
    lag
        Offsets behind it at the broker when the audit began: lag, not loss. None where the broker was not asked.
    compared
        Messages that were compared.
    gone
        Stored records that the broker had lost when it was read: retention or compaction.
    reason
        Why it was not compared, else empty.
    """

    stream: int
    topic: str
    partition: int
    first: int
    low: int
    end: int
    lag: int | None
    compared: int
    gone: int
    reason: str

    def row(self) -> dict[str, object]:
        """As a row of a table."""
        return {
            "stream": self.stream,
            "topic": self.topic,
            "partition": self.partition,
            "by digests": f"[{self.first}, {self.low})",
            "with the broker": f"[{self.low}, {self.end})" if not self.reason else self.reason,
            "compared": self.compared,
            "gone": self.gone,
            "lag": self.lag,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of an audit.

    Attributes
    ----------
    night
        The one night that was judged; None for all.
    gaps
        The accepted gaps, which are listed every time.
    seconds
        How long it took.
    """

    night: int | None
    findings: Findings
    partitions: Sequence[Compared]
    gaps: Sequence[Mapping[str, object]]
    offline: bool
    seconds: float

    @property
    def sound(self) -> bool:
        """Whether every invariant that was judged holds."""
        return self.findings.sound

    @property
    def empty(self) -> bool:
        """Whether a night was asked for of which nothing is stored, so that nothing was proven."""
        named = ("open", "sealed", "moved", "retired", "level1", "quarantine")
        return self.night is not None and not any(self.findings.counts[name] for name in named)

    def invariants(self) -> list[dict[str, object]]:
        """A row an invariant: number, words, verdict, and what was counted."""
        return [
            {"invariant": n, "says": says, "verdict": self._verdict(n), "counted": self._counted(n)}
            for n, says in INVARIANTS.items()
        ]

    def listed(self) -> list[dict[str, object]]:
        """A row a finding."""
        return [
            {"invariant": f.invariant, "code": f.code, "what": f.what, "where": f.where, "do": f.advice}
            for f in self.findings.kept
        ]

    def document(self) -> dict[str, object]:
        """All of it, for programs."""
        return {
            "holds": self.sound,
            "night": self.night,
            "empty": self.empty,
            "seconds": round(self.seconds, 3),
            "invariants": self.invariants(),
            "findings": self.listed(),
            "notShown": self.findings.more,
            "partitions": [each.row() for each in self.partitions],
            "acceptedGaps": list(self.gaps),
            "counts": dict(sorted(self.findings.counts.items())),
        }

    def _verdict(self, number: int) -> str:
        if number in HELD_BY_TESTS:
            return "not stored"
        broken = sum(self.findings.of(each) for each in _FOLLOWS.get(number, (number,)))
        return f"FAILS: {broken}" if broken else "holds"

    def _counted(self, number: int) -> str:
        n = self.findings.counts
        night = "" if self.night is None else f" of night {self.night}"
        broker = "the broker was not asked" if self.offline else f"{n['compared']} messages compared with the broker"
        said = {
            1: f"{broker}; the others by tiling and digests",
            2: f"{n['rows']} alerts and {n['quarantined']} quarantined messages{night}",
            3: f"{n['ranges']} ranges of {n['partitions']} partitions; {n['commits']} commits{night} by their records",
            4: f"{n['segments']} segments{night}, {n['bytes']} bytes, {n['blocks']} blocks, {n['packets']} packets",
            5: f"{n['level1']} rows; the values of {n['derived']} alerts derived from their packets again",
            6: f"{n['level1_repeat']} rows of repeats and conflicts",
            7: f"{n['quarantine']} rows of quarantine",
            8: "nothing stored shows it; tests hold it",
            9: f"as 1 to 6; {n['open']} segments are open",
            10: f"{n['derived']} nights derived from their packets again",
            11: f"{n['visit parts']} rows",
        }
        return said[number]
