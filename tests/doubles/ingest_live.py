"""A daemon beside the test, in its own process or in another, and what the tables and its port say meanwhile."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from doubles.ingest_run import QUIET, IngestRun

from consumers.ingest.build import World
from consumers.ingest.run import Ingest
from stream.alertdb.port import SegmentStore
from stream.alertdb.store import open_store
from stream.clock import Clock, SystemClock
from stream.codec.decoder import Decoder
from stream.codec.sources import open_schemas
from stream.config import IngestSettings
from stream.survey import load_survey
from stream.tables.engine import open_engine
from stream.transport.kafka import KafkaSource

LONGEST_S = 30.0
QUICK_MEMBER = {"heartbeat.interval.ms": 100}
"""A member hears of a rebalance with the answer to its next heartbeat."""


@dataclass(slots=True)
class Live:
    """A daemon that runs in this process while the block lasts; `code` is its exit code after it."""

    ingest: Ingest
    world: World
    task: asyncio.Task[int]
    code: int | None = None

    async def ended(self) -> int:
        """Wait until the daemon ends by itself."""
        self.code = await asyncio.wait_for(asyncio.shield(self.task), LONGEST_S)
        return self.code

    def reasons(self) -> set[str]:
        """Codes of what holds against readiness."""
        return {reason.code for reason in self.ingest.health.reasons()}

    async def got(self, path: str) -> tuple[int, str]:
        """Status and body of a page of its port."""
        return await asyncio.to_thread(fetched, f"http://127.0.0.1:{self.ingest.port}{path}")


@asynccontextmanager
async def living(
    run: IngestRun,
    *,
    topics: Sequence[str] = (),
    store: SegmentStore | None = None,
    clock: Clock | None = None,
    visits_topic: str = "",
    session_timeout_ms: int = 6000,
    **settings: Any,
) -> AsyncIterator[Live]:
    """Run a daemon until the block ends, drain it, and wait for its end."""
    survey = load_survey(run.survey)
    ours = IngestSettings.model_validate({"metrics_port": 0} | settings)
    engine = open_engine(run.level1)
    try:
        world = World(
            source=KafkaSource(run.bootstrap, run.group, session_timeout_ms=session_timeout_ms, extra=QUICK_MEMBER),
            topics=tuple(topics) or (run.topic,),
            engine=engine,
            store=store or open_store(str(run.alertdb)),
            decoder=Decoder(open_schemas(run.schemas), survey.paths, max_packet=ours.max_packet_bytes),
            survey=survey,
            clock=clock or SystemClock(),
            visits=KafkaSource(run.bootstrap, f"{run.group}-visits") if visits_topic else None,
            visits_topic=visits_topic,
        )
        ingest = Ingest(world, ours)
        live = Live(ingest, world, asyncio.create_task(ingest.run()))
        try:
            yield live
        finally:
            ingest.stop()
            live.code = await live.task
    finally:
        await engine.dispose()


async def once(run: IngestRun, **more: Any) -> int:
    """Run a daemon until it is idle, and give its exit code."""
    async with living(run, **({"until_idle_s": QUIET["until_idle_s"]} | more)) as live:
        return await live.ended()


async def until(true: Callable[[], Awaitable[Any] | Any], what: str, within_s: float = LONGEST_S) -> Any:
    """Wait until `true` is, and give what it said; the daemon runs in this loop meanwhile."""
    ends = time.monotonic() + within_s
    while True:
        said = true()
        if isinstance(said, Awaitable):
            said = await said
        if said:
            return said
        assert time.monotonic() < ends, f"not within {within_s} s: {what}"
        await asyncio.sleep(0.02)


async def rows(url: str, query: str, **values: Any) -> list[Any]:
    """Rows of a plain query, in a transaction of its own."""
    engine = open_engine(url)
    try:
        async with engine.connect() as connection:
            return list(await connection.execute(sa.text(query), values))
    finally:
        await engine.dispose()


async def execute(url: str, *statements: str) -> None:
    """Run statements, each committed."""
    engine = open_engine(url)
    try:
        for statement in statements:
            async with engine.begin() as connection:
                await connection.execute(sa.text(statement))
    finally:
        await engine.dispose()


def fetched(url: str) -> tuple[int, str]:
    """Status and body of a page, whatever the status."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def events(lines: str) -> list[dict[str, Any]]:
    """Log lines, parsed."""
    return [json.loads(line) for line in lines.splitlines() if line.startswith("{")]
