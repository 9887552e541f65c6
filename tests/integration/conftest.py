"""What more than one of the suites here looks at, and how often daemons look."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import pytest_asyncio
from doubles import release_world

from consumers.ingest import poller, pulse, upkeep
from consumers.release.double import QservDouble
from stream.local import LocalMariadb


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
