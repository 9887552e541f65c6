"""A release is loaded into the double, whose workers then hold, in a real MariaDB, what the manifests have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from doubles import release_world

from consumers.release.double import QservDouble
from consumers.release.load.loader import Loaded, Loader
from consumers.release.load.opening import cutting, opened
from consumers.release.load.plan import plan
from consumers.release.load.release import read
from consumers.release.settings import ReleaseSettings
from stream.local import LocalMariadb


@pytest_asyncio.fixture
async def double(tmp_path: Path, mariadb: LocalMariadb) -> AsyncIterator[QservDouble]:
    async with QservDouble.start(tmp_path / "double", mariadb=mariadb) as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    release_world.made(tmp_path / "dr1", rng)
    return tmp_path / "dr1"


def settings_of(double: QservDouble, **more: object) -> ReleaseSettings:
    given = {
        "qserv": double.url,
        "qserv_auth_key": double.auth_key,
        "qserv_admin_key": double.admin_auth_key,
        "release_unreachable_s": 5.0,
        "release_least_transaction_bytes": 4096,
    }
    return ReleaseSettings.load(given | more)


async def load(double: QservDouble, folder: Path, **more: object) -> Loaded:
    settings = settings_of(double, **more)
    release = read(folder)
    async with opened(release, settings) as world:
        return await Loader(world, plan(release, cutting(settings))).run()


@pytest.mark.parametrize("by", ["reference", "value"])
async def test_every_row_of_a_release_is_loaded_once(double: QservDouble, folder: Path, by: str) -> None:
    loaded = await load(double, folder, release_by=by)
    assert loaded.complete
    assert len(loaded.standings) >= 5
    assert release_world.counted(double) == release_world.wanted(folder)
