"""Bytes in flight are bounded whatever stalls: polling stops, then partitions are paused, and nothing is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from doubles.ingest_live import living, rows, until
from doubles.ingest_run import IngestRun, sent, spread
from sqlalchemy.ext.asyncio import AsyncConnection

import consumers.ingest.poller
from stream import metrics
from stream.local import LocalKafka

MIB = 1 << 20
WINDOW, BATCH, PACKET = 24 * MIB, 8 * MIB, 4 * MIB - 4096


async def test_a_stalled_database_and_packets_of_4_mib_stay_within_the_window_and_lose_nothing(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka.create_topic(topic, 2, {"max.message.bytes": str(5 * MIB)})
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    await run.migrate()
    count = 24
    run.send(spread([sent(k, stamp=bytes([k]) * PACKET) for k in range(1, count + 1)], 2))
    monkeypatch.setattr(consumers.ingest.poller, "STALL_S", 0.3)
    stalled, go_on = asyncio.Event(), asyncio.Event()
    real = AsyncConnection.commit

    async def stall(self: AsyncConnection) -> None:
        if not go_on.is_set() and asyncio.current_task().get_name() == "commit":  # type: ignore[union-attr]
            stalled.set()
            await go_on.wait()
        await real(self)

    most, taken = 0.0, []

    def watch(value: float, /, **_: str) -> None:
        nonlocal most
        most = max(most, value)
        taken.append(value)

    monkeypatch.setattr(metrics.INFLIGHT_BYTES, "set", watch)
    monkeypatch.setattr(AsyncConnection, "commit", stall)
    async with living(run, inflight_bytes=WINDOW, batch_bytes=BATCH) as live:
        await asyncio.wait_for(stalled.wait(), 20)
        await until(lambda: metrics.PAUSED_PARTITIONS.value() == 2, "both partitions paused")
        polled = metrics.ARRIVED_RECORDS.value(topic=topic)
        assert taken[-1] >= WINDOW and polled < count
        place = "SELECT SUM(next) AS n FROM ledger"
        assert (await rows(level1_url, place))[0].n == 0
        go_on.set()

        async def all_there() -> bool:
            return int((await rows(level1_url, place))[0].n) == count

        await until(all_there, "all packets")
        await until(lambda: metrics.PAUSED_PARTITIONS.value() == 0, "no partition paused")
        await until(live.ingest.health.ready, "ready")
    assert live.code == 0
    # One poll may go beyond the window, by what a poll takes at most.
    assert most < WINDOW + consumers.ingest.poller.POLL_BYTES + PACKET
    assert len(await rows(level1_url, "SELECT diaSourceId FROM level1")) == count
    (total,) = await rows(level1_url, "SELECT SUM(records) AS n FROM commit_ranges")
    assert total.n == count
