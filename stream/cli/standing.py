"""Where each partition stands: the ledger beside the broker's log, and what keeps the two apart."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from stream.alert import Stream
from stream.commit.identity import generation, told_id
from stream.commit.ledger import SINK
from stream.errors import Held, Transient
from stream.tables.model import table
from stream.tables.trouble import translated
from stream.transport.admin import Topics


@dataclass(frozen=True, slots=True)
class Standing:
    """One partition.

    Attributes
    ----------
    next
        The ledger's next offset; None where it has none.
    ahead_of
        Where the log ended when a daemon found `next` ahead of it; None where none did.
    log_start, log_end
        Offset of the first record that the log keeps, and of the next one to be written; None where nobody was asked.
    trouble
        Stable code of what an operator must decide, else empty: ``offsets_expired``, ``ledger_ahead``,
        ``topic_recreated``, ``topic_gone``.
    missing
        The offsets [start, end) that the log does not have.
    """

    stream: int
    topic: str
    topic_id: str
    partition: int
    next: int | None
    log_start: int | None = None
    log_end: int | None = None
    ahead_of: int | None = None
    trouble: str = ""
    missing: tuple[int, int] | None = None
    advice: str = ""

    @property
    def lag(self) -> int | None:
        """Offsets between the ledger and the log's end."""
        if self.next is None or self.log_end is None or self.trouble in ("ledger_ahead", "topic_recreated"):
            return None
        return self.log_end - self.next

    def row(self) -> dict[str, object]:
        """As a row of a table."""
        return {
            "stream": self.stream,
            "topic": self.topic,
            "topicId": self.topic_id,
            "partition": self.partition,
            "next": self.next,
            "logStart": self.log_start,
            "logEnd": self.log_end,
            "aheadOf": self.ahead_of,
            "lag": self.lag,
            "held": self.trouble,
            "missing": list(self.missing) if self.missing else None,
            "do": self.advice,
        }


COLUMNS = ("stream", "topic", "partition", "next", "logStart", "logEnd", "lag", "held", "missing", "do")


@dataclass(frozen=True, slots=True)
class Places:
    """The ledger of ingest: every stream, the next offset of each place, and where the log of marked ones ended."""

    streams: dict[int, Stream]
    next: dict[tuple[int, int], int]
    ahead: dict[tuple[int, int], int]

    @classmethod
    def read(cls, engine: sa.Engine) -> Places:
        """Read both tables."""
        streams, ledger = table("streams"), table("ledger")
        with translated(), engine.connect() as connection:
            known = {
                row.stream: Stream(row.cluster, row.topic, row.topicId)
                for row in connection.execute(sa.select(streams))
            }
            rows = connection.execute(sa.select(ledger).where(ledger.c.sink == SINK)).all()
        found = {(row.stream, row.kafkaPartition): row for row in rows}
        marked = {place: int(row.aheadOf) for place, row in found.items() if row.aheadOf is not None}
        return cls(known, {place: int(row.next) for place, row in found.items()}, marked)

    def newest(self) -> dict[tuple[str, str], tuple[int, Stream]]:
        """By cluster and topic the stream that was seen last, in its newest generation."""
        found: dict[tuple[str, str], tuple[int, Stream]] = {}
        for number, stream in sorted(self.streams.items()):
            found[stream.cluster, stream.topic] = (number, stream)
        return found

    def of_tables(self) -> list[Standing]:
        """Every place of the newest streams, as far as the tables know."""
        current = {number for number, _ in self.newest().values()}
        return [
            _marked(self._standing(number, self.streams[number], partition))
            for number, partition in sorted(self.next)
            if number in current
        ]

    def _standing(self, number: int, stream: Stream, partition: int, *log: int) -> Standing:
        """What the tables say of a place, beside the start and the end of its log where they are known."""
        low, high = log or (None, None)
        place = (number, partition)
        told = (self.next.get(place), low, high, self.ahead.get(place))
        return Standing(number, stream.topic, stream.topic_id, partition, *told)

    def beside(self, topics: Topics, wanted: tuple[str, ...]) -> list[Standing]:
        """Every place of the topics `wanted`, and of all that the ledger knows, beside the broker's log.

        Raises
        ------
        Transient
            ``broker_away``.
        """
        names = sorted({*wanted, *(stream.topic for stream in self.streams.values())})
        return [standing for name in names for standing in self._topic(topics, name)]

    def _topic(self, topics: Topics, name: str) -> list[Standing]:
        try:
            told = topics.stream_of(name)
            bounds = topics.offsets(name, topics.describe(name).partitions)
        except Held as error:
            known = [_replaced(one, error.code, "") for one in self.of_tables() if one.topic == name]
            return known or [Standing(0, name, "", -1, None, trouble=error.code, advice=error.advice)]
        mine = {n: s for n, s in self.streams.items() if (s.cluster, s.topic) == (told.cluster, name)}
        now = {n: s for n, s in mine.items() if told_id(s) == told.topic_id}
        number, stream = max(now.items(), key=lambda item: generation(item[1])) if now else (0, told)
        before: dict[int, int] = defaultdict(int)
        for (old, partition), offset in self.next.items():
            if old in mine and old != number:
                before[partition] = max(before[partition], offset)
        out = []
        for partition, (low, high) in sorted(bounds.items()):
            one = self._standing(number, stream, partition, low, high)
            out.append(_judged(one, low, high, partition in before))
        return out


def _judged(one: Standing, low: int, high: int, known_before: bool) -> Standing:
    if one.next is None:
        return _replaced(one, "topic_recreated", f"skyburst ledger adopt {one.topic}") if known_before else one
    if one.ahead_of is not None:
        return _marked(one)
    if one.next < low:
        gap = f"{one.stream} {one.partition} {one.next} {low}"
        return _replaced(one, "offsets_expired", f"skyburst ledger accept-gap {gap} --reason …", (one.next, low))
    if one.next > high:
        return _replaced(one, "ledger_ahead", f"skyburst ledger adopt {one.topic}", (high, one.next))
    return one


def _marked(one: Standing) -> Standing:
    """Held where a daemon found it ahead of its log, whatever the log says now."""
    if one.next is None or one.ahead_of is None:
        return one
    missing = (one.ahead_of, one.next) if one.ahead_of < one.next else None
    return _replaced(one, "ledger_ahead", f"skyburst ledger adopt {one.topic}", missing)


def _replaced(one: Standing, trouble: str, advice: str, missing: tuple[int, int] | None = None) -> Standing:
    return replace(one, trouble=trouble, advice=advice, missing=missing)


def asked(places: Places, topics: Topics | None, wanted: tuple[str, ...]) -> tuple[list[Standing], str]:
    """Every place, and why the broker could not be asked (empty where it was)."""
    if topics is None:
        return places.of_tables(), "no broker is set"
    try:
        return places.beside(topics, wanted), ""
    except Transient as error:
        return places.of_tables(), str(error)


def gaps(engine: sa.Engine) -> list[dict[str, Any]]:
    """The accepted gaps."""
    rows = table("accepted_gaps")
    query = sa.select(rows).order_by(rows.c.stream, rows.c.kafkaPartition, rows.c.startOffset)
    with translated(), engine.connect() as connection:
        return [dict(row._mapping) for row in connection.execute(query)]
