"""Made batches of Level-1 rows, and the database that each test of the two suites gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from stream.alert import Level1Column
from stream.level1.rows import Ready, Values, ready
from stream.level1.write import Foreign, foreign_rows, insert_rows, judge
from stream.sky import healpix29
from stream.tables.engine import open_engine
from stream.tables.migrate import migrate
from stream.tables.model import table

FIRST, LAST = 20261101, 20270115

FLOATS = [
    "raErr",
    "decErr",
    "psfFlux",
    "psfFluxErr",
    "apFlux",
    "apFluxErr",
    "scienceFlux",
    "scienceFluxErr",
    "snr",
    "reliability",
    "extendedness",
    "timeProcessedMjdTai",
]


@pytest.fixture(params=["mariadb", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, once of each kind."""
    return url_of(request, tmp_path)


def url_of(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of the kind that the fixture's parameter begins with."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/level1.db"
    made: str = request.getfixturevalue("level1_url")
    return made


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    """A database with all tables."""
    made = open_engine(url)
    await migrate(made, FIRST, LAST)
    yield made
    await made.dispose()


@pytest.fixture
async def server(level1_url: str) -> AsyncIterator[AsyncEngine]:
    """A MariaDB database with all tables."""
    made = open_engine(level1_url)
    await migrate(made, FIRST, LAST)
    yield made
    await made.dispose()


def column(values: Any, null: Any = None) -> Level1Column:
    made = np.asarray(values)
    return Level1Column(made, np.zeros(len(made), np.bool_) if null is None else np.asarray(null, np.bool_))


def text(n: int, value: str | None) -> Level1Column:
    return column(np.full(n, value or "", object), np.full(n, value is None))


def batch(ids: Any, rng: np.random.Generator, commit: int = 1, **changes: Values) -> dict[str, Values]:
    """A batch with these ids and otherwise made-up values; `changes` are put in their place."""
    ids = np.asarray(ids, np.int64)
    n = len(ids)
    ra, dec = rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    made: dict[str, Values] = {
        "survey": 1,
        "night": column(np.full(n, 20261121)),
        "diaSourceId": column(ids),
        "diaObjectId": column(rng.integers(1, 2**62, n)),
        "ssObjectId": column(np.zeros(n, np.int64), np.ones(n)),
        "parentDiaSourceId": column(rng.integers(1, 2**62, n), rng.random(n) < 0.5),
        "objectName": text(n, None),
        "ssObjectName": text(n, None),
        "visit": column(np.full(n, 2026112100123)),
        "detector": column(rng.integers(0, 189, n)),
        "band": text(n, "r"),
        "midpointMjdTai": column(61000 + rng.random(n)),
        "ra": column(ra),
        "dec": column(dec),
        "flags": column(rng.integers(0, 2**19, n)),
        "chunk": rng.integers(0, 140000, n),
        "subChunk": rng.integers(0, 12, n),
        "segment": int(rng.integers(2**62, 2**63 - 1)),
        "blockOffset": np.sort(rng.integers(0, 2**30, n)),
        "slot": np.arange(n) % 16,
        "stream": 1,
        "kafkaPartition": 3,
        "kafkaOffset": 1000 * commit + np.arange(n),
        "commitId": commit,
        "digest": rng.integers(0, 256, (n, 16), dtype=np.uint8),
    }
    made |= {name: column(rng.normal(0, 1e4, n), rng.random(n) < 0.1) for name in FLOATS}
    made |= changes
    if "healpix" not in made:
        made["healpix"] = healpix29(made["ra"].values, made["dec"].values)  # type: ignore[union-attr]
    return made


async def put(
    engine: AsyncEngine, columns: dict[str, Values], commit: int = 1, **options: Any
) -> tuple[Ready, Foreign]:
    """Insert a batch in a transaction of its own, as a commit does."""
    prepared = ready(columns, dialect=engine.dialect.name, **options)
    async with engine.begin() as conn:
        await insert_rows(conn, prepared)
        found = await foreign_rows(conn, prepared, commit)
    return prepared, found


async def verdicts(engine: AsyncEngine, columns: dict[str, Values], commit: int, **options: Any) -> list[int]:
    found: list[int] = judge(*await put(engine, columns, commit, **options)).tolist()
    return found


async def stored(engine: AsyncEngine) -> dict[int, Any]:
    """All rows by diaSourceId (the last night's where there are several)."""
    level1 = table("level1")
    async with engine.connect() as conn:
        rows = (await conn.execute(level1.select().order_by(level1.c.night))).all()
    return {row.diaSourceId: row for row in rows}


async def until_a_lock_is_waited_for(server: AsyncEngine, waiting: asyncio.Task[Any]) -> None:
    """Return once a transaction of the server waits for a lock of another; `waiting` must not end before."""
    async with server.connect() as looking:
        while not await looking.scalar(sa.text("SELECT COUNT(*) FROM information_schema.innodb_lock_waits")):
            assert not waiting.done()
            await looking.rollback()
            await asyncio.sleep(0.15)  # InnoDB looks again only where nobody has asked for 0.1 s
