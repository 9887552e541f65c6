"""Putting the daemon's parts together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.ingest.again import Redriver
from consumers.ingest.allowance import Allowance
from consumers.ingest.announcements import Announcements
from consumers.ingest.batches import News
from consumers.ingest.beginning import begin
from consumers.ingest.gathering import Gathering
from consumers.ingest.holds import Holds
from consumers.ingest.inbox import Inbox
from consumers.ingest.last_partition import LastPartition
from consumers.ingest.lateness import Lateness
from consumers.ingest.outcome import Outcome
from consumers.ingest.pipeline import Pipeline
from consumers.ingest.place import Placer
from consumers.ingest.places import Places
from consumers.ingest.poller import Poller
from consumers.ingest.prepare import Preparer
from consumers.ingest.returning import Returning
from consumers.ingest.unknown import UnknownSchemas
from consumers.ingest.upkeep import Upkeep
from consumers.ingest.window import Window
from stream import metrics
from stream.alertdb.port import SegmentStore
from stream.clock import Clock
from stream.codec.decoder import Decoder
from stream.commit.committer import Committer
from stream.commit.failpoints import Failpoints
from stream.commit.identity import Daemon
from stream.commit.segments import OpenSegments
from stream.commit.sweep import Sweeper
from stream.config import IngestSettings
from stream.sky import Layout, healpix29
from stream.survey import Survey
from stream.transport.source import Partition, Source
from stream.web.health import Health

REVOKE_S = 5.0
PUT_AGE_S = 2.0
"""Least age in seconds at which a batch closes on an object store, where each makes objects of its own."""


@dataclass(frozen=True, slots=True)
class World:
    """What the daemon stands on, opened by its caller.

    `visits` reads `visits_topic`, the announcements; None where they are not to be read.
    """

    source: Source
    topics: tuple[str, ...]
    engine: AsyncEngine
    store: SegmentStore
    decoder: Decoder
    survey: Survey
    clock: Clock
    visits: Source | None = None
    visits_topic: str = ""


@dataclass(frozen=True, slots=True)
class Keeper:
    """What the polling thread asks of the event loop."""

    of: Places
    drop: Callable[[], None]

    def places(self, source: Source, parts: Sequence[Partition]) -> Mapping[Partition, int]:
        return self.of.of(source, parts)

    def dropped(self) -> None:
        self.drop()


@dataclass(slots=True, init=False)
class Parts:
    """The parts of one daemon. They call each other: what is built first calls the others through this."""

    daemon: Daemon
    poller: Poller
    committer: Committer
    outcome: Outcome
    pipeline: Pipeline
    upkeep: Upkeep
    returning: Returning
    announcements: Announcements | None


async def build(
    world: World, settings: IngestSettings, health: Health, pool: Executor, stopped: Callable[[], bool]
) -> Parts:
    """Build the parts of a daemon on `world`.

    Raises
    ------
    Fatal
        ``level1_version``: the tables are not those of this version.
    """
    loop = asyncio.get_running_loop()
    clock, engine = world.clock, world.engine
    allowance = Allowance(settings.quarantine_allow)
    known = await begin(engine, world.survey, allowance, health, stopped)
    await asyncio.to_thread(_warm, world)
    parts = Parts()
    parts.daemon, number = known.daemon, known.survey
    failpoints = Failpoints.from_environment()
    window = Window(settings.inflight_bytes, metrics.INFLIGHT_BYTES.set)
    holds = Holds(clock, health)
    inbox: Inbox[News] = Inbox(loop)
    lateness = Lateness(engine, number)
    preparer = _preparer(world, settings, pool, number, lateness)
    parts.committer = Committer(
        engine=engine,
        segments=OpenSegments(world.store, parts.daemon, clock),
        daemon=parts.daemon,
        clock=clock,
        tell=lambda error: parts.outcome.told(error),
        left=lambda mine, error: parts.upkeep.leave(mine, error),
        statement_bytes=known.statement_bytes,
        failpoints=failpoints,
    )
    places = _places(world, settings, parts, preparer, holds, stopped)
    keeper = Keeper(places, lambda: _in_loop(loop, lambda: parts.pipeline.reset("partitions_lost")))
    revoke_s = min(REVOKE_S, settings.max_poll_interval_ms / 5000)
    parts.poller = Poller(world.source, world.topics, window, keeper, inbox.put, clock, revoke_s=revoke_s)
    parts.outcome = Outcome(
        poller=parts.poller,
        committer=parts.committer,
        preparer=preparer,
        holds=holds,
        health=health,
        clock=clock,
        allowance=allowance,
        lateness=lateness,
        schema_hold_s=settings.schema_hold_s,
    )
    parts.pipeline = _pipeline(world, settings, parts, preparer, inbox, window, number)
    parts.upkeep = _upkeep(world, settings, parts, window, failpoints, number)
    if known.waited:
        parts.upkeep.give_time()
    parts.announcements = None
    if world.visits is not None:
        instance = parts.daemon.instance
        parts.announcements = Announcements(world.visits, world.visits_topic, engine, instance, clock, loop)
    parts.returning = Returning(Redriver(parts.committer, world.store, world.decoder, preparer.placer, pool))
    metrics.OLDEST_UNFLUSHED.follow(parts.pipeline.oldest)
    metrics.POISON_LEFT.follow(lambda: float(allowance.left))
    metrics.INFLIGHT_LIMIT.set(settings.inflight_bytes)
    metrics.DISK_RESERVE.set(settings.disk_reserve_bytes)
    for topic in world.topics:
        metrics.arrived(topic, 0, 0)
    metrics.say_build(world.survey.name)
    return parts


def _preparer(world: World, settings: IngestSettings, pool: Executor, survey: int, lateness: Lateness) -> Preparer:
    layout = Layout(settings.stripes, settings.sub_stripes, settings.overlap_deg)
    placer = Placer(world.survey, survey, layout)
    unknown = UnknownSchemas(settings.schema_run)
    return Preparer(world.decoder, placer, pool, unknown=unknown, nights=lateness.nights, clock=world.clock)


def _places(
    world: World,
    settings: IngestSettings,
    parts: Parts,
    preparer: Preparer,
    holds: Holds,
    stopped: Callable[[], bool],
) -> Places:
    return Places(
        loop=asyncio.get_running_loop(),
        engine=world.engine,
        instance=parts.daemon.instance,
        holds=holds,
        tell=lambda error: parts.outcome.told(error),
        start=settings.start,
        numbers=preparer.numbers,
        streams=preparer.streams,
        begins=parts.committer.begins,
        stopped=stopped,
    )


def _pipeline(
    world: World,
    settings: IngestSettings,
    parts: Parts,
    preparer: Preparer,
    inbox: Inbox[News],
    window: Window,
    survey: int,
) -> Pipeline:
    age_s = max(settings.batch_age_s, 0.0 if world.store.appends else PUT_AGE_S)
    return Pipeline(
        loop=asyncio.get_running_loop(),
        inbox=inbox,
        gathering=Gathering(settings.batch_bytes, age_s),
        preparer=preparer,
        committer=parts.committer,
        window=window,
        clock=world.clock,
        outcome=parts.outcome,
        survey=survey,
        survey_digest=world.survey.digest,
    )


def _upkeep(
    world: World, settings: IngestSettings, parts: Parts, window: Window, failpoints: Failpoints, survey: int
) -> Upkeep:
    return Upkeep(
        engine=world.engine,
        store=world.store,
        segments=parts.committer.segments,
        sweeper=Sweeper(
            world.engine,
            world.store,
            world.clock,
            failpoints,
            settings.sweep_after_s,
            parts.daemon.instance,
        ),
        outcome=parts.outcome,
        window=window,
        last_partition=LastPartition(world.engine, parts.outcome.health, world.clock),
        clock=world.clock,
        failpoints=failpoints,
        survey=survey,
        segment_bytes=settings.segment_bytes,
        heartbeat_s=settings.heartbeat_s,
        abandoned_s=settings.abandoned_s,
        reserve_bytes=settings.disk_reserve_bytes,
    )


def _warm(world: World) -> None:
    """What the first batch would else wait for: the compiled kernel, and astropy behind HEALPix."""
    world.decoder.warm()
    healpix29(np.zeros(1), np.zeros(1))


def _in_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(call)
