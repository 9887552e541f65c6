"""Quarantined messages of segments held against the table: invariants 2 and 7."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stream.alert import Stream
from stream.audit.findings import Findings
from stream.audit.rows import FLUSH, published
from stream.audit.scratch import Scratch
from stream.audit.seen import Seen
from stream.audit.stored import Ledger, Row, Stored


@dataclass(slots=True)
class Quarantined:
    """Rows of one quarantine segment, held against the table a thousand at a time; attributes as of `Alerts`."""

    stored: Stored
    scratch: Scratch
    findings: Findings
    ledger: Ledger
    number: int
    streams: dict[int, Stream]
    matched: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    _waiting: list[Seen] = field(default_factory=list)

    def add(self, rows: Sequence[Seen]) -> None:
        """Take the rows of one commit."""
        self._waiting += rows
        if len(self._waiting) >= FLUSH:
            self.flush()

    def flush(self) -> None:
        """Hold what has come together against the table."""
        waiting, self._waiting = self._waiting, []
        for at in range(0, len(waiting), FLUSH):
            self._judge(waiting[at : at + FLUSH])

    def _judge(self, waiting: Sequence[Seen]) -> None:
        rows = published(self.stored, waiting)
        table = {
            (row.stream, row.kafkaPartition, row.kafkaOffset): row
            for row in self.stored.of_records("quarantine", {seen.record for seen in rows})
        }
        visits: Counter[tuple[int, int, int, int, int, str]] = Counter()
        for seen in rows:
            self._one(seen, table.get(seen.record))
            visit, detector = (-1 if seen.index[name] is None else seen.index[name] for name in ("visit", "detector"))
            visits[seen.commit, seen.segment, visit, detector, seen.night, "quarantined"] += 1
        self.scratch.visit((*key, count) for key, count in visits.items())
        counted = Counter((seen.commit, seen.segment, seen.record[0], seen.record[1]) for seen in rows)
        self.scratch.count((*key, count) for key, count in counted.items())
        self.messages += len(rows)
        self.findings.counts["quarantined"] += len(rows)

    def _one(self, seen: Seen, row: Row | None) -> None:
        if row is None:
            self.findings.add(7, "quarantine_lost", "the table quarantine has no row for it", seen.text())
            return
        if (row.segment, row.blockOffset, row.slot) != seen.place:
            where = f"segment {row.segment}, block {row.blockOffset}, slot {row.slot}"
            self.findings.add(7, "quarantine_differs", f"its row leads to {where}", seen.text())
            return
        self.matched["quarantine"] += self.ledger.covers(*seen.record)
        index, datum = seen.index, dict(zip(*seen.decoded, strict=True)) if seen.decoded else None
        expected = {
            "survey": self.number,
            "night": seen.night,
            "commitId": seen.commit,
            "digest": index["digest"],
            "code": index["code"],
            "reason": index["reason"][:1024],
            "kafkaTimestamp": index["timestamp"],
            **{name: index[name] for name in ("visit", "detector", "diaSourceId")},
            **({} if datum is None else {"bytes": datum["value"]}),
        }
        wrong = [name for name, told in expected.items() if row._mapping[name] != told]
        if row.state not in ("held", "redriven"):
            wrong.append("state")
        if (row.nightFrom == "alert") != (index["midpointMjdTai"] is not None):
            wrong.append("nightFrom")
        if wrong:
            text = ", ".join(f"{name} is {row._mapping[name]!r}, not {expected.get(name)!r}" for name in wrong[:3])
            self.findings.add(7, "quarantine_differs", f"its row differs: {text}", seen.text())
        if datum is not None:
            self._packet(seen, datum)

    def _packet(self, seen: Seen, datum: Mapping[str, Any]) -> None:
        """The packet itself says where it came from: hold the index and the table ``streams`` against it."""
        index = seen.index
        told = (
            Stream(datum["cluster"], datum["topic"], datum["topicId"]),
            *(datum[name] for name in ("partition", "offset", "timestamp", "key", "code", "reason")),
            [(header["key"], header["value"]) for header in datum["headers"]],
        )
        known = (
            self.streams.get(seen.record[0]),
            *(index[name] for name in ("partition", "offset", "timestamp", "key", "code", "reason")),
            [(header["key"], header["value"]) for header in index["headers"]],
        )
        if told != known:
            self.findings.add(7, "index_damaged", "the index is not what the quarantined record says", seen.text())
