"""A daemon warns of what can wait, and stays ready."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from doubles.ingest_live import Live, living, until
from doubles.ingest_run import NIGHT, IngestRun, sent

from consumers.ingest import last_partition
from stream.local import LocalKafka
from stream.tables.engine import open_engine
from stream.tables.nights import ensure_partitions


async def warned(live: Live) -> list[str]:
    """Codes of the warnings of a daemon, which is ready all the same."""
    status, body = await live.got("/readyz")
    assert status == 200 and json.loads(body)["ready"], body
    return [one["code"] for one in json.loads(body)["warnings"]]


async def test_rows_in_the_last_partition_are_warned_of_until_it_is_split(
    kafka: LocalKafka,
    topic: str,
    level1_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(last_partition, "LOOK_S", 0.0)
    caplog.set_level("INFO", "skyburst")
    kafka.create_topic(topic, 1)
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    await run.migrate(20251101, 20251201)
    async with living(run) as live:
        await until(live.ingest.health.ready, "ready")
        assert await warned(live) == []
        run.send([sent(1)])
        await until(live.ingest.health.warnings, "a warning")
        assert await warned(live) == ["last_partition"]
        engine = open_engine(level1_url)
        async with engine.connect() as connection:
            await ensure_partitions(connection, NIGHT)
        await engine.dispose()
        await until(lambda: not live.ingest.health.warnings(), "no warning any more")
        assert await warned(live) == []
    assert live.code == 0
    said = [record.msg for record in caplog.records if record.name.endswith("last_partition")]
    assert said == ["last_partition", "last_partition_empty"]
