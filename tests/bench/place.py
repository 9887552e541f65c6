"""What one daemon works on: a topic, a database, a folder for segments."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from producers.sources.synthetic import SOURCE_BITS
from tests.bench.packets import MOST_VISITS, NIGHT
from tests.bench.servers import Servers, settle

_FIRST = NIGHT * 100_000
SENT = (
    f"survey = 1 AND diaSourceId BETWEEN {_FIRST << SOURCE_BITS} AND {((_FIRST + MOST_VISITS) << SOURCE_BITS) - 1}"
    f" AND night = {NIGHT}"
)
"""What tells the rows of packets that were sent, by the primary key."""


@dataclass(frozen=True, slots=True)
class Place:
    """Names and addresses."""

    servers: Servers
    topic: str
    database: str
    folder: Path

    @property
    def alertdb(self) -> Path:
        """The folder of the segments."""
        return self.folder / "alertdb"

    @property
    def url(self) -> str:
        """The database's URL."""
        return self.servers.mariadb.url(self.database)

    @property
    def bootstrap(self) -> str:
        """The broker's address."""
        return self.servers.kafka.bootstrap

    def count(self) -> int:
        """Level-1 rows of the packets that the benchmark sends: of nothing else that a Level-1 with many rows has."""
        found = self.servers.mariadb.execute(f"SELECT COUNT(*) FROM level1 WHERE {SENT}", database=self.database)
        return int(found[0][0])


@contextmanager
def empty_place(servers: Servers, topic: str) -> Iterator[Place]:
    """An empty Level-1 and AlertDB, dropped at the end."""
    name = f"bench_{uuid.uuid4().hex[:12]}"
    try:
        servers.migrate(name, NIGHT, NIGHT)
        with segments_of(servers, topic, name) as place:
            yield place
    finally:
        servers.mariadb.drop_database(name)


@contextmanager
def segments_of(servers: Servers, topic: str, database: str) -> Iterator[Place]:
    """An empty AlertDB beside `database`, removed at the end."""
    folder = servers.folder / f"{database}-{uuid.uuid4().hex[:8]}"
    place = Place(servers, topic, database, folder)
    place.alertdb.mkdir(parents=True)
    settle()
    try:
        yield place
    finally:
        shutil.rmtree(folder, ignore_errors=True)
