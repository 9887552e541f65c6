"""Daemons as they are run: several in a group, their database or broker gone for a while, told to stop, scraped."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doubles.called import call
from doubles.ingest_live import Live, events, execute, fetched, living, once, rows, until
from doubles.ingest_run import IngestRun, cut, sent, spread
from doubles.nursery import Nursery

from consumers.ingest import pulse
from consumers.ingest import run as running
from consumers.ingest.build import Parts
from stream.cli.exits import leaf
from stream.errors import Fatal
from stream.local import LocalKafka, LocalMariadb
from stream.transport.embedded import EmbeddedBroker


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as one:
        one.create_topic("alerts", 2)
        yield one


def on_sqlite(broker: EmbeddedBroker, tmp_path: Path) -> IngestRun:
    return IngestRun(broker.bootstrap, "alerts", f"sqlite:///{tmp_path}/l1.db", tmp_path / "alertdb")


async def count(run: IngestRun, table: str = "level1") -> int:
    (row,) = await rows(run.level1, f"SELECT COUNT(*) AS n FROM {table}")
    return int(row.n)


async def counted(run: IngestRun, wanted: int) -> None:
    async def there() -> bool:
        return await count(run) == wanted

    await until(there, f"{wanted} rows")


async def check_tiling(run: IngestRun, sent_each: dict[int, int]) -> None:
    """The ranges of all commits tile each partition from 0 to its end, and count what is there."""
    found = await rows(run.level1, "SELECT * FROM commit_ranges ORDER BY stream, kafkaPartition, startOffset")
    place: dict[int, int] = {}
    for row in found:
        assert row.startOffset == place.get(row.kafkaPartition, 0)
        place[row.kafkaPartition] = row.endOffset
    assert place == sent_each
    (total,) = await rows(run.level1, "SELECT SUM(records) AS n FROM commit_ranges")
    assert total.n == sum(sent_each.values())


async def test_two_daemons_share_a_topic_and_a_third_joins_and_leaves_with_nothing_lost_or_doubled(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    kafka.create_topic(topic, 6)
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    await run.migrate()
    messages = spread([sent(k) for k in range(1, 1201)], 6)

    async def send(part: int) -> None:
        await asyncio.to_thread(run.send, messages[part * 300 : part * 300 + 300])

    async def joined(*lives: Live) -> None:
        await until(lambda: not any("starting" in live.reasons() for live in lives), "all have partitions")

    async with living(run) as first, living(run) as second:
        await joined(first, second)
        await send(0)
        async with living(run) as third:
            task = asyncio.create_task(send(1))
            await joined(third)
            await task
            await send(2)
            await counted(run, 900)
        assert third.code == 0
        await send(3)
        await counted(run, 1200)
    assert (first.code, second.code) == (0, 0)
    await check_tiling(run, dict.fromkeys(range(6), 200))
    assert await count(run, "level1_repeat") == 0 and await count(run, "quarantine") == 0
    daemons = await rows(level1_url, "SELECT DISTINCT daemon FROM commits")
    assert len(daemons) == 3
    assert {row.state for row in await rows(level1_url, "SELECT state FROM segments")} == {"sealed"}


async def test_the_database_stops_and_starts_while_alerts_come_and_readiness_says_so(
    kafka: LocalKafka,
    mariadb: LocalMariadb,
    topic: str,
    level1_url: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "skyburst")
    kafka.create_topic(topic, 2)
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    await run.migrate()
    async with living(run) as live:
        run.send(spread([sent(k) for k in range(1, 101)], 2))
        await counted(run, 100)
        await asyncio.to_thread(mariadb.stop, within_s=10)
        run.send(spread([sent(k) for k in range(101, 201)], 2))
        await until(lambda: "waiting" in live.reasons(), "not ready")
        assert live.ingest.health.alive()
        await asyncio.to_thread(mariadb.start)
        await counted(run, 200)
        await until(live.ingest.health.ready, "ready again")
    assert live.code == 0
    said = [record.msg for record in caplog.records if record.msg in ("waiting", "goes_on")]
    assert "waiting" in said and said[-1] == "goes_on"
    await check_tiling(run, {0: 100, 1: 100})


async def test_a_database_that_is_frozen_costs_readiness_not_life_and_loses_nothing(
    kafka: LocalKafka, mariadb: LocalMariadb, topic: str, level1_url: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(pulse, "BEAT_S", 0.5)
    monkeypatch.setattr(pulse, "STALLED_S", 1.0)
    kafka.create_topic(topic, 2)
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    await run.migrate()
    async with living(run, heartbeat_s=0.2) as live:
        run.send(spread([sent(k) for k in range(1, 101)], 2))
        await counted(run, 100)
        mariadb.process.send(signal.SIGSTOP)
        try:
            run.send(spread([sent(k) for k in range(101, 201)], 2))
            await until(lambda: {"heartbeat", "stalled"} <= live.reasons(), "not ready")
            assert live.ingest.health.alive()
        finally:
            mariadb.process.send(signal.SIGCONT)
        await counted(run, 200)
        await until(live.ingest.health.ready, "ready again")
    assert live.code == 0
    await check_tiling(run, {0: 100, 1: 100})


async def test_the_broker_stops_and_starts_and_readiness_says_so(broker: EmbeddedBroker, tmp_path: Path) -> None:
    run = on_sqlite(broker, tmp_path)
    await run.migrate()
    async with living(run) as live:
        run.send([sent(1), sent(2, partition=1)])
        await counted(run, 2)
        broker.go_down()
        await until(lambda: "broker_away" in live.reasons(), "not ready")
        broker.come_up()
        await until(live.ingest.health.ready, "ready again")
        await asyncio.to_thread(run.send, [sent(3), sent(4, partition=1)])
        await counted(run, 4)
    assert live.code == 0
    await check_tiling(run, {0: 2, 1: 2})


async def test_a_process_is_scraped_logs_stable_events_and_sigterm_drains_and_seals(
    kafka: LocalKafka, nursery: Nursery, topic: str, level1_url: str, tmp_path: Path
) -> None:
    kafka.create_topic(topic, 2)
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    await run.migrate()
    run.send(spread([*(sent(k) for k in range(1, 200)), cut(sent(200))], 2))
    process = run.start(nursery, tmp_path / "daemon.log")
    try:
        await until(lambda: '"listening"' in process.said, "its port")
        (url,) = [one["url"] for one in events(process.said) if one["event"] == "listening"]
        await counted(run, 199)
        run.send(spread([sent(1)], 2))
        await until(lambda: "\nskyburst_commits_again_total 1" in fetched(f"{url}/metrics")[1], "the repeat")
        await until(lambda: fetched(f"{url}/readyz")[0] == 200, "ready")
        await until(
            lambda: "\nskyburst_disk_free_bytes " in fetched(f"{url}/metrics")[1], "the first turn of the upkeep"
        )
        told = samples(fetched(f"{url}/metrics")[1])
        assert json.loads(fetched(f"{url}/healthz")[1])["alive"] is True
        process.send(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 30) == 0
    finally:
        process.send(signal.SIGKILL)
    assert told[f'arrived_records_total{{topic="{topic}"}}'] == 201
    assert told['records_total{outcome="new",sink="alertdb"}'] == 199
    assert told['records_total{outcome="repeated",sink="alertdb"}'] == told["commits_again_total"] == 1
    assert (
        told['records_total{outcome="quarantined",sink="alertdb"}'] == told['quarantined_total{code="truncated"}'] == 1
    )
    assert told["assigned_partitions"] == 2 and told["ready"] == 1 and told["oldest_unflushed_age_seconds"] == 0
    assert (
        told["visit_parts_total"] >= 1 and told["inflight_bytes"] == 0 and told["end_to_end_latency_seconds_count"] > 0
    )
    assert told['rebalances_total{event="assigned"}'] >= 1
    for name in ('segment_bytes_total{file="index"}', 'segment_bytes_total{file="data"}', "disk_free_bytes"):
        assert told[name] > 0
    lines = events(process.said)
    names = [line["event"] for line in lines]
    assert set(names) >= {"listening", "started", "assigned", "sealed", "stopped"}
    assert names.index("started") < names.index("assigned") < names.index("sealed") < names.index("stopped")
    assert {row.state for row in await rows(level1_url, "SELECT state FROM segments")} == {"sealed"}
    await check_tiling(run, {0: 101, 1: 100})


def samples(text: str) -> dict[str, float]:
    """Samples of an exposition by name and labels, without the prefix."""
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("skyburst_")]
    return {name.removeprefix("skyburst_"): float(value) for name, _, value in lines}


async def test_until_idle_ends_with_1_where_a_partition_is_held_and_the_others_are_taken(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    run = on_sqlite(broker, tmp_path)
    await run.migrate()
    run.send([sent(1), sent(2, partition=1)])
    assert await once(run) == 0
    broker.delete_topic("alerts")
    broker.create_topic("alerts", 3)
    run.send([sent(3), sent(4, partition=2)])
    # In a group that nobody has just left: the embedded broker would wait for who left.
    assert await once(replace(run, group="again"), until_idle_s=0.5) == 1
    found = await rows(run.level1, "SELECT diaSourceId FROM level1")
    assert {row.diaSourceId for row in found} == {1, 2, 4}, "the new partition is read, those with a past are held"


async def test_many_topics_one_daemon_visits_add_up_and_every_packet_of_an_id_is_shown(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    topics = (topic, f"{topic}-b")
    for name in topics:
        kafka.create_topic(name, 2)
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    other = IngestRun(kafka.bootstrap, topics[1], level1_url, tmp_path / "alertdb")
    await run.migrate()
    once_more, conflict = sent(5, visit=71), sent(6, visit=71, psfFlux=3.5)
    run.send(spread([sent(k, visit=71) for k in range(1, 11)], 2))
    other.send(
        [
            *(sent(k, visit=72, detector=9) for k in range(11, 16)),
            once_more,
            conflict,
            cut(sent(16, visit=72, detector=9)),
        ]
    )
    assert await once(run, topics=topics) == 0

    query = "SELECT visit, detector, SUM(new) AS a, SUM(repeated) AS b, SUM(conflicts) AS c, SUM(quarantined) AS d"
    found = await rows(level1_url, f"{query} FROM visit_part GROUP BY visit, detector ORDER BY visit")
    assert [tuple(map(int, row)) for row in found] == [(71, 7, 10, 1, 1, 0), (72, 9, 5, 0, 0, 1)]
    repeats = await rows(level1_url, "SELECT diaSourceId, kind FROM level1_repeat ORDER BY diaSourceId")
    assert [tuple(row) for row in repeats] == [(5, "repeated"), (6, "conflict")]
    assert len(await rows(level1_url, "SELECT * FROM streams")) == 2

    called = await call(run, "alert", "6", "--all", "--format", "wire", "--output", str(tmp_path / "six"))
    assert called.code == 0, called.err
    both = {path.read_bytes() for path in (tmp_path / "six").iterdir()}
    assert both == {sent(6, visit=71).value, conflict.value}
    shown = await call(run, "alert", "6", "--all")
    assert sorted(one["standing"] for one in shown.json) == ["conflict", "first"]


async def test_a_daemon_whose_database_is_replaced_before_its_first_place_ends_and_puts_no_row_there(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka.create_topic(topic)
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    await run.migrate()
    build = running.build

    async def replaced(*told: Any) -> Parts:
        parts = await build(*told)
        await execute(level1_url, f"UPDATE schema_version SET instance = '{'f' * 32}'")
        return parts

    monkeypatch.setattr(running, "build", replaced)
    with pytest.raises(BaseExceptionGroup) as ended:
        async with living(run) as live:
            await live.ended()
    cause = leaf(ended.value)
    assert isinstance(cause, Fatal) and cause.code == "level1_instance"
    for name in ("streams", "ledger", "commits"):
        assert await rows(level1_url, f"SELECT * FROM {name}") == [], name
