"""`skyburst ingest`: the daemon."""

from __future__ import annotations

import asyncio
import os
import sys

import click

from stream.cli.options import ingest_options, shared_options
from stream.config import IngestSettings, Settings


@click.command()
@shared_options
@ingest_options
def ingest(settings: Settings, ingest: IngestSettings) -> None:
    """Take alerts out of Kafka and keep them, exactly once, until stopped.

    SIGTERM drains: what is in flight is committed, segments are sealed. Exit code 1 where a partition is held at the
    end, or something in flight could not be committed in time.
    """
    if ingest.numba_cache is not None:
        os.environ["NUMBA_CACHE_DIR"] = str(ingest.numba_cache)
    from consumers.ingest.memory import leave_pandas_out, reuse_memory
    from stream.cli.group import daemon_logs
    from stream.collecting import stop_collecting
    from stream.tables.lock import only_daemon

    reuse_memory()
    stop_collecting()
    leave_pandas_out()
    daemon_logs()
    with only_daemon(settings.need("level1")):
        sys.exit(asyncio.run(_run(settings, ingest)))


async def _run(settings: Settings, ingest: IngestSettings) -> int:
    from consumers.ingest.build import World
    from consumers.ingest.run import Ingest
    from stream.alertdb.store import open_store
    from stream.clock import SystemClock
    from stream.codec.decoder import Decoder
    from stream.codec.sources import open_schemas
    from stream.survey import load_survey
    from stream.tables.engine import open_engine
    from stream.transport.kafka import FetchLimits, KafkaSource
    from stream.transport.security import security_of

    ingest.need_apart(settings.need_topics())
    survey = load_survey(settings.need("survey"))
    schemas = open_schemas(settings.value("schemas"), cache=settings.kept_schemas())
    decoder = Decoder(schemas, survey.paths, max_packet=ingest.max_packet_bytes)
    engine = open_engine(settings.need("level1"))
    visits = None
    if ingest.visits_topic:
        visits = KafkaSource(
            settings.need("bootstrap"),
            f"{ingest.group}-visits",
            security_of(settings),
            limits=FetchLimits(queued_kbytes=1024, fetch_bytes=1 << 20, partition_bytes=1 << 20, wait_ms=500),
            session_timeout_ms=ingest.session_timeout_ms,
            max_poll_interval_ms=ingest.max_poll_interval_ms,
        )
    try:
        world = World(
            source=KafkaSource(
                settings.need("bootstrap"),
                ingest.group,
                security_of(settings),
                instance=ingest.instance,
                limits=FetchLimits(queued_kbytes=ingest.fetch_queue_kb),
                session_timeout_ms=ingest.session_timeout_ms,
                max_poll_interval_ms=ingest.max_poll_interval_ms,
            ),
            topics=settings.topic,
            engine=engine,
            store=open_store(settings.need("alertdb")),
            decoder=decoder,
            survey=survey,
            clock=SystemClock(),
            visits=visits,
            visits_topic=ingest.visits_topic,
        )
        return await Ingest(world, ingest).run()
    finally:
        await engine.dispose()
