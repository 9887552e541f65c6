"""The segments that this daemon has open, and the second fence (step 3b)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from stream.alertdb.header import SegmentHeader, SegmentKey
from stream.alertdb.port import SegmentStore
from stream.alertdb.segment import Appended, OpenSegment, Sealed, SegmentRef
from stream.clock import Clock
from stream.commit.batch import SegmentWork, fresh_number
from stream.commit.identity import Daemon, version
from stream.errors import Fenced, Held, Poison, SkyburstError
from stream.tables.model import table

MOST_OPEN = 128
"""Segments that stay open between commits: each has two files, and a replay of many nights would open them all."""


class SegmentFenced(Fenced):
    """Somebody sealed or swept a segment of ours: open a new one and do the batch again."""

    def __init__(self, number: int) -> None:
        super().__init__("segment_fenced", f"segment {number} is no longer ours", "the batch goes into a new one")
        self.number = number


@dataclass(slots=True)
class Mine:
    """One segment that this daemon may append to.

    Attributes
    ----------
    rowed
        Whether it has its row.
    used
        Monotonic seconds of its last use.
    told
        Places (stream, partition) of which a published note in it says where they began.
    """

    segment: OpenSegment
    rowed: bool = False
    used: float = 0.0
    told: set[tuple[int, int]] = field(default_factory=set)

    @property
    def number(self) -> int:
        """The segment's number."""
        return self.segment.header.number


@dataclass(frozen=True, slots=True)
class Written:
    """What step 1 appended to one segment for one piece of work; `sealed` where that has sealed it for good."""

    mine: Mine
    work: SegmentWork
    appended: Appended
    before: SegmentRef
    sealed: Sealed | None = None


class OpenSegments:
    """At most one open segment for each key and schema id; one that is fenced, full or failed is not appended to again.

    Where the store cannot append, every piece of work gets a segment of its own, with a fresh number also when it is
    done again, and none stays open.

    Attributes
    ----------
    turn
        Held from step 1 of a commit until its outcome is known.
    writing
        Held in steps 1 and 2, those of a batch that runs ahead of its turn among them. Segments are forgotten only by
        who holds it: nobody closes a file that another thread writes.
    """

    def __init__(self, store: SegmentStore, daemon: Daemon, clock: Clock) -> None:
        self.store = store
        self.daemon = daemon
        self._clock = clock
        self._open: dict[tuple[SegmentKey, int | None], Mine] = {}
        self.turn = asyncio.Lock()
        self.writing = asyncio.Lock()
        self._unknown: set[asyncio.Lock] = set()

    @property
    def unsettled(self) -> bool:
        """Whether it is not known (yet) how the last commit, or a write ahead, ended: until then nothing is sealed."""
        return bool(self._unknown)

    def settling(self) -> AbstractAsyncContextManager[None]:
        """Around a commit. One that is cut short leaves `unsettled`: its COMMIT may have been sent."""
        return self._ends_known(self.turn, Fenced, Poison, Held)

    def running_ahead(self) -> AbstractAsyncContextManager[None]:
        """Around steps 1 and 2 ahead of the turn. What is cut short leaves `unsettled`: a thread may still write."""
        return self._ends_known(self.writing, SkyburstError)

    @asynccontextmanager
    async def at_rest(self) -> AsyncIterator[None]:
        """Between commits, while nothing is written: the time to forget segments in order to seal them."""
        async with self.turn, self.writing:
            yield

    def holds(self, written: Iterable[Written]) -> bool:
        """Whether all that was `written` still stands right behind what is published, in segments that are open."""
        return all(
            self._open.get(item.work.shared) is item.mine and item.mine.segment.holds(item.appended) for item in written
        )

    @asynccontextmanager
    async def _ends_known(self, lock: asyncio.Lock, *errors: type[SkyburstError]) -> AsyncIterator[None]:
        """Hold `lock`; it is known how that ended where it came to its end, or to one of these errors."""
        async with lock:
            self._unknown.add(lock)
            try:
                yield
            except errors:
                self._unknown.discard(lock)
                raise
            self._unknown.discard(lock)

    def __iter__(self) -> Iterator[Mine]:
        return iter(list(self._open.values()))

    def of(self, work: SegmentWork, survey_digest: str) -> Mine:
        """The open segment for `work`, created where there is none. Blocks: it makes files and syncs them."""
        mine = self._open.get(work.shared)
        if mine is None:
            header = SegmentHeader(
                number=fresh_number(),
                key=work.key,
                source=work.source,
                schema_id=work.schema_id,
                schema_text=work.schema_text,
                survey_digest=survey_digest,
                version=version(),
                instance=self.daemon.instance,
            )
            mine = Mine(self.store.create(header))
            if self.store.appends:
                self._open[work.shared] = mine
        mine.used = self._clock.monotonic()
        return mine

    def may_run_ahead(self, works: Iterable[SegmentWork]) -> bool:
        """Whether each of `works` has an open segment with a row, in which at most one commit is not published."""
        segments = [self._open.get(work.shared) for work in works]
        return all(mine is not None and mine.rowed and mine.segment.unpublished <= 1 for mine in segments)

    def too_many(self, works: Iterable[SegmentWork]) -> list[Mine]:
        """What was used longest ago, `works` aside, as far as with them more than `MOST_OPEN` would be open."""
        needed = {work.shared for work in works}
        others = sorted((mine for key, mine in self._open.items() if key not in needed), key=lambda mine: mine.used)
        return others[: max(0, len(others) + len(needed) - MOST_OPEN)]

    def forget(self, number: int) -> Mine | None:
        """Never append to segment `number` again; gives what it was, so that it can be sealed or closed."""
        for key, mine in self._open.items():
            if mine.number == number:
                return self._open.pop(key)
        return None


async def publish_lengths(
    connection: AsyncConnection, written: Iterable[Written], daemon: Daemon, survey: int, now: sa.ColumnElement[float]
) -> None:
    """Step 3b: set each segment's published lengths by compare-and-set; a new segment is inserted, never upserted.

    `now` is the heartbeat: seconds since 1970 UTC by the database's clock.

    Raises
    ------
    SegmentFenced
        The segment is not open at the lengths that this daemon knows, or its number is already taken.
    """
    rows = table("segments")
    for item in sorted(written, key=lambda w: w.mine.number):
        number, work = item.mine.number, item.work
        lengths = {"dataLength": item.appended.data_length, "indexLength": item.appended.index_length}
        if item.mine.rowed:
            changed = await connection.exec_driver_sql(_lengthened_sql(item, str(now)))
            if changed.rowcount != 1:
                raise SegmentFenced(number)
            continue
        row: dict[str, object] = {
            "segment": number,
            "stream": work.key.stream,
            "survey": survey,
            "night": work.key.night,
            "kind": work.key.kind,
            "fingerprint": work.key.fingerprint,
            "schemaId": work.schema_id,
            "dataName": item.before.data_name,
            "indexName": item.before.index_name,
            **lengths,
            "records": work.records,
            "state": "open",
            "owner": daemon.id,
            "heartbeat": now,
        }
        if item.sealed is not None:
            row |= sealed_values(item.sealed)
        try:
            await connection.execute(sa.insert(rows).values(row))
        except IntegrityError as error:
            raise SegmentFenced(number) from error


def _lengthened_sql(item: Written, now: str) -> str:
    """Written out, as the first fence is: building it each time took longer than running it. Nothing but integers."""
    before, after = item.before, item.appended
    return (
        f"UPDATE segments SET dataLength = {int(after.data_length)}, indexLength = {int(after.index_length)},"  # noqa: S608
        f" records = records + {int(item.work.records)}, heartbeat = {now}"
        f" WHERE segment = {int(item.mine.number)} AND state = 'open'"
        f" AND dataLength = {int(before.data_length)} AND indexLength = {int(before.index_length)}"
    )


def sealed_values(sealed: Sealed) -> dict[str, object]:
    """The columns of `segments` that sealing sets."""
    return {
        "state": "sealed",
        "dataName": sealed.data_name,
        "indexName": sealed.index_name,
        "dataLength": sealed.data_length,
        "indexLength": sealed.index_length,
        "digest": sealed.digest,
        "indexDigest": sealed.index_digest,
    }
