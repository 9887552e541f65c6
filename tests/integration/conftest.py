"""What more than one of the suites here looks at."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from doubles import release_world
from doubles.demo import Demo, run_demo

from consumers.release.double import QservDouble
from stream.local import LocalMariadb


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A demo that was run; nobody changes its files."""
    return run_demo(tmp_path_factory.mktemp("demo"))


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
