"""A broker and a database server of the crash tests' own, which may be killed, and a field of one test on them."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
from crash.count import Count, count
from crash.packets import FIRST_NIGHT, LAST_NIGHT
from pymysql.cursors import DictCursor

from stream.local import LocalKafka, LocalMariadb
from stream.local.ports import LOOPBACK
from stream.local.process import wait_until
from stream.tables.engine import open_engine
from stream.tables.migrate import migrate


@dataclass(frozen=True, slots=True)
class Servers:
    """Both servers, and the folder of this run."""

    folder: Path
    mariadb: LocalMariadb
    kafka: LocalKafka

    def restart_mariadb(self, away_s: float) -> None:
        """Kill the database server, and start it again."""
        self.mariadb.kill()
        time.sleep(away_s)
        self.mariadb.start()

    def restart_kafka(self, away_s: float) -> None:
        """Kill the broker, and start it again."""
        self.kafka.kill()
        time.sleep(away_s)
        self.kafka.start()


class Field:
    """A topic, a database with its tables, and a folder for segments: what one test's daemons work on."""

    def __init__(self, servers: Servers, partitions: int) -> None:
        self.servers = servers
        self.name = f"crash_{uuid.uuid4().hex[:12]}"
        self.partitions = partitions
        self.folder = servers.folder / self.name
        self.alertdb = self.folder / "alertdb"
        self.fired = self.folder / "fired.txt"
        self.alertdb.mkdir(parents=True)
        self.url = servers.mariadb.url(self.name)

    async def make(self) -> Field:
        """Make topic and tables."""
        self.servers.mariadb.create_database(self.name)
        engine = open_engine(self.url)
        await migrate(engine, FIRST_NIGHT, LAST_NIGHT)
        await engine.dispose()
        self.servers.kafka.create_topic(self.name, self.partitions, {"max.message.bytes": "10000000"})
        return self

    def environment(self) -> dict[str, str]:
        """What a daemon needs to know."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("SKYBURST_")},
            "SKYBURST_BOOTSTRAP": self.servers.kafka.bootstrap,
            "SKYBURST_TOPIC": self.name,
            "SKYBURST_LEVEL1": self.url,
            "SKYBURST_ALERTDB": str(self.alertdb),
            "SKYBURST_SURVEY": "lsst",
            "SKYBURST_INGEST_GROUP": self.name,
            "SKYBURST_INGEST_VISITS_TOPIC": "",
            "SKYBURST_INGEST_METRICS_PORT": "0",
            "SKYBURST_INGEST_SESSION_TIMEOUT_MS": "1500",
            "SKYBURST_INGEST_HEARTBEAT_S": "0.7",
            "SKYBURST_INGEST_ABANDONED_S": "2.1",
            "SKYBURST_INGEST_SWEEP_AFTER_S": "2.1",
            "SKYBURST_INGEST_SEGMENT_BYTES": str(2 << 20),
            "SKYBURST_INGEST_DRAIN_DEADLINE_S": "20",
            "SKYBURST_INGEST_DISK_RESERVE_BYTES": "1024",
            "SKYBURST_INGEST_QUARANTINE_ALLOW": "100000",
            "SKYBURST_FAILPOINTS_FIRED": str(self.fired),
        }

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        """A cursor of rows as dictionaries, past every pool and proxy."""
        mariadb = self.servers.mariadb
        with (
            pymysql.connect(
                host=LOOPBACK, port=mariadb.port, user="skyburst", password=mariadb.password, database=self.name,
                autocommit=True, cursorclass=DictCursor, connect_timeout=5,
            ) as connection,
            connection.cursor() as cursor,
        ):  # fmt: skip
            yield cursor

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Rows of one query."""
        with self.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def committed(self) -> dict[int, int]:
        """The ledger: next offset by partition."""
        return {row["kafkaPartition"]: row["next"] for row in self.rows("SELECT kafkaPartition, next FROM ledger")}

    def reached(self, ends: Mapping[int, int]) -> bool:
        """Whether the ledger stands at or behind these offsets."""
        found = self.committed()
        return all(found.get(partition, 0) >= end for partition, end in ends.items())

    def wait_reached(self, ends: Mapping[int, int], within_s: float = 30.0) -> None:
        """Wait until it does."""
        assert wait_until(lambda: self.reached(ends), within_s, every_s=0.05), (
            f"the ledger is at {self.committed()} after {within_s} s, the log ends at {ends}"
        )

    def count(self, acknowledged: Mapping[tuple[int, int], bytes | None]) -> Count:
        """The independent count."""
        with self.cursor() as cursor:
            return count(cursor, self.alertdb, acknowledged)


def ends_of(acknowledged: Mapping[tuple[int, int], bytes | None]) -> dict[int, int]:
    """The log's end by partition."""
    ends: dict[int, int] = {}
    for partition, offset in list(acknowledged):
        ends[partition] = max(ends.get(partition, 0), offset + 1)
    return ends
