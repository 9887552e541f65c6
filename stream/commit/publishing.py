"""A committer for one errand of an operator: its segments are sealed when the errand is over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncEngine

from stream.alertdb.port import SegmentStore
from stream.clock import Clock
from stream.commit.committer import Committer
from stream.commit.failpoints import Failpoints
from stream.commit.identity import Daemon
from stream.commit.sealing import seal
from stream.commit.segments import Mine, OpenSegments
from stream.commit.takeover import take_over_own
from stream.errors import SkyburstError
from stream.level1.write import statement_limit
from stream.tables.migrate import check
from stream.tables.trouble import translated

Say = Callable[[str], None]


@asynccontextmanager
async def publishing(engine: AsyncEngine, store: SegmentStore, clock: Clock, say: Say) -> AsyncIterator[Committer]:
    """A committer with an identity of its own, as every process start has one; `say` gets what it waits for.

    Raises
    ------
    Fatal
        ``level1_version``.
    """
    with translated():
        async with engine.connect() as connection:
            await check(connection)
            limit = await statement_limit(connection)
        daemon = await Daemon.start(engine)
    failpoints = Failpoints.from_environment()
    segments = OpenSegments(store, daemon, clock)
    left: list[Mine] = []

    def told(error: SkyburstError | None) -> None:
        if error is not None:
            say(f"waiting: {error}")

    committer = Committer(
        engine=engine,
        segments=segments,
        daemon=daemon,
        clock=clock,
        tell=told,
        left=lambda mine, _: left.append(mine),
        statement_bytes=limit,
        failpoints=failpoints,
    )
    try:
        yield committer
    finally:
        if not segments.unsettled:
            with translated():
                await _seal_all(engine, segments, left, failpoints)


async def _seal_all(engine: AsyncEngine, segments: OpenSegments, left: list[Mine], failpoints: Failpoints) -> None:
    """Seal what this errand opened. Where it is cut off, any daemon seals it, as those of a daemon that is gone."""
    for mine in segments:
        segments.forget(mine.number)
        left.append(mine)
    for mine in left:
        if mine.segment.failed:
            await take_over_own(engine, segments.store, mine, failpoints)
        else:
            await seal(engine, segments.store, mine, failpoints)
