"""What is late and comes faster than it is committed is compressed in a hurry; what keeps up, and a burst, is not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from doubles.ingest_live import living, rows, until
from doubles.ingest_run import IngestRun, Sent, sent, spread
from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.ingest.batches import RawBatch
from consumers.ingest.pipeline import LATE_S
from consumers.ingest.prepare import Prepared, Preparer
from stream import metrics
from stream.local import LocalKafka

MIB = 1 << 20
MANY, LARGE = 12, 256 * 1024


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[RawBatch]:
    """The batches with messages that the daemon of this test has closed and begun to prepare."""
    kept: list[RawBatch] = []
    real = Preparer.prepare

    def prepare(self: Preparer, raw: RawBatch) -> Prepared:
        kept.extend([raw] if raw.records else [])
        return real(self, raw)

    monkeypatch.setattr(Preparer, "prepare", prepare)
    return kept


@pytest.fixture
async def run(kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path) -> IngestRun:
    kafka.create_topic(topic, 1)
    made = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    await made.migrate()
    return made


def aged(messages: Iterable[Sent], seconds: float) -> list[Sent]:
    """The same, written so many seconds ago."""
    at = int((time.time() - seconds) * 1000)
    return [replace(message, timestamp_ms=at) for message in messages]


def send_many(run: IngestRun, late: float) -> None:
    """Send 3 MiB of packets that were written so many seconds ago."""
    run.send(aged(spread([sent(k, stamp=bytes([k]) * LARGE) for k in range(1, MANY + 1)], 1), late))


async def committed(run: IngestRun, count: int) -> None:
    async def all_there() -> bool:
        (found,) = await rows(run.level1, "SELECT COUNT(*) AS n FROM level1")
        return int(found.n) == count

    await until(all_there, f"{count} rows")


@pytest.mark.parametrize(("late", "hurried"), [(LATE_S + 60, True), (0.0, False)], ids=["backlog", "burst"])
async def test_full_batches_hurry_where_they_are_late_and_what_keeps_up_does_not(
    run: IngestRun, prepared: list[RawBatch], late: float, hurried: bool
) -> None:
    send_many(run, late)
    before = metrics.BATCHES_HURRIED.value()
    async with living(run, batch_bytes=MIB, inflight_bytes=16 * MIB) as live:
        await committed(run, MANY)
        full = [batch.hurried for batch in prepared if batch.nbytes >= MIB]
        assert full and set(full) == {hurried}
        assert metrics.BATCHES_HURRIED.value() - before == sum(batch.hurried for batch in prepared)
        caught_up = len(prepared)
        run.send(aged([sent(100)], late))
        await committed(run, MANY + 1)
        assert [batch.hurried for batch in prepared[caught_up:]] == [False]
    assert live.code == 0


@pytest.mark.parametrize(("late", "at_once"), [(LATE_S + 60, True), (0.0, False)], ids=["backlog", "burst"])
async def test_the_first_batch_of_a_backlog_closes_with_a_fifth_of_what_it_may_have(
    run: IngestRun, prepared: list[RawBatch], late: float, at_once: bool
) -> None:
    send_many(run, late)
    before = metrics.ARRIVED_RECORDS.value(topic=run.topic)
    async with living(run, batch_bytes=10 * MIB, inflight_bytes=16 * MIB, batch_age_s=60) as live:
        await until(lambda: metrics.ARRIVED_RECORDS.value(topic=run.topic) == before + MANY, "all polled")
        if at_once:
            await until(lambda: bool(prepared), "a batch")
            assert 2 * MIB <= prepared[0].nbytes < 10 * MIB
        assert bool(prepared) is at_once
    assert live.code == 0
    await committed(run, MANY)


async def test_a_late_batch_hurries_behind_two_that_are_not_committed(
    run: IngestRun, prepared: list[RawBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = asyncio.Event()
    real = AsyncConnection.commit

    async def stall(self: AsyncConnection) -> None:
        if asyncio.current_task().get_name() == "commit":  # type: ignore[union-attr]
            await go_on.wait()
        await real(self)

    monkeypatch.setattr(AsyncConnection, "commit", stall)
    async with living(run) as live:
        for k in (1, 2, 3):
            run.send(aged([sent(k)], LATE_S + 60))
            await until(lambda k=k: len(prepared) == k, f"batch {k}")
        assert [batch.hurried for batch in prepared] == [False, False, True]
        go_on.set()
        await committed(run, 3)
    assert live.code == 0
