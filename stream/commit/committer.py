"""One daemon's commits, one after the other: the four steps, and what to do where one of them fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stream.alert import Stream
from stream.clock import Clock
from stream.commit import account, ledger, rows
from stream.commit.batch import Batch, Begin, Committed, OffsetRange, fresh_number
from stream.commit.failpoints import Failpoints
from stream.commit.identity import Daemon, streams_by_number
from stream.commit.outcome import stands
from stream.commit.redrive import mark_redriven
from stream.commit.sealing import server_time
from stream.commit.segments import MOST_OPEN, Mine, OpenSegments, SegmentFenced, Written, publish_lengths
from stream.commit.waiting import Tell, Waiter
from stream.errors import Fenced, SkyburstError, Transient
from stream.level1.inserts import STATEMENT_BYTES
from stream.level1.write import RowStands, Verdict
from stream.tables.trouble import translate


class SegmentFailed(Transient):
    """A segment's disk failed: it is never written again; its published bytes are copied, the batch goes elsewhere."""

    def __init__(self, mine: Mine, error: Transient) -> None:
        super().__init__(error.code, error.message, error.advice)
        self.mine = mine


@dataclass(frozen=True, slots=True)
class Durable:
    """Steps 1 and 2 of a batch, done: under which commit's id, what was written, the rows, and seconds by step."""

    commit: int
    written: tuple[Written, ...]
    alerts: rows.Alerts | None
    spent: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Told:
    """What the transaction of step 3 found.

    Attributes
    ----------
    verdicts
        A `Verdict` for each alert.
    stood
        How many of their ids had a row of another commit.
    visit_parts
        Rows of `visit_part` written.
    again
        Whether it was refused for such a row at first.
    """

    verdicts: NDArray[np.uint8]
    stood: int
    visit_parts: int
    again: bool = False


@dataclass(slots=True)
class Committer:
    """Commits batches for one daemon; the caller hands them over one at a time, in order.

    The next batch may be written while the transaction of the one before runs (`ahead`): a drain on two processors is
    an eighth faster. What it wrote is taken at its turn only if it still stands right behind what is published.

    Attributes
    ----------
    engine
        Level-1.
    segments
        The daemon's open segments, with their store.
    tell
        Called with what is waited for (a `Transient`), and with None when it is over.
    left
        Called with each segment that is never appended to again because it was fenced, its disk failed, or too many are
        open: it is to be closed, copied or sealed.
    statement_bytes
        Bytes that one statement may have on this server (`stream.level1.write.statement_limit`).
    begins
        Where places that this daemon reads began: each segment tells it beside its first commit of a place, so that a
        rebuild misses what is lost in front of it.
    """

    engine: AsyncEngine
    segments: OpenSegments
    daemon: Daemon
    clock: Clock
    tell: Tell
    left: Callable[[Mine, SkyburstError], None]
    statement_bytes: int = STATEMENT_BYTES
    failpoints: Failpoints = field(default_factory=Failpoints)
    begins: dict[ledger.Place, int] = field(default_factory=dict)
    _streams: dict[int, Stream] = field(default_factory=dict)
    _strict: bool = True
    """Whether the next transaction tries first whether all its ids are new. Not while there are repeats, which come in
    runs, and not behind a deadlock: of several who wait for one row, refusals make more."""
    _publishing: tuple[OffsetRange, ...] = ()

    async def ahead(self, batch: Batch, behind: tuple[OffsetRange, ...]) -> Durable | None:
        """Steps 1 and 2 of `batch` while the transaction of the one before it runs; None where that cannot be.

        `behind` are the ranges of the one before: nothing is written while another commit has the turn, or that one
        waits for it, since what is durable has to be in order.

        Nothing is waited for here, and nothing is left behind: at its turn `commit` meets the same, and deals with it.
        Only segments with a row are written: in files without one a commit that begins behind the ledger would say that
        the database was set back (`stream.commit.authors`). And a segment never ends in more than two commits that are
        not published: a rebuild takes all before them for published (`stream.audit.found`).
        """
        segments = self.segments
        if not segments.store.appends or batch.streams - self._streams.keys():
            return None
        try:
            async with segments.running_ahead():
                if not behind or self._publishing is not behind or not segments.may_run_ahead(batch.works):
                    return None
                self.failpoints.hit("before_ahead")
                durable = await self._durable(batch, behind=True)
                self.failpoints.hit("after_ahead")
                return durable
        except Transient:
            return None

    async def commit(self, batch: Batch, durable: Durable | None = None) -> Committed:
        """Make `batch` durable and visible, or raise and leave nothing of it visible.

        `durable` is what `ahead` gave for it: those steps are done again where they do not count.

        Raises
        ------
        Fenced
            ``ledger_fenced``: somebody else moved the ledger. Drop this batch and all behind it.
        Poison
            Level-1 refuses a value of one of the rows; nothing was published.
        Held
            Level-1 has no partition for the night.
        Fatal
            ``level1_instance``: the database is no longer the one that this daemon began with.
        """
        async with self.segments.settling():
            await self._know_streams(batch)
            while True:
                if durable is None or not self.segments.holds(durable.written):
                    durable = await self._now(batch)
                self._publishing = batch.ranges
                try:
                    told = await self._publish(batch, durable)
                    return self._published(batch, durable, told)
                except SegmentFenced as fenced:
                    lost = fenced
                finally:
                    self._publishing = ()
                await self._leave(lost)

    async def _know_streams(self, batch: Batch) -> None:
        """Learn which streams the batch's numbers stand for, so that the files can tell without the database."""
        missing = batch.streams - self._streams.keys()
        with Waiter(self.tell) as waiter:
            while missing:
                try:
                    # Another thread may read those that were known.
                    self._streams = self._streams | await streams_by_number(self.engine, missing)
                    break
                except (SQLAlchemyError, OSError, SkyburstError) as error:
                    cause = translate(error)
                    if not isinstance(cause, Transient):
                        raise cause from error
                    await waiter.wait(cause)

    async def _now(self, batch: Batch) -> Durable:
        """Steps 1 and 2 at the batch's turn, over whatever was written and is not published."""
        async with self.segments.writing:
            for mine in self.segments.too_many(batch.works):
                self.segments.forget(mine.number)
                self.left(mine, Transient("too_many_files", f"more than {MOST_OPEN} segments are open"))
            return await self._write(batch)

    async def _leave(self, fenced: SegmentFenced) -> None:
        """A segment of ours is somebody else's now: the batch goes into a new one."""
        async with self.segments.writing:
            forgotten = self.segments.forget(fenced.number)
            if forgotten is not None:
                self.left(forgotten, fenced)

    async def _write(self, batch: Batch) -> Durable:
        """Steps 1 and 2; waits where the disk is full, and leaves a segment whose disk failed behind."""
        with Waiter(self.tell) as waiter:
            while True:
                self.failpoints.hit("before_append")
                try:
                    return await self._durable(batch)
                except SegmentFailed as failed:
                    self.segments.forget(failed.mine.number)
                    self.left(failed.mine, failed)
                    await waiter.wait(failed)
                except Transient as error:
                    await waiter.wait(error)

    async def _durable(self, batch: Batch, *, behind: bool = False) -> Durable:
        """Steps 1 and 2 once; while the disk is waited for, the rows are made."""
        commit, spent = fresh_number(), dict[str, float]()
        written = await asyncio.to_thread(self._append, batch, commit, spent, behind)
        made = asyncio.create_task(asyncio.to_thread(self._rows, written, commit, spent))
        try:
            written = await asyncio.to_thread(self._sync, written, spent)
        finally:
            alerts = await made
        return Durable(commit, written, alerts, spent)

    def _append(self, batch: Batch, commit: int, spent: dict[str, float], behind: bool) -> tuple[Written, ...]:
        started = time.perf_counter()
        mine = [self.segments.of(work, batch.survey_digest) for work in batch.works]
        note = account.for_files(
            batch,
            commit,
            self.daemon,
            streams=self._streams,
            parts=[(one.number, work.records) for one, work in zip(mine, batch.works, strict=True)],
            begins=self._begins(batch, mine),
            at=self.clock.now(),
        )
        written = []
        for one, work in zip(mine, batch.works, strict=True):
            before = one.segment.tip if behind else one.segment.ref
            with _failing(one):
                appended = one.segment.append(work.blocks, work.rows, note, behind=behind)
            written.append(Written(one, work, appended, before))
        self.failpoints.hit("after_append")
        spent["append"] = time.perf_counter() - started
        return tuple(written)

    def _rows(self, written: Sequence[Written], commit: int, spent: dict[str, float]) -> rows.Alerts | None:
        started = time.perf_counter()
        alerts = rows.Alerts.of(written, commit, self.engine.dialect.name, self.statement_bytes)
        spent["rows"] = time.perf_counter() - started
        return alerts

    def _sync(self, written: Sequence[Written], spent: dict[str, float]) -> tuple[Written, ...]:
        started = time.perf_counter()
        for item in written:
            with _failing(item.mine):
                item.mine.segment.sync()
        if not self.segments.store.appends:
            written = [replace(item, sealed=item.mine.segment.seal()) for item in written]
        self.failpoints.hit("after_sync")
        spent["sync"] = time.perf_counter() - started
        return tuple(written)

    def _begins(self, batch: Batch, mine: list[Mine]) -> list[Begin]:
        """The batch's own, which the ledger gets with it, and those in the ledger of which a segment does not tell."""
        known = [(r.stream, r.partition) for r in batch.ranges if (r.stream, r.partition) in self.begins]
        fresh = [Begin(*place, self.begins[place]) for place in known if any(place not in one.told for one in mine)]
        return [*batch.begins, *fresh]

    async def _publish(self, batch: Batch, durable: Durable) -> _Told:
        """Step 3, repeated as a whole until its outcome is known."""
        started = time.perf_counter()
        with Waiter(self.tell) as waiter:
            told = await self._until_known(batch, durable, waiter)
        if len(told.verdicts):
            self._strict = not told.stood
        self.failpoints.hit("after_commit")
        durable.spent["publish"] = time.perf_counter() - started
        return told

    async def _until_known(self, batch: Batch, durable: Durable, waiter: Waiter) -> _Told:
        sent = again = False
        while True:
            try:
                async with self.engine.connect() as connection:
                    told = await self._transaction(connection, batch, durable)
                    self.failpoints.hit("before_commit")
                    sent = True
                    await connection.commit()
                    return replace(told, again=again)
            except RowStands:
                self._strict, again = False, True
                self.failpoints.hit("after_refused")
            except (SQLAlchemyError, OSError, SkyburstError) as error:
                cause = translate(error)
                self._strict &= cause.code != "deadlock"
                if isinstance(cause, Transient):
                    await waiter.wait(cause)
                if sent and await stands(self.engine, durable.commit, waiter):
                    return replace(told, again=again)
                if not isinstance(cause, Transient):
                    raise cause from error

    async def _transaction(self, connection: AsyncConnection, batch: Batch, durable: Durable) -> _Told:
        """Steps 3a to 3d, in this order; the caller commits."""
        hit, commit, written, alerts = self.failpoints.hit, durable.commit, durable.written, durable.alerts
        hit("after_begin")
        try:
            await ledger.move(connection, batch.ranges, self.daemon.instance)
        except Fenced:
            await ledger.same_instance(connection, self.daemon.instance)
            raise
        await ledger.insert(connection, batch.begins)
        await ledger.clear_ahead(connection, batch.closed)
        hit("after_fence")
        await publish_lengths(connection, written, self.daemon, batch.survey, server_time(self.engine))
        await account.for_tables(connection, batch, commit, self.daemon, self.clock.now())
        hit("after_segments")
        lifted = await mark_redriven(connection, batch.redriven, commit)
        verdicts, stood = await rows.write_rows(connection, alerts, commit, strict=self._strict)
        hit("after_rows")
        await rows.write_repeats(connection, alerts, verdicts, commit)
        await rows.write_quarantine(connection, written, batch.survey, commit)
        aside = [record for work in batch.works for record in work.quarantined]
        parts = await rows.write_visit_parts(connection, alerts, verdicts, aside, lifted, batch.survey, commit)
        hit("after_repeats")
        return _Told(verdicts, stood, parts)

    def _published(self, batch: Batch, durable: Durable, told: _Told) -> Committed:
        written = durable.written
        for item in written:
            item.mine.segment.publish(item.appended)
            item.mine.rowed = True
            item.mine.told.update(self.begins.keys() & {(r.stream, r.partition) for r in batch.ranges})
        counts = np.bincount(told.verdicts, minlength=len(Verdict))
        return Committed(
            commit=durable.commit,
            new=int(counts[Verdict.NEW]),
            repeated=int(counts[Verdict.REPEATED]),
            conflicts=int(counts[Verdict.CONFLICT]),
            quarantined=sum(len(w.quarantined) for w in batch.works),
            data_bytes=sum(w.appended.data_length - w.appended.base for w in written),
            index_bytes=sum(w.appended.index_length - w.before.index_length for w in written),
            visit_parts=told.visit_parts,
            seconds=durable.spent,
            again=told.again,
        )


@contextmanager
def _failing(mine: Mine) -> Iterator[None]:
    """Say which segment's disk failed."""
    try:
        yield
    except Transient as error:
        if error.code == "disk_failed":
            raise SegmentFailed(mine, error) from error
        raise
