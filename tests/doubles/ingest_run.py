"""A small store made by the real daemon: packets sent to a broker, taken out by `skyburst ingest`, kept for good."""

from __future__ import annotations

import asyncio
import io
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import fastavro
import sqlalchemy as sa
from doubles.nursery import Forked, Nursery

from consumers.ingest.build import World
from consumers.ingest.run import Ingest
from stream.alert import Header
from stream.alertdb.store import open_store
from stream.clock import SystemClock
from stream.codec.decoder import Decoder
from stream.codec.sources import open_schemas
from stream.config import IngestSettings
from stream.survey import load_survey
from stream.tables.engine import open_engine
from stream.tables.migrate import migrate
from stream.tables.model import table
from stream.transport.kafka import KafkaPublisher, KafkaSource

SCHEMA_ID = 1000
NIGHT = 20260305
MJD = 61104.9
"""MJD TAI within `NIGHT`."""
QUIET = {"until_idle_s": 0.1, "metrics_port": 0}
REACHED_S = 60.0
AT_ONCE: dict[str, str | int] = {"enable.idempotence": "false", "max.in.flight.requests.per.connection": 1}
"""A producer in order that has no id: librdkafka asks for one half a second after its start only."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One message as it goes to the broker; `value` None is a tombstone."""

    value: bytes | None
    key: bytes | None = None
    headers: tuple[Header, ...] = ()
    timestamp_ms: int | None = None
    partition: int = 0


@dataclass(slots=True)
class IngestRun:
    """A topic, a database and a folder, and the daemon between them.

    Attributes
    ----------
    bootstrap, topic, level1, alertdb
        As the settings of the command have them; the topic must be there.
    survey, schemas
        Name of the survey, and where its writer schemas come from (None: the shipped package).
    """

    bootstrap: str
    topic: str
    level1: str
    alertdb: Path
    survey: str = "lsst"
    schemas: str | None = None
    group: str = field(default="")

    def __post_init__(self) -> None:
        self.group = self.group or f"group-{self.topic}"

    async def migrate(self, first: int = 20251101, last: int = 20260401) -> None:
        """Make the tables, with partitions for the nights of made packets; older ones have one together."""
        engine = open_engine(self.level1)
        try:
            await migrate(engine, first, last)
        finally:
            await engine.dispose()

    def send(self, messages: Iterable[Sent]) -> dict[tuple[int, int], Sent]:
        """Send messages, wait until each is acknowledged, and give them by partition and offset."""
        kept: dict[tuple[int, int], Sent] = {}
        publisher = KafkaPublisher(self.bootstrap, extra=AT_ONCE)

        def told(message: Sent) -> Any:
            def tell(error: object, partition: int, offset: int) -> None:
                assert error is None, error
                kept[partition, offset] = message

            return tell

        count = 0
        for m in messages:
            publisher.send(self.topic, m.value, m.key, m.headers, m.timestamp_ms, m.partition, told(m))
            count += 1
        assert publisher.flush(20) == 0
        publisher.close()
        assert len(kept) == count
        return kept

    async def ingest(self, **settings: Any) -> int:
        """Run a daemon in this process until it is idle, and give its exit code."""
        return await self._run(settings, lambda daemon: None)

    async def _run(self, settings: dict[str, Any], begun: Callable[[Ingest], None]) -> int:
        survey = load_survey(self.survey)
        ours = IngestSettings.model_validate(QUIET | settings)
        engine = open_engine(self.level1)
        try:
            world = World(
                source=KafkaSource(self.bootstrap, self.group, session_timeout_ms=3000),
                topics=(self.topic,),
                engine=engine,
                store=open_store(str(self.alertdb)),
                decoder=Decoder(open_schemas(self.schemas), survey.paths, max_packet=ours.max_packet_bytes),
                survey=survey,
                clock=SystemClock(),
            )
            daemon = Ingest(world, ours)
            begun(daemon)
            return await daemon.run()
        finally:
            await engine.dispose()

    async def ingest_each(
        self, pieces: Iterable[Sequence[Sent]], then: Callable[[], Awaitable[None]] | None = None, **settings: Any
    ) -> int:
        """Run one daemon, and send each piece once the one before is committed and `then` has returned."""
        begun: list[Ingest] = []
        running = asyncio.ensure_future(self._run({"until_idle_s": None} | settings, begun.append))
        for piece in pieces:
            want = await self.reached() + len(piece)
            await asyncio.to_thread(self.send, piece)
            ends = time.monotonic() + REACHED_S
            while await self.reached() < want and not running.done():
                assert time.monotonic() < ends, f"not all of {len(piece)} messages within {REACHED_S} s"
                await asyncio.sleep(0.01)
            if then is not None:
                await then()
        for daemon in begun:
            daemon.stop()
        return await running

    async def reached(self) -> int:
        """The sum of the ledger's places of this topic: the messages that are committed, where offsets begin at 0."""
        ledger, streams = table("ledger"), table("streams")
        query = sa.select(sa.func.sum(ledger.c.next)).join_from(ledger, streams, ledger.c.stream == streams.c.stream)
        engine = open_engine(self.level1, readonly=True)
        try:
            async with engine.connect() as connection:
                found = (await connection.execute(query.where(streams.c.topic == self.topic))).scalar_one_or_none()
        finally:
            await engine.dispose()
        return int(found or 0)

    def start(
        self, nursery: Nursery, log: Path, *flags: str, failpoints: str = "", fired: Path | None = None
    ) -> Forked:
        """Start a daemon as a process of its own, in a group of its own: once killed, it holds no partition of others.

        The caller waits for it.
        """
        more = {"SKYBURST_FAILPOINTS": failpoints} if failpoints else {}
        if fired is not None:
            more["SKYBURST_FAILPOINTS_FIRED"] = str(fired)
        settings = ["--metrics-port", "0", "--group", f"{self.group}-{log.stem}"]
        return nursery.start(["ingest", *settings, *flags], self.environment(more), log)

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment in which the command works on this store."""
        ours = {
            "SKYBURST_BOOTSTRAP": self.bootstrap,
            "SKYBURST_TOPIC": self.topic,
            "SKYBURST_LEVEL1": self.level1,
            "SKYBURST_ALERTDB": str(self.alertdb),
            "SKYBURST_SURVEY": self.survey,
        }
        schemas = {} if self.schemas is None else {"SKYBURST_SCHEMAS": self.schemas}
        return dict(os.environ) | ours | schemas | dict(more or {})


def packet(
    source: int,
    *,
    visit: int = 2026030500001,
    detector: int = 7,
    mjd: float = MJD,
    ra: float = 150.0,
    dec: float = 2.0,
    stamp: bytes = b"",
    schema_id: int = SCHEMA_ID,
    **fields: Any,
) -> bytes:
    """A framed LSST packet of one diaSource without history; `stamp` is its science cutout."""
    schema, least = _schema(schema_id)
    where = {"diaSourceId": source, "visit": visit, "detector": detector, "midpointMjdTai": mjd, "ra": ra, "dec": dec}
    record = {"diaSourceId": source, "diaSource": least | where | fields, "cutoutScience": stamp or None}
    out = io.BytesIO(b"\0" + schema_id.to_bytes(4, "big"))
    out.seek(5)
    fastavro.schemaless_writer(out, schema, record)
    return out.getvalue()


def sent(source: int, *, partition: int = 0, visit: int = 2026030500001, detector: int = 7, **fields: Any) -> Sent:
    """A framed packet with the headers and the key that a producer gives it."""
    headers = (("visit", b"%d" % visit), ("detector", b"%d" % detector), ("diaSourceId", b"%d" % source))
    value = packet(source, visit=visit, detector=detector, **fields)
    return Sent(value, b"%d" % source, headers, None, partition)


def real_packets(shared_data: Path, survey: str = "lsst") -> list[bytes]:
    """The real packets of a survey."""
    return [path.read_bytes() for path in sorted((shared_data / survey).iterdir()) if path.suffix in (".wire", ".avro")]


def cut(message: Sent) -> Sent:
    """The same message without its last byte: nobody can read it."""
    assert message.value is not None
    return Sent(message.value[:-1], message.key, message.headers, message.timestamp_ms, message.partition)


@cache
def _schema(schema_id: int) -> tuple[Any, dict[str, Any]]:
    schema = fastavro.parse_schema(json.loads(open_schemas(None).get(schema_id).text))
    (source,) = (each["type"] for each in schema["fields"] if each["name"] == "diaSource")
    return schema, {each["name"]: _least(each["type"]) for each in source["fields"]}


def _least(kind: Any) -> Any:
    """The least that a type takes: null where it may be, else zero, empty, false."""
    if isinstance(kind, list):
        return None if "null" in kind else _least(kind[0])
    name = kind["type"] if isinstance(kind, dict) else kind
    least: dict[str, Any] = {"string": "", "boolean": False, "bytes": b"", "float": 0.5, "double": 0.5}
    return least.get(name, 0)


def spread(messages: Sequence[Sent], partitions: int) -> list[Sent]:
    """The same messages over `partitions` partitions, one after the other."""
    return [Sent(m.value, m.key, m.headers, m.timestamp_ms, number % partitions) for number, m in enumerate(messages)]
