"""What more than one of the suites here looks at, and how often daemons look."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import pytest_asyncio
import sqlalchemy as sa
from doubles import release_world
from doubles.broken_store import Made, Store, restore
from doubles.history import history
from doubles.nursery import Nursery

from consumers.ingest import poller, pulse, upkeep
from consumers.release.double import QservDouble
from stream.local import LocalKafka, LocalMariadb
from stream.tables.engine import open_reader


@pytest.fixture(scope="session", autouse=True)
def often_looked() -> Iterator[None]:
    """Daemons in this process look ten times a second at what they look at twice a second by themselves."""
    with patch.object(upkeep, "TURN_S", 0.1), patch.object(pulse, "TURN_S", 0.1), patch.object(poller, "RETRY_S", 0.1):
        yield


@pytest.fixture(scope="session")
def made_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small partitioned release, made once."""
    folder = tmp_path_factory.mktemp("release") / "dr1"
    release_world.made(folder, np.random.default_rng(1))
    return folder


@pytest.fixture
def release_folder(made_release: Path, tmp_path: Path) -> Path:
    """A small partitioned release of this test's own."""
    return Path(shutil.copytree(made_release, tmp_path / "dr1"))


@pytest_asyncio.fixture
async def qserv(tmp_path: Path, mariadb: LocalMariadb) -> AsyncIterator[QservDouble]:
    """A double of Qserv's ingest service, empty."""
    async with QservDouble.start(tmp_path / "double", mariadb=mariadb) as found:
        yield found


@pytest.fixture(scope="session")
def made_store(
    kafka: LocalKafka,
    mariadb: LocalMariadb,
    nursery: Nursery,
    shared_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Made:
    """The store with a past, its tables in SQLite, too."""
    past = history(kafka, mariadb, nursery, shared_data)
    return asyncio.run(Made.of(past, tmp_path_factory.mktemp("verify") / "level1.sqlite"))


@pytest.fixture(params=[pytest.param("mariadb", marks=pytest.mark.long), "sqlite"])
def store(request: pytest.FixtureRequest, made_store: Made, kafka: LocalKafka, tmp_path: Path) -> Iterator[Store]:
    """The store with a past, for a test that breaks it."""
    past, folder = made_store.past, tmp_path / "alertdb"
    if request.param == "sqlite":
        file = shutil.copy(made_store.sqlite, tmp_path / "level1.sqlite")
        url, engine = f"sqlite:///{file}", sa.create_engine(f"sqlite:///{file}")
        yield Store(url, past.run.alertdb, folder, kafka, engine, past.tables)
    else:
        url = past.run.level1
        engine = open_reader(url)
        store = Store(url, past.run.alertdb, folder, kafka, engine, past.tables)
        yield store
        restore(engine, past.tables, store.changed)
    engine.dispose()
