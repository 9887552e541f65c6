"""Daemons without Kafka and processes: real commits on a disk double and SQLite, of records held in memory."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sqlite3
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from crash.count import Count, count
from crash.packets import FIRST_NIGHT, LAST_NIGHT, Packet, Packets
from doubles.disk import ForgetfulDisk

from consumers.ingest.batches import RawBatch
from consumers.ingest.place import Placer
from consumers.ingest.prepare import Preparer
from stream.alert import Records, Stream
from stream.alertdb.local import LocalStore
from stream.clock import SystemClock
from stream.codec.decoder import Decoder
from stream.codec.sources import open_schemas
from stream.commit import ledger
from stream.commit.batch import Batch
from stream.commit.committer import Committer, Durable
from stream.commit.failpoints import Failpoints
from stream.commit.identity import Daemon, stream_number, survey_number
from stream.commit.sealing import seal
from stream.commit.segments import Mine, OpenSegments
from stream.commit.sweep import Sweeper
from stream.commit.takeover import left_behind, take_over, take_over_own
from stream.errors import Fenced, SkyburstError
from stream.sky import Layout
from stream.survey import Survey, load_survey
from stream.tables.engine import open_engine
from stream.tables.migrate import migrate

TOPIC = "alerts"
SOURCE = Stream("cluster", TOPIC, "topic-id")
PARTITIONS = 2
Log = list[list[Packet]]
"""By partition, the records that the broker acknowledged."""


@cache
def survey() -> Survey:
    """The survey of the packets."""
    return load_survey("lsst")


@cache
def decoder() -> Decoder:
    """One for all tests: what it has compiled stays."""
    return Decoder(open_schemas(None), survey().paths)


def made_log(seed: int, records: int = 40) -> Log:
    """A log of small packets, some of them repeated, cut off or without a value."""
    packets = Packets(Random(seed), large=0.0, odd=0.2)
    return [[packets.draw() for _ in range(records)] for _ in range(PARTITIONS)]


def empty_database(path: Path, template: Path) -> Path:
    """A database with tables in `path`, copied from `template`, which is made at the first use."""
    if not template.exists():

        async def make() -> None:
            engine = open_engine(f"sqlite:///{template}")
            await migrate(engine, FIRST_NIGHT, LAST_NIGHT)
            await engine.dispose()

        asyncio.run(make())
    shutil.copy(template, path)
    return path


class Steps(Failpoints):
    """Failpoints that count as calls of the disk, so that the power may go at each; or that hold a thread there."""

    def __init__(self, disk: ForgetfulDisk) -> None:
        super().__init__()
        self._disk = disk
        self._hold = ""
        self.passed: Counter[str] = Counter()
        self.held = threading.Event()
        self.go_on = threading.Event()

    def hold(self, name: str) -> None:
        """Freeze whoever passes `name` next, in a thread, until `go_on` is set."""
        self._hold = name
        self.held.clear()
        self.go_on.clear()

    def hit(self, name: str) -> None:
        self._disk._call("step", name)
        self.passed[name] += 1
        if name == self._hold:
            self._hold = ""
            self.held.set()
            self.go_on.wait(30)


class Interrupted(Committer):
    """Lets something be done once, after steps 1 and 2 of a commit."""

    before: Callable[[], Awaitable[None]] | None = None

    async def _publish(self, batch: Batch, durable: Durable) -> Any:
        before, self.before = self.before, None
        if before is not None:
            await before()
        return await super()._publish(batch, durable)


class Player:
    """One daemon: it commits, seals, takes over and sweeps when told to."""

    def __init__(self, world: World, daemon: Daemon, number: int, stream: int) -> None:
        self.world = world
        self.daemon = daemon
        self.steps = Steps(world.disk)
        self.store = LocalStore(Path("alertdb"), world.disk)
        self.segments = OpenSegments(self.store, daemon, SystemClock())
        self.left: list[tuple[Mine, SkyburstError]] = []
        self.told: list[SkyburstError | None] = []
        self.aheads = 0
        self._survey = number
        self._stream = stream
        self._preparer = Preparer(
            decoder(), Placer(survey(), number, Layout()), world.pool, {TOPIC: stream}, {stream: SOURCE}
        )
        self._sweeper = Sweeper(world.engine, self.store, SystemClock(), self.steps, 0.0, daemon.instance)
        self.committer = Interrupted(
            engine=world.engine,
            segments=self.segments,
            daemon=daemon,
            clock=SystemClock(),
            tell=self.told.append,
            left=lambda mine, error: self.left.append((mine, error)),
            failpoints=self.steps,
        )

    @classmethod
    async def start(cls, world: World) -> Player:
        """A new daemon."""
        daemon = await Daemon.start(world.engine)
        number = await survey_number(world.engine, survey().name, survey().digest, daemon.instance)
        stream = await stream_number(world.engine, SOURCE, daemon.instance)
        await ledger.begin(world.engine, {(stream, partition): 0 for partition in range(PARTITIONS)}, daemon.instance)
        return cls(world, daemon, number, stream)

    async def batch(self, records: int, behind: Batch | None = None) -> Batch | None:
        """The next records of each partition, as the ledger has it now or `behind` a batch; None at the log's end."""
        places = dict(await ledger.places(self.world.engine, [(self._stream, p) for p in range(PARTITIONS)]))
        if behind is not None:
            places |= {(r.stream, r.partition): r.end for r in behind.ranges}
        bounds = {}
        for (_, partition), start in places.items():
            end = min(start + records, len(self.world.log[partition]))
            if end > start:
                bounds[TOPIC, partition] = (start, end)
        if not bounds:
            return None
        raw = RawBatch(0, (_records(self.world.log, bounds),), bounds, 0)
        prepared = await asyncio.to_thread(self._preparer.prepare, raw)
        return await asyncio.to_thread(prepared.finish, self._survey, survey().digest)

    async def commit(self, records: int = 4) -> bool:
        """Commit the next records; whether that was not fenced."""
        batch = await self.batch(records)
        return batch is None or await self.publish(batch)

    async def publish(self, batch: Batch, ahead: Durable | None = None) -> bool:
        """Commit a batch that was made before; whether that was not fenced."""
        try:
            await self.committer.commit(batch, ahead)
        except Fenced:
            return False
        return True

    async def two(self, meanwhile: Callable[[], Awaitable[object]] | None = None) -> None:
        """Commit two batches, the second written ahead; `meanwhile` behind that, before the first's transaction.

        Without it the second is written while the first's transaction runs. As in the daemon, the second is dropped
        where the first is fenced.
        """
        first = await self.batch(3)
        second = None if first is None else await self.batch(3, first)
        if first is None or second is None:
            return
        written: list[asyncio.Task[Durable | None]] = []

        async def write() -> None:
            written.append(asyncio.create_task(self.committer.ahead(second, first.ranges)))
            if meanwhile is not None:
                await asyncio.wait(written)
                await meanwhile()

        self.committer.before = write
        try:
            stood = await self.publish(first)
        finally:
            if written:
                await asyncio.wait(written)
        ahead = await written[0]
        self.aheads += ahead is not None
        if stood:
            await self.publish(second, ahead)

    async def seal(self) -> None:
        """Seal all own segments."""
        for mine in self.segments:
            self.segments.forget(mine.number)
            await seal(self.world.engine, self.store, mine, self.steps)
        for mine, _ in self.left:
            if mine.segment.failed:
                await take_over_own(self.world.engine, self.store, mine, self.steps)
        self.left.clear()

    async def take_over(self) -> None:
        """Seal all others' segments by copying."""
        for row in await left_behind(self.world.engine, -1e9, self.daemon.id):
            await take_over(self.world.engine, self.store, row, self.steps)

    async def sweep(self) -> None:
        """Delete what no row names, however young."""
        await self._sweeper.sweep(frozenset(mine.number for mine in self.segments))


class World:
    """One machine from its start until its power goes."""

    def __init__(self, disk: ForgetfulDisk, database: Path, log: Log, pool: ThreadPoolExecutor) -> None:
        self.disk = disk
        self.database = database
        self.log = log
        self.pool = pool
        self.engine = open_engine(f"sqlite:///{database}")

    def count(self, folder: Path) -> Count:
        """The independent count of what is published, against the records that the ledger has passed."""
        shutil.rmtree(folder, ignore_errors=True)
        for name in self.disk.names():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.disk.content(name))
        connection = sqlite3.connect(self.database)
        connection.row_factory = lambda cursor, row: dict(zip((c[0] for c in cursor.description), row))
        try:
            cursor = connection.cursor()
            places = {r["kafkaPartition"]: r["next"] for r in cursor.execute("SELECT kafkaPartition, next FROM ledger")}
            return count(cursor, folder, _acknowledged(self.log, places))
        finally:
            connection.close()


def _acknowledged(log: Log, places: dict[int, int]) -> dict[tuple[int, int], bytes | None]:
    return {
        (partition, offset): None if packet.value is None else hashlib.sha256(packet.value).digest()
        for partition, end in places.items()
        for offset, packet in enumerate(log[partition][:end])
    }


def _records(log: Log, bounds: dict[tuple[str, int], tuple[int, int]]) -> Records:
    places = [(part, offset) for (_, part), (start, end) in sorted(bounds.items()) for offset in range(start, end)]
    packets: Sequence[Packet] = [log[part][offset] for part, offset in places]
    return Records(
        TOPIC,
        np.array([part for part, _ in places], np.int32),
        np.array([offset for _, offset in places], np.int64),
        np.full(len(places), 1_772_700_000_000, np.int64),
        [packet.value for packet in packets],
        [packet.key for packet in packets],
        [packet.headers for packet in packets],
    )
