"""The tables as an audit reads them: short statements of their own, page by page, no snapshot held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from stream.alert import Stream
from stream.tables.model import table
from stream.tables.trouble import translated

Place = tuple[int, int]
"""A stream's number and a Kafka partition."""

Row = sa.Row[Any]
PAGE = 1000
SINK = "alertdb"
READ = ("open", "sealed", "moved")
"""States of segments whose packets are there."""
GONE = ("swept", "copy")
"""States of rows whose packets are not there, or named by another row. Of a retired one the files go last."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger as it stood when the audit began: what lies at or behind `next` is in flight, and not judged."""

    next: Mapping[Place, int]

    def covers(self, stream: int, partition: int, offset: int) -> bool:
        """Whether a record lies before its partition's place."""
        return offset < self.next.get((stream, partition), 0)


class Stored:
    """Reads the tables of one database."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def all(self, query: sa.Select[Any]) -> Sequence[Row]:
        """The rows of a query, in a transaction of its own.

        Raises
        ------
        Transient
            ``level1_away`` and its like.
        """
        with translated(), self._engine.connect() as connection:
            return connection.execute(query).all()

    def version(self) -> tuple[int, int] | None:
        """Major and minor version of the tables; None where there are none."""
        with translated(), self._engine.connect() as connection:
            if not sa.inspect(connection).has_table("schema_version"):
                return None
        rows = table("schema_version")
        found = self.all(sa.select(rows.c.major, rows.c.minor))
        return (found[0].major, found[0].minor) if found else None

    def ledger(self) -> Ledger:
        """The places of ingest, all in one statement."""
        rows = table("ledger")
        query = sa.select(rows.c.stream, rows.c.kafkaPartition, rows.c.next).where(rows.c.sink == SINK)
        return Ledger({(row.stream, row.kafkaPartition): row.next for row in self.all(query)})

    def streams(self) -> dict[int, Stream]:
        """Every stream by its number."""
        return {
            row.stream: Stream(row.cluster, row.topic, row.topicId) for row in self.all(sa.select(table("streams")))
        }

    def surveys(self) -> dict[int, str]:
        """Every survey's name by its number."""
        return {row.survey: row.name for row in self.all(sa.select(table("surveys")))}

    def gaps(self) -> Sequence[Row]:
        """The accepted gaps."""
        rows = table("accepted_gaps")
        return self.all(sa.select(rows).order_by(rows.c.stream, rows.c.kafkaPartition, rows.c.startOffset))

    def segment(self, number: int) -> Row | None:
        """The row of one segment."""
        rows = table("segments")
        found = self.all(sa.select(rows).where(rows.c.segment == number))
        return found[0] if found else None

    def segments(self, night: int | None) -> Iterator[Row]:
        """The rows of all segments, of one night where one is given, in the order of their numbers."""
        rows = table("segments")
        query = sa.select(rows).where(rows.c.state.not_in(("swept", "copy")))
        if night is not None:
            query = query.where(rows.c.night == night)
        yield from self.pages(query, rows.c.segment)

    def unread_segments(self, night: int | None) -> Iterator[Row]:
        """Of the rows that stand for no packets those that no sweep and no copying has made, of one night or of all."""
        rows = table("segments")
        swept = sa.and_(rows.c.state == "swept", rows.c.kind != "swept")
        query = sa.select(rows).where(sa.or_(swept, sa.and_(rows.c.state == "copy", rows.c.copyOf.is_(None))))
        if night is not None:
            query = query.where(rows.c.night == night)
        yield from self.pages(query, rows.c.segment)

    def pages(self, query: sa.Select[Any], key: sa.Column[Any], size: int = PAGE) -> Iterator[Row]:
        """The rows of `query` in the order of the unique column `key`, a page a statement."""
        last = None
        while True:
            page = self.all((query if last is None else query.where(key > last)).order_by(key).limit(size))
            yield from page
            if len(page) < size:
                return
            last = getattr(page[-1], key.name)

    def ranges(self, place: Place, low: int, high: int) -> Iterator[Row]:
        """The ranges of a partition that begin in [low, high), in the order of their offsets."""
        rows = table("commit_ranges")
        stream, partition = place
        query = sa.select(rows).where(rows.c.stream == stream, rows.c.kafkaPartition == partition)
        query = query.order_by(rows.c.startOffset, rows.c.commitId).limit(PAGE)
        after = sa.and_(rows.c.startOffset >= low, rows.c.startOffset < high)
        while True:
            page = self.all(query.where(after))
            yield from page
            if len(page) < PAGE:
                return
            start, commit = page[-1].startOffset, page[-1].commitId
            behind = sa.and_(rows.c.startOffset == start, rows.c.commitId > commit)
            after = sa.and_(
                rows.c.startOffset >= start, rows.c.startOffset < high, sa.or_(rows.c.startOffset > start, behind)
            )

    def ranged_places(self) -> set[Place]:
        """The partitions that any commit took a range of."""
        rows = table("commit_ranges")
        query = sa.select(rows.c.stream, rows.c.kafkaPartition).distinct()
        return {(row.stream, row.kafkaPartition) for row in self.all(query)}

    def commits(self) -> Iterator[Row]:
        """All commits in the order of their ids."""
        rows = table("commits")
        yield from self.pages(sa.select(rows), rows.c.commitId)

    def strays(self, name: str) -> Iterator[Row]:
        """The rows of table `name` whose commit the table ``commits`` does not have."""
        rows = table(name)
        query = sa.select(rows.c.commitId).distinct().order_by(rows.c.commitId).limit(PAGE)
        last = -1
        while page := [row.commitId for row in self.all(query.where(rows.c.commitId > last))]:
            known = {row.commitId for row in self.of_commits("commits", page)}
            if strange := [commit for commit in page if commit not in known]:
                yield from self.of_commits(name, strange)
            last = page[-1]

    def of_commits(self, name: str, commits: Sequence[int]) -> Sequence[Row]:
        """The rows of table `name` that belong to `commits`."""
        rows = table(name)
        return self.all(sa.select(rows).where(rows.c.commitId.in_(commits)))

    def level1(self, survey: int, nights: Iterable[int], ids: Iterable[int]) -> Sequence[Row]:
        """Level-1 rows by their key, with all columns; of any night where `nights` are none."""
        rows = table("level1")
        query = sa.select(rows).where(rows.c.survey == survey, rows.c.diaSourceId.in_(sorted(set(ids))))
        wanted = sorted(set(nights))
        return self.all(query.where(rows.c.night.in_(wanted)) if wanted else query)

    def of_records(self, name: str, records: Iterable[tuple[int, int, int]]) -> Sequence[Row]:
        """The rows of table `name` that have one of these RecordIds."""
        rows = table(name)
        by_place: dict[Place, set[int]] = {}
        for stream, partition, offset in records:
            by_place.setdefault((stream, partition), set()).add(offset)
        found: list[Row] = []
        for (stream, partition), offsets in sorted(by_place.items()):
            found += self.all(
                sa.select(rows).where(
                    rows.c.stream == stream,
                    rows.c.kafkaPartition == partition,
                    rows.c.kafkaOffset.in_(sorted(offsets)),
                )
            )
        return found

    def of_place(self, name: str, place: Place, low: int, high: int, **where: str) -> Iterator[Row]:
        """The rows of table `name` (keyed by RecordId) with offsets in [low, high) of a partition, in order."""
        rows = table(name)
        mine = sa.select(rows).where(rows.c.stream == place[0], rows.c.kafkaPartition == place[1])
        mine = mine.where(*(rows.c[column] == value for column, value in where.items()))
        mine = mine.order_by(rows.c.kafkaOffset, *([rows.c.part] if "part" in rows.c else []))
        at = low
        while True:
            page = self.all(mine.where(rows.c.kafkaOffset >= at, rows.c.kafkaOffset < high).limit(PAGE))
            if len(page) < PAGE:
                yield from page
                return
            # A message's further parts may be on the next page.
            last = page[-1].kafkaOffset
            if page[0].kafkaOffset == last:
                page, at = self.all(mine.where(rows.c.kafkaOffset == last)), last + 1
            else:
                page, at = [row for row in page if row.kafkaOffset < last], last
            yield from page
