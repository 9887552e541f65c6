"""The servers of the benchmark: a fresh Kafka with the full compiler, a MariaDB whose data folder is kept."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
from confluent_kafka.admin import AdminClient

from stream.local import LocalKafka, LocalMariadb
from stream.local.mariadb import ADMINISTRATOR
from stream.local.ports import LOOPBACK
from stream.tables.engine import open_engine
from stream.tables.migrate import migrate

PARTITIONS = 8
MARIADB_OPTIONS: Mapping[str, str] = {
    "innodb-buffer-pool-size": "1G",
    "innodb-log-file-size": "512M",
    "innodb-flush-log-at-trx-commit": "1",
}
"""What differs from the server's own defaults; every COMMIT is synced."""


@dataclass(frozen=True, slots=True)
class Servers:
    """Both servers, and the folder of this run, wiped at its end."""

    kafka: LocalKafka
    mariadb: LocalMariadb
    folder: Path

    def topic(self, partitions: int = PARTITIONS) -> str:
        """A new topic."""
        name = f"bench-{uuid.uuid4().hex[:8]}"
        self.kafka.create_topic(name, partitions, {"max.message.bytes": "10000000"})
        return name

    def forget(self, topic: str) -> None:
        """Delete a topic with all it holds."""
        admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap})
        for done in admin.delete_topics([topic], operation_timeout=30).values():
            done.result(30)

    def connect(self, database: str | None = None) -> pymysql.Connection[Any]:
        """A connection of its own, every statement committed at once."""
        return pymysql.connect(
            host=LOOPBACK,
            port=self.mariadb.port,
            user=ADMINISTRATOR,
            password=self.mariadb.password,
            database=database,
            autocommit=True,
        )

    def migrate(self, database: str, from_night: int, upto_night: int) -> None:
        """Make `database` and its tables."""

        async def make() -> None:
            engine = open_engine(self.mariadb.url(database))
            try:
                await migrate(engine, from_night, upto_night)
            finally:
                await engine.dispose()

        self.mariadb.create_database(database)
        asyncio.run(make())


@contextmanager
def servers(kept: Path) -> Iterator[Servers]:
    """Start both; `kept` holds the database between runs. Stops them whatever happens."""
    kept.mkdir(parents=True, exist_ok=True)
    with (kept / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        run = kept / "run"
        kafka = LocalKafka(run / "kafka", java=(), heap="1g")
        mariadb = LocalMariadb(kept / "mariadb", options=MARIADB_OPTIONS)
        # Left by a run that was killed.
        kafka.stop()
        mariadb.stop()
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir()
        try:
            kafka.start().create_topic("visits")
            yield Servers(kafka, mariadb.start(), run)
        finally:
            kafka.stop()
            mariadb.stop()
            shutil.rmtree(run, ignore_errors=True)


def settle() -> None:
    """Let the disk finish what earlier work left in the machine's memory, so that it is not counted with the next."""
    os.sync()
    time.sleep(0.2)
