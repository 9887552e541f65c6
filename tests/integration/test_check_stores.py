"""`skyburst check` names the first dependency that fails, and what to do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from doubles.called import Called, call, call_away
from doubles.ingest_run import IngestRun

from stream.local import LocalKafka, LocalMariadb
from stream.tables.nights import night_of


def verdicts(called: Called) -> dict[str, str]:
    return {row["check"]: row["verdict"] for row in called.json}


async def test_check_passes_on_what_is_well_and_names_what_is_not(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    kafka.create_topic(topic, 2)
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    missing = await call(run, "check", "--json")
    assert missing.code == 1
    found = {row["check"]: row for row in missing.json}
    assert found["level1"]["what"].startswith("level1_version") and "migrate" in found["level1"]["do"]
    assert found["level1 rights"]["verdict"] == "unasked"
    today = datetime.now(UTC).date()
    await run.migrate(night_of(today), night_of(today + timedelta(days=60)))
    well = await call(run, "check", "--json")
    assert well.code == 0, well.out + well.err
    told = verdicts(well)
    # The test's user may do anything, and the test's server does not sync each commit.
    assert told.pop("level1 rights") == "warn" and told.pop("level1 session") in ("ok", "warn")
    assert set(told.values()) == {"ok"}
    assert not [path for path in (tmp_path / "alertdb").rglob("*") if path.is_file()]


async def test_check_says_so_where_a_commit_would_not_fit_into_a_statement(
    mariadb: LocalMariadb, level1_url: str, tmp_path: Path
) -> None:
    run = IngestRun("127.0.0.1:1", "alerts", level1_url, tmp_path / "alertdb")
    await run.migrate()
    usual = mariadb.execute("SELECT @@GLOBAL.max_allowed_packet")[0][0]
    mariadb.execute("SET GLOBAL max_allowed_packet = 1048576")
    try:
        called = await call_away(run, "check", "--json")
    finally:
        mariadb.execute(f"SET GLOBAL max_allowed_packet = {usual}")
    found = {row["check"]: row for row in called.json}["level1 session"]
    assert found["verdict"] == "fails" and found["what"].startswith("level1_packet") and "16M" in found["do"]


async def test_check_ends_with_3_where_a_server_is_away_and_with_1_where_a_setting_cannot_work(
    kafka: LocalKafka, topic: str, tmp_path: Path
) -> None:
    kafka.create_topic(topic)
    run = IngestRun(kafka.bootstrap, topic, f"sqlite:///{tmp_path}/level1.db", tmp_path / "alertdb")
    await run.migrate()
    assert (await call(run, "check")).code == 0
    away = await call_away(run, "check", "--json")
    assert away.code == 3
    assert (verdicts(away)["broker"], verdicts(away)[f"topic {topic}"]) == ("fails", "unasked")
    small = await call(run, "check", SKYBURST_INGEST_MAX_PACKET_BYTES="100000")
    assert small.code == 1 and "max_packet_bytes" in small.err
    gone = await call(run, "check", SKYBURST_TOPIC=topic + "-not-there")
    assert gone.code == 1 and "topic_gone" in gone.err
    (tmp_path / "file").write_text("")
    folder = await call(run, "check", SKYBURST_ALERTDB=str(tmp_path / "file"))
    assert folder.code in (1, 3) and "alertdb" in folder.err
    full = await call(run, "check", SKYBURST_INGEST_DISK_RESERVE_BYTES=str(1 << 60))
    assert full.code == 1 and "disk_reserve_bytes" in full.err


async def test_check_writes_what_a_store_takes_that_cannot_append(tmp_path: Path) -> None:
    run = IngestRun("127.0.0.1:1", "alerts", f"sqlite:///{tmp_path}/level1.db", tmp_path / "unused")
    await run.migrate()
    called = await call_away(run, "check", "--json", SKYBURST_ALERTDB=f"file://{tmp_path}/objects")
    found = {row["check"]: row for row in called.json}["alertdb"]
    assert found["verdict"] == "ok", found
    assert not [path for path in (tmp_path / "objects").rglob("*") if path.is_file()]
