"""The stages between poll and commit (gather, prepare, finish, write, commit), and what happens at a fence."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from consumers.ingest.aside import kafka_night
from consumers.ingest.batches import Assigned, Flush, News, Polled, RawBatch, Troubled, Unassigned
from consumers.ingest.gathering import Gathering
from consumers.ingest.inbox import Inbox
from consumers.ingest.outcome import Outcome
from consumers.ingest.prepare import Prepared, Preparer, TooManyRecords
from consumers.ingest.window import Window
from stream import metrics
from stream.clock import Clock
from stream.commit.bare import bare_work
from stream.commit.batch import Batch, Committed, OffsetRange
from stream.commit.committer import Committer, Durable
from stream.errors import Fenced, Held, Poison
from stream.log import Log

QUEUED = 2
"""Batches between the stages; while so many wait, an open batch grows instead of closing on age."""

LATE_S = 10.0
"""Seconds after which a message counts as late: a burst is taken in less, and the world allows a minute."""

_log = Log("consumers.ingest.pipeline")


@dataclass(frozen=True, slots=True)
class _Mark:
    """Travels behind the batches before it: `then` runs once all of them are committed or dropped."""

    then: Callable[[], None]


@dataclass(slots=True)
class Pipeline:
    """Takes news from the poller to commits, one after the other.

    Attributes
    ----------
    generation
        Counts the resets: batches of an earlier one are dropped before step 1.
    """

    loop: asyncio.AbstractEventLoop
    gathering: Gathering
    preparer: Preparer
    committer: Committer
    window: Window
    clock: Clock
    outcome: Outcome
    survey: int
    survey_digest: str
    inbox: Inbox[News]
    generation: int = 0
    busy: bool = False
    _raw: asyncio.Queue[RawBatch | _Mark] = field(init=False)
    _planned: asyncio.Queue[Prepared | _Mark] = field(init=False)
    _ready: asyncio.Queue[tuple[Prepared, Batch] | _Mark] = field(init=False)
    _written: asyncio.Queue[tuple[Prepared, Batch, Durable | None] | _Mark] = field(init=False)
    _one_ahead: asyncio.Semaphore = field(init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    _polled_at: deque[float] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._raw = asyncio.Queue(QUEUED)
        self._planned = asyncio.Queue(QUEUED)
        self._ready, self._written = asyncio.Queue(1), asyncio.Queue(1)
        self._one_ahead = asyncio.Semaphore(1)

    @property
    def idle(self) -> bool:
        """Whether nothing is between poll and commit."""
        return not (self.busy or len(self.inbox) or self.window.taken) and self.gathering.empty

    def oldest(self) -> float:
        """Age in seconds of the oldest message that was polled and is not yet committed or dropped; 0 for none."""
        since = self._polled_at[0] if self._polled_at else self.gathering.since
        return 0.0 if since is None else max(0.0, self.clock.monotonic() - since)

    async def gather(self) -> None:
        """The first stage: from news to closed batches."""
        while True:
            left = self.gathering.left(self.clock.monotonic())
            if left is not None and self._due(left):
                await self._close()
                continue
            news = await self.inbox.get(0.01 if left is not None and self._raw.full() else left)
            self.outcome.turned()
            if news is not None:
                await self._hear(news)

    def _due(self, left: float) -> bool:
        """Whether the open batch is to close, with `left` seconds until its age tells so.

        The first one of a backlog closes early, so that commits begin while the next is polled.
        """
        if self._raw.full():
            return self.gathering.full
        return left == 0 or (not self._polled_at and self.gathering.worthy and self._late())

    def _late(self) -> bool:
        return self.gathering.age_s(self.clock.now()) >= LATE_S

    async def _hear(self, news: News) -> None:
        match news:
            case Polled():
                if not self.gathering.add(news):
                    self.window.give(news.held)
            case Assigned():
                # What is open of a partition that starts again ends in a batch of its own: the ledger's fence tells.
                await self._close()
                self.gathering.assign(news)
                self.outcome.assigned(news.start)
            case Unassigned():
                await self._close()
                self.gathering.unassign(news.parts)
                self.outcome.unassigned(news.parts)
            case Flush():
                await self._close()
                await self._raw.put(_Mark(lambda: _done(news.done)))
            case Troubled():
                await self.outcome.troubled(news.troubles)

    async def _close(self) -> None:
        # One is committed while another is made ready: that is no backlog yet.
        hurried = (self.gathering.full or len(self._polled_at) >= QUEUED) and self._late()
        batch = self.gathering.close()
        if batch is not None:
            metrics.BATCHES_HURRIED.add(hurried)
            batch = replace(batch, hurried=hurried)
            self._polled_at.append(batch.at)
            await self._raw.put(batch)

    def _over(self, item: RawBatch | Prepared) -> None:
        """A batch is committed or dropped."""
        self.window.give(item.held)
        self._polled_at.remove(item.at)

    async def prepare(self) -> None:
        """The second stage: check, place and plan, in a thread; blocks begin to be compressed."""
        while True:
            item = await self._raw.get()
            if isinstance(item, _Mark):
                await self._planned.put(item)
            else:
                pieces = [item]
                del item
                await self._prepare(pieces)

    async def _prepare(self, pieces: list[RawBatch]) -> None:
        """Prepare a batch, in pieces where it has too many records; nothing else may keep what these let go of."""
        while pieces:
            raw = pieces.pop()
            if raw.generation != self.generation:
                self._over(raw)
                continue
            try:
                prepared = await asyncio.to_thread(self.preparer.prepare, raw)
            except TooManyRecords as many:
                self._polled_at.insert(self._polled_at.index(raw.at), raw.at)
                pieces += reversed(many.halves)
            else:
                self.window.take(prepared.held - raw.held)
                del raw
                await self._planned.put(prepared)
                del prepared

    async def finish(self) -> None:
        """The third stage: wait for a batch's blocks and make its index rows, while the one before is committed.

        From here on a batch holds compressed blocks alone, and makes room for what is polled next.
        """
        while True:
            item = await self._planned.get()
            if isinstance(item, _Mark):
                await self._ready.put(item)
            elif item.generation != self.generation:
                item.cancel()
                self._over(item)
            else:
                before = item.held
                batch = await asyncio.to_thread(item.finish, self.survey, self.survey_digest)
                self.window.give(before - item.held)
                await self._ready.put((item, batch))
                del batch
            del item

    async def write(self) -> None:
        """The fourth stage: while one batch is committed, the next is written behind it."""
        before: tuple[OffsetRange, ...] = ()
        while True:
            await self._one_ahead.acquire()
            found = await self._ready.get()
            if isinstance(found, _Mark):
                await self._written.put(found)
            else:
                item, batch = found
                if not batch.works:
                    batch = self._bare(batch)
                ahead = None
                if self.busy and item.generation == self.generation:
                    ahead = await self.committer.ahead(batch, before)
                await self._written.put((item, batch, ahead))
                before = batch.ranges
                del item, batch, ahead
            del found

    async def commit(self) -> None:
        """The fifth stage: one commit after the other."""
        while True:
            found = await self._written.get()
            self._one_ahead.release()
            if isinstance(found, _Mark):
                found.then()
                continue
            self.busy = True
            try:
                await self._commit(*found)
            finally:
                self._over(found[0])
                self.busy = False
            del found

    async def _commit(self, item: Prepared, batch: Batch, ahead: Durable | None) -> None:
        if item.generation != self.generation:
            return
        committed = await self._until_it_stands(batch, ahead)
        if committed is not None:
            self.outcome.committed(batch, item, committed)
            if item.waits:
                self.outcome.waits(item.waits)
                self.reset("schema_wait")

    def _bare(self, batch: Batch) -> Batch:
        """A batch of holes and tombstones alone: the files must tell of its ranges, too."""
        survey = self.preparer.placer.survey
        night = kafka_night(survey, int(self.clock.now() * 1000))
        return replace(batch, works=(bare_work(survey.name, night),), reason="no message with a value")

    async def _until_it_stands(self, batch: Batch, ahead: Durable | None) -> Committed | None:
        if not batch.ranges:
            return Committed.nothing()
        while True:
            try:
                return await self.committer.commit(batch, ahead)
            except Fenced as fenced:
                self.outcome.fenced(fenced)
                self.reset(fenced.code)
                return None
            except Poison as poison:
                found = await self.outcome.suspects(batch, poison)
                if not found:  # no row alone is refused: trying for ever in a tight loop would help nobody
                    await self.outcome.wait(Held(poison.code, poison.message, poison.advice))
                    continue
                self.preparer.refuse |= found
                self.reset(poison.code)
                return None
            except Held as held:
                await self.outcome.wait(held)

    def reset(self, why: str) -> None:
        """Drop everything in flight; every assigned partition starts again at its place in the ledger.

        The poller is told once what was in flight is out of the way, so that the ledger is read behind the last COMMIT.
        """
        self.generation += 1
        self.window.give(self.gathering.reset(self.generation))
        _log.warning("reset", code=why, generation=self.generation)
        generation = self.generation
        task = self.loop.create_task(self._behind(lambda: self.outcome.restart(generation)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def abandon(self) -> None:
        """Drop everything that has not reached step 1, for good: the deadline of the drain has passed."""
        self.generation += 1

    async def _behind(self, then: Callable[[], None]) -> None:
        await self._raw.put(_Mark(then))

    async def drained(self) -> None:
        """Close the open batch and wait until everything before now is committed or dropped."""
        done: Future[None] = Future()
        self.inbox.put(Flush(done))
        await asyncio.wrap_future(done)


def _done(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)
