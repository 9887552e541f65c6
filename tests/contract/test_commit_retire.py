"""Nights that go leave no row behind that leads to a packet which is gone, whatever comes meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from committing import Writer, database, survey, writing
from doubles.ingest_live import rows
from doubles.ingest_run import MJD, NIGHT, packet
from sqlalchemy.ext.asyncio import AsyncEngine

import stream.commit.retire as commit_retire
from stream.alertdb.segment import SegmentRef
from stream.commit.gap import Where
from stream.commit.retire import retire_nights
from stream.commit.sealing import seal

OLD = MJD - 90


@pytest.fixture(params=["mariadb", "sqlite"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with tables, once of each kind."""
    return await database(request, tmp_path)


async def kept(writer: Writer, source: int, offset: int, mjd: float) -> None:
    """One packet, in a segment that is sealed."""
    await writer.committer.commit(await writer.batch({0: [packet(source, mjd=mjd)]}, {0: offset}))
    for mine in writer.committer.segments:
        writer.committer.segments.forget(mine.number)
        assert await seal(writer.engine, writer.store, mine, writer.points)


async def test_what_is_ingested_of_a_night_while_it_goes_goes_with_it(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    async with writing(url, tmp_path / "a") as operator, writing(url, tmp_path / "a") as daemon:
        await kept(daemon, 1, 0, OLD)
        await kept(daemon, 2, 1, MJD)
        real = operator.store.retire

        def meanwhile(ref: SegmentRef) -> str:
            monkeypatch.undo()
            asyncio.run_coroutine_threadsafe(kept(daemon, 3, 2, OLD), loop).result(30)
            return real(ref)

        monkeypatch.setattr(operator.store, "retire", meanwhile)
        where = Where(operator.number, survey().name, survey().digest, NIGHT)
        done = await retire_nights(operator.committer, where, NIGHT)
        assert done.segments == 2 and done.partitions
        left = await rows(url, "SELECT l.diaSourceId, s.state FROM level1 l JOIN segments s ON s.segment = l.segment")
        assert [tuple(row) for row in left] == [(2, "sealed")]
        assert (await retire_nights(operator.committer, where, NIGHT)).segments == 0


async def test_no_packet_stays_whose_row_came_just_before_the_rows_went(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with writing(url, tmp_path / "a") as operator, writing(url, tmp_path / "a") as daemon:
        await kept(daemon, 1, 0, OLD)
        real = commit_retire.clear_part

        async def late(engine: AsyncEngine, before: int) -> tuple[str, int]:
            monkeypatch.undo()
            await kept(daemon, 2, 1, OLD)
            return await real(engine, before)

        monkeypatch.setattr(commit_retire, "clear_part", late)
        where = Where(operator.number, survey().name, survey().digest, NIGHT)
        assert (await retire_nights(operator.committer, where, NIGHT)).segments == 2
        left = await rows(url, "SELECT state FROM segments WHERE kind <> 'quarantine'")
        assert {row.state for row in left} == {"retired"}
        assert not await rows(url, "SELECT 1 FROM level1")
