"""Daemons that commit batches made in memory, on any database: what the contract of the commit is held on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.ingest.batches import RawBatch
from consumers.ingest.place import Placer
from consumers.ingest.prepare import Preparer
from stream.alert import Records, Stream
from stream.alertdb.disk import Disk, RealDisk
from stream.alertdb.local import LocalStore
from stream.clock import SystemClock
from stream.codec.decoder import Decoder
from stream.codec.sources import open_schemas
from stream.commit import ledger
from stream.commit.batch import Batch
from stream.commit.committer import Committer
from stream.commit.failpoints import Failpoints
from stream.commit.identity import Daemon, stream_number, survey_number
from stream.commit.segments import Mine, OpenSegments
from stream.errors import SkyburstError
from stream.sky import Layout
from stream.survey import Survey, load_survey
from stream.tables.engine import open_engine
from stream.tables.migrate import migrate

TOPIC = "alerts"
STREAM = Stream("cluster", TOPIC, "topic-id")
PARTITIONS = 4


@cache
def survey() -> Survey:
    return load_survey("lsst")


@cache
def decoder() -> Decoder:
    return Decoder(open_schemas(None), survey().paths)


class Meanwhile(Failpoints):
    """Failpoints at which the test does something else first: once each, in a loop and a thread of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.then: dict[str, Callable[[], object]] = {}
        self.passed: list[str] = []

    def hit(self, name: str) -> None:
        self.passed.append(name)
        todo = self.then.pop(name, None)
        if todo is not None:
            todo()


@dataclass(slots=True)
class Writer:
    """One daemon: its committer, and what it was told and left behind."""

    engine: AsyncEngine
    store: LocalStore
    committer: Committer
    preparer: Preparer
    number: int
    points: Meanwhile
    told: list[SkyburstError | None]
    left: list[tuple[Mine, SkyburstError]] = field(default_factory=list)

    async def batch(self, values: Mapping[int, Sequence[bytes | None]], starts: Mapping[int, int]) -> Batch:
        """A batch of messages by partition, each partition from its start on."""
        records, bounds = [], {}
        for partition, messages in values.items():
            start, n = starts.get(partition, 0), len(messages)
            where = np.full(n, partition, np.int32)
            offsets = np.arange(start, start + n)
            stamps = np.full(n, 1_772_800_000_000)
            records.append(Records(TOPIC, where, offsets, stamps, list(messages), [None] * n, [()] * n))
            bounds[TOPIC, partition] = (start, start + n)
        raw = RawBatch(0, tuple(records), bounds, 0)
        prepared = await asyncio.to_thread(self.preparer.prepare, raw)
        return await asyncio.to_thread(prepared.finish, self.number, survey().digest)


@asynccontextmanager
async def writing(url: str, folder: Path, disk: Disk | None = None) -> AsyncIterator[Writer]:
    """A daemon of its own on the database at `url`, which has its tables, and the AlertDB in `folder`."""
    engine = open_engine(url)
    store = LocalStore(folder, disk or RealDisk(folder))
    points, told = Meanwhile(), list[SkyburstError | None]()
    with ThreadPoolExecutor(1) as pool:
        try:
            daemon = await Daemon.start(engine)
            number = await survey_number(engine, survey().name, survey().digest, daemon.instance)
            stream = await stream_number(engine, STREAM, daemon.instance)
            await ledger.begin(engine, {(stream, partition): 0 for partition in range(PARTITIONS)}, daemon.instance)
            placer = Placer(survey(), number, Layout())
            preparer = Preparer(decoder(), placer, pool, {TOPIC: stream}, {stream: STREAM})
            committer = Committer(
                engine=engine,
                segments=OpenSegments(store, daemon, SystemClock()),
                daemon=daemon,
                clock=SystemClock(),
                tell=told.append,
                left=lambda mine, error: writer.left.append((mine, error)),
                failpoints=points,
            )
            writer = Writer(engine, store, committer, preparer, number, points, told)
            yield writer
        finally:
            await engine.dispose()


async def make_tables(url: str) -> None:
    """All tables, with partitions for the packets' night."""
    engine = open_engine(url)
    await migrate(engine, 20260101, 20260401)
    await engine.dispose()


async def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with tables, of the kind that the fixture's parameter begins with."""
    made: str = f"sqlite:///{tmp_path}/l1.db" if request.param == "sqlite" else request.getfixturevalue("level1_url")
    await make_tables(made)
    return made


def besides(work: Coroutine[Any, Any, None]) -> Callable[[], None]:
    """Run `work` in a loop and a thread of its own, to its end."""

    def run() -> None:
        thread = threading.Thread(target=asyncio.run, args=(work,))
        thread.start()
        thread.join()

    return run
