"""What came of it: metrics, lag tools, holds and readiness, after each commit and each failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from sqlalchemy.exc import SQLAlchemyError

from consumers.ingest.allowance import Allowance
from consumers.ingest.holds import Holds, adopting
from consumers.ingest.lateness import Lateness
from consumers.ingest.poller import Poller
from consumers.ingest.prepare import Prepared, Preparer, by_code
from consumers.ingest.unknown import Waits, asked
from stream import metrics
from stream.alert import RecordId
from stream.clock import Clock
from stream.commit import ledger
from stream.commit.batch import Batch, Committed
from stream.commit.committer import Committer
from stream.commit.rows import level1_columns
from stream.commit.suspects import suspects
from stream.commit.waiting import Waiter
from stream.errors import Fenced, Held, Poison, SkyburstError, Transient
from stream.log import Log
from stream.tables.trouble import translate
from stream.transport.source import Partition, PartitionTrouble
from stream.web.health import Health

_log = Log("consumers.ingest")

T = TypeVar("T")
RETRY_S = 1.0
LONGEST_RETRY_S = 10.0


@dataclass(slots=True)
class Outcome:
    """The side effects of the pipeline, in one place.

    Attributes
    ----------
    schema_hold_s
        Seconds after which packets go to quarantine whose schema a reachable source denies.
    """

    poller: Poller
    committer: Committer
    preparer: Preparer
    holds: Holds
    health: Health
    clock: Clock
    allowance: Allowance
    lateness: Lateness
    schema_hold_s: float
    joined: bool = False
    last_commit: float = 0.0
    _denied: dict[int, float] = field(default_factory=dict)
    _waiting: dict[Partition, Waits] = field(default_factory=dict)
    _known_at: float = -1.0

    def turned(self) -> None:
        """The run loop turned."""
        self.health.turned()

    def assigned(self, start: Mapping[Partition, int]) -> None:
        """Partitions are ours and read from `start`."""
        self.joined = True
        self.health.set("starting", None)

    def unassigned(self, parts: Iterable[Partition]) -> None:
        """Partitions went to others; what held them is theirs to find out."""
        for part in parts:
            self._waiting.pop(part, None)
            self.holds.release(part)

    async def troubled(self, troubles: Sequence[PartitionTrouble]) -> None:
        """The source cannot read some partitions.

        Returns once a ledger that lies ahead is marked, or the daemon is told to stop: who reads the place next knows.
        """
        ahead: dict[ledger.Place, int] = {}
        for trouble in troubles:
            part = (trouble.topic, trouble.partition)
            text, stream = trouble.detail, None
            if trouble.code == "ledger_ahead":
                # A log that grows past the ledger has other messages there: to try again would step over them.
                stream = self.preparer.numbers[trouble.topic]
                text += f"; {adopting(part)}"
                ahead[stream, trouble.partition] = trouble.missing[0] if trouble.missing else trouble.position
            self.holds.hold(part, trouble.code, text, missing=trouble.missing, retry_s=RETRY_S, stream=stream)
            self.poller.hold([part])
        if ahead:
            await self._until_done(
                lambda: ledger.mark_ahead(self.committer.engine, ahead, self.committer.daemon.instance)
            )

    def waits(self, waits: Mapping[Partition, Waits]) -> None:
        """Partitions stop before a packet whose schema cannot be had."""
        for part, wait in waits.items():
            self._waiting[part] = wait
            self._hold_for(part, wait, wait.error)
            self._judge(wait, wait.error, wait.behind)
            self.poller.hold([part])
            metrics.SCHEMA_UNKNOWN.add(1)

    def _hold_for(self, part: Partition, wait: Waits, error: SkyburstError) -> None:
        """Hold `part` for its schema, which is asked for less and less often."""
        text = f"offset {wait.offset}, schema id {wait.schema_id}: {error}"
        self.holds.hold(part, error.code, text, retry_s=RETRY_S, longest_s=LONGEST_RETRY_S)

    def _judge(self, wait: Waits, error: SkyburstError, behind: frozenset[int] = frozenset()) -> None:
        """Give up schemas that are denied for so long; a source that is away denies nothing."""
        if not isinstance(error, Held):
            self._denied.pop(wait.schema_id, None)
            return
        now, given_up = self.clock.monotonic(), self.preparer.unknown.denied
        for schema_id in sorted({wait.schema_id} | behind):
            since = self._denied.setdefault(schema_id, now)
            others = wait.others or self._known_at >= since
            if now - since >= self.schema_hold_s and others and schema_id not in given_up:
                given_up.add(schema_id)
                _log.error("schema_denied", code=error.code, schema_id=schema_id, held_s=round(now - since))

    def committed(self, batch: Batch, item: Prepared, done: Committed) -> None:
        """A commit stands."""
        if not batch.ranges:
            return
        streams = self.preparer.streams
        ends = {(streams[r.stream].topic, r.partition): r.end for r in batch.ranges}
        self.poller.tell(ends)
        self.committer.failpoints.hit("after_tell")
        for part in ends.keys() - item.waits.keys():
            self.holds.passed(part)
        self._measure(batch, item, done)
        if done.new + done.repeated + done.conflicts:
            self._known_at = self.clock.monotonic()
        if done.quarantined and not self.allowance.spend(done.quarantined):
            self.poller.quiet(True)
            self.health.set("quarantine_limit", self.allowance.text())
            _log.error("quarantine_limit", code="quarantine_limit", message=self.allowance.text())

    def allowed(self, more: bool) -> None:
        """Go on where an operator has allowed more bad packets."""
        if more:
            self.poller.quiet(False)
            self.health.set("quarantine_limit", None)
            _log.info("quarantine_allowed", left=self.allowance.left)

    def _measure(self, batch: Batch, item: Prepared, done: Committed) -> None:
        now = self.clock.now()
        self.last_commit = now
        metrics.LAST_COMMIT.set(now)
        metrics.COMMITS.add(1, sink=ledger.SINK)
        metrics.COMMITS_AGAIN.add(done.again)
        counts = {
            "new": done.new,
            "repeated": done.repeated,
            "conflict": done.conflicts,
            "quarantined": done.quarantined,
            "tombstone": sum(r.tombstones for r in batch.ranges),
        }
        for outcome, count in counts.items():
            metrics.RECORDS_KEPT.add(count, sink=ledger.SINK, outcome=outcome)
        for code, count in by_code(item.refused).items():
            metrics.QUARANTINED.add(count, code=code)
        metrics.BYTES_KEPT.add(item.nbytes, sink=ledger.SINK)
        metrics.BATCH_RECORDS.observe([batch.records])
        metrics.BATCH_BYTES.observe([item.nbytes])
        metrics.SEGMENT_BYTES.add(done.data_bytes, file="data")
        metrics.SEGMENT_BYTES.add(done.index_bytes, file="index")
        metrics.VISIT_PARTS.add(done.visit_parts)
        for stage, seconds in (item.seconds | done.seconds).items():
            metrics.FLUSH_DURATION.observe([seconds], sink=ledger.SINK, stage=stage)
        self.lateness.committed(batch, now)
        stamps = item.flat.timestamp[item.flat.timestamp > 0]
        if len(stamps):
            metrics.END_TO_END.observe(np.maximum(0.0, now - stamps / 1000.0))
        _log.debug(
            "commit", commit=done.commit, records=batch.records, new=done.new, seconds=item.seconds | done.seconds
        )

    def fenced(self, error: Fenced) -> None:
        """Somebody else moved on."""
        metrics.LEDGER_FENCED.add(1, fence=error.code)
        _log.warning("fenced", error=error)

    async def suspects(self, batch: Batch, poison: Poison) -> dict[RecordId, tuple[str, str]]:
        """The records whose values the server refuses; they go to quarantine when they come again."""
        found = await self._tried_alone(batch)
        _log.error("rows_refused", error=poison, records=len(found))
        return {record: (error.code, str(error)) for record, error in found.items()}

    async def _tried_alone(self, batch: Batch) -> dict[RecordId, Poison]:
        if not any(work.level1 for work in batch.works):
            return {}
        columns, part = level1_columns(batch)
        engine, limit = self.committer.engine, self.committer.statement_bytes
        return await self._until_done(lambda: suspects(engine, columns, part, limit))

    async def _until_done(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work` on the database, again and again while what is in its way passes by itself."""
        with Waiter(self.told) as waiter:
            while True:
                try:
                    return await work()
                except (SQLAlchemyError, OSError, SkyburstError) as error:
                    cause = translate(error)
                    if not isinstance(cause, Transient):
                        raise cause from error
                    await waiter.wait(cause)

    async def wait(self, held: Held) -> None:
        """Nothing can be committed until the database is as it should be."""
        self.health.set(held.code, str(held))
        _log.error("commit_held", error=held)
        await asyncio.sleep(RETRY_S)
        self.health.set(held.code, None)

    def told(self, error: SkyburstError | None) -> None:
        """A commit waits for the database or the disk (or has stopped waiting): no loss, but not ready."""
        if error is None:
            self.health.set("waiting", None)
            _log.info("goes_on")
            return
        metrics.RETRIES.add(1, code=error.code)
        self.health.set("waiting", f"{error.code}: {error}")
        _log.warning("waiting", error=error)

    def restart(self, generation: int) -> None:
        """Everything in flight is out of the way: read from the ledger again."""
        self.poller.restart(generation)

    async def retry_held(self) -> None:
        """Try held partitions again whose time has come; those that can be read and have nothing left are free.

        What waits for a schema is asked for at its source first: reading again drops all that is in flight.
        """
        for part in self.poller.ended:
            self.holds.passed(part)
        parts = self.holds.try_again()
        again = [part for part in parts if part not in self._waiting or await self._readable(part)]
        if again:
            self.poller.resume(again)

    async def _readable(self, part: Partition) -> bool:
        """Whether `part` can go on past the packet that it waits for: its schema is there, or is given up."""
        wait = self._waiting[part]
        error = await asyncio.to_thread(asked, self.preparer.decoder, wait.schema_id)
        if self._waiting.get(part) is not wait:
            return False
        if error is not None:
            self._judge(wait, error)
            given_up = isinstance(error, Held) and wait.schema_id in self.preparer.unknown.denied
            in_a_row = wait.error.code == "schema_run"
            if in_a_row or not given_up:
                self._hold_for(part, wait, wait.error if in_a_row else error)
                return False
        del self._waiting[part]
        return True
