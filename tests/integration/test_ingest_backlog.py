"""A daemon that keeps up compresses thoroughly; one that is behind hurries, and its metric says so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from doubles.ingest_live import living, rows, until
from doubles.ingest_run import IngestRun, sent, spread
from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.ingest.batches import RawBatch
from consumers.ingest.gathering import Gathering
from stream import metrics
from stream.local import LocalKafka

MIB = 1 << 20
LARGE = 256 * 1024


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[RawBatch]:
    """The batches that the daemon of this test has closed."""
    kept: list[RawBatch] = []
    real = Gathering.close

    def close(self: Gathering, *, behind: bool = False) -> RawBatch | None:
        batch = real(self, behind=behind)
        if batch is not None:
            kept.append(batch)
        return batch

    monkeypatch.setattr(Gathering, "close", close)
    return kept


async def all_there(level1_url: str, count: int) -> bool:
    (found,) = await rows(level1_url, "SELECT COUNT(*) AS n FROM level1")
    return int(found.n) == count


async def test_a_backlog_is_taken_in_a_hurry_and_what_comes_after_it_is_not(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path, closed: list[RawBatch]
) -> None:
    kafka.create_topic(topic, 2)
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    await run.migrate()
    backlog = 12
    run.send(spread([sent(k, stamp=bytes([k]) * LARGE) for k in range(1, backlog + 1)], 2))
    before = metrics.BATCHES_HURRIED.value()
    async with living(run, batch_bytes=MIB, inflight_bytes=16 * MIB) as live:
        await until(lambda: all_there(level1_url, backlog), "the backlog")
        hurried = sum(batch.hurried for batch in closed)
        assert hurried and metrics.BATCHES_HURRIED.value() == before + hurried
        caught_up = len(closed)
        run.send([sent(100)])
        await until(lambda: all_there(level1_url, backlog + 1), "the last packet")
        assert [batch.hurried for batch in closed[caught_up:]] == [False]
    assert live.code == 0


async def test_a_batch_hurries_behind_two_that_are_not_committed(
    kafka: LocalKafka,
    topic: str,
    level1_url: str,
    tmp_path: Path,
    closed: list[RawBatch],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kafka.create_topic(topic, 1)
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    await run.migrate()
    go_on = asyncio.Event()
    real = AsyncConnection.commit

    async def stall(self: AsyncConnection) -> None:
        if asyncio.current_task().get_name() == "commit":  # type: ignore[union-attr]
            await go_on.wait()
        await real(self)

    monkeypatch.setattr(AsyncConnection, "commit", stall)
    async with living(run) as live:
        for k in (1, 2, 3):
            run.send([sent(k)])
            await until(lambda: sum(len(one) for batch in closed for one in batch.records) == k, f"batch {k}")  # noqa: B023
        assert [batch.hurried for batch in closed if batch.records] == [False, False, True]
        go_on.set()
        await until(lambda: all_there(level1_url, 3), "all packets")
    assert live.code == 0
