"""Servers of the crash tests' own, and for each test a field on them with its daemons and sender."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from crash.daemons import Daemons, daemons_on
from crash.packets import Packets
from crash.sender import Sender
from crash.servers import Field, Servers
from crash.story import Story
from doubles.early import Early
from doubles.nursery import Nursery

from stream.local import LocalKafka, LocalMariadb


@pytest.fixture(scope="session")
def crash_kafka(early: Early) -> Iterator[LocalKafka]:
    """A broker that the tests here may kill."""
    broker: LocalKafka = early.outcome("crash_kafka")
    yield broker
    broker.kill()


@pytest.fixture(scope="session")
def servers(server_folder: Path, crash_kafka: LocalKafka) -> Iterator[Servers]:
    """That broker, and a MariaDB that they may kill, too."""
    folder = server_folder / "crash"
    mariadb = LocalMariadb(folder / "mariadb").start()
    yield Servers(folder, mariadb, crash_kafka)
    mariadb.kill()


@pytest.fixture
def chance(rng: np.random.Generator) -> Random:
    """Drawn from the run's printed seed and the test's name."""
    return Random(int(rng.integers(1 << 62)))


@pytest.fixture
async def field(servers: Servers) -> AsyncIterator[Field]:
    """A topic of two partitions, tables and a folder; the servers run, whatever the test before did to them."""
    servers.mariadb.start()
    servers.kafka.start()
    yield await Field(servers, partitions=2).make()
    servers.mariadb.start()


@pytest.fixture
def daemons(field: Field, nursery: Nursery) -> Iterator[Daemons]:
    """The test's daemons."""
    with daemons_on(field, nursery) as made:
        yield made


@pytest.fixture
def sender(field: Field, chance: Random) -> Iterator[Sender]:
    """Sends to the test's topic."""
    made = Sender(field.servers.kafka.bootstrap, field.name, Packets(chance).draw)
    yield made
    made.close()


@pytest.fixture
def story(field: Field, daemons: Daemons, sender: Sender, chance: Random) -> Story:
    """The test's field, daemons and sender together."""
    return Story(field, daemons, sender, Packets(chance))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where a test fails, show what its daemons said last."""
    report = yield
    daemons = getattr(item, "funcargs", {}).get("daemons")
    if report.failed and isinstance(daemons, Daemons):
        report.sections.append(("daemons", daemons.last()))
    return report
