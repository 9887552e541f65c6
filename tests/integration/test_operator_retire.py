"""Nights that are retired go for good: packets, rows and files; what is left still verifies."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from doubles.called import call
from doubles.ingest_live import rows
from doubles.ingest_run import MJD, NIGHT, IngestRun, cut, sent

from stream.local import LocalKafka


async def test_retired_nights_leave_markers_and_the_others_stay(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    kafka.create_topic(topic)
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    await run.migrate()
    run.send([sent(1, mjd=MJD - 90), sent(2, mjd=MJD - 90)])
    assert await run.ingest() == 0
    run.send([sent(3, mjd=MJD - 90), sent(4), cut(sent(5))])
    assert await run.ingest() == 0
    done = await call(run, "level1", "retire", "--before", str(NIGHT), "--json")
    assert done.code == 0, done.err
    assert done.json["segments"] == 2 and done.json["bytes"] > 0 and done.json["partitions"]
    kept = await rows(run.level1, "SELECT diaSourceId, night FROM level1")
    assert [tuple(row) for row in kept] == [(4, NIGHT)]
    states = await rows(run.level1, "SELECT night, kind, state FROM segments ORDER BY night, kind")
    assert sum(row.state == "retired" for row in states) == 2
    old = {row.night for row in states if row.state == "retired"}.pop()
    assert [path.suffix for path in (tmp_path / "alertdb" / str(old)).iterdir()] == [".retired"] * 2
    again = await call(run, "level1", "retire", "--before", str(NIGHT), "--json")
    assert (again.code, again.json["segments"]) == (0, 0)
    assert await run.ingest(abandoned_s=0.3, sweep_after_s=0.3, heartbeat_s=0.05, until_idle_s=1.0) == 0
    assert len(list((tmp_path / "alertdb" / str(old)).iterdir())) == 2
    judged = await call(run, "verify", "--offline")
    assert judged.code == 0, judged.out + judged.err


async def test_late_alerts_of_retired_nights_go_with_the_next_retirement(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    kafka.create_topic(topic)
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    await run.migrate()
    run.send([sent(1, mjd=MJD - 60), sent(2, mjd=MJD - 60), sent(3)])
    assert await run.ingest() == 0
    assert (await call(run, "level1", "retire", "--before", str(NIGHT))).code == 0
    run.send([sent(1, mjd=MJD - 60), sent(4, mjd=MJD - 50), sent(5)])
    assert await run.ingest() == 0
    assert len(await rows(run.level1, "SELECT 1 FROM level1")) == 4
    done = await call(run, "level1", "retire", "--before", str(NIGHT), "--json")
    assert (done.code, done.json["segments"]) == (0, 2), done.err
    kept = await rows(run.level1, "SELECT diaSourceId FROM level1 ORDER BY diaSourceId")
    assert [row.diaSourceId for row in kept] == [3, 5]


async def test_a_commit_whose_nights_go_one_after_the_other_is_proven_and_rebuilt_all_the_time(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    kafka.create_topic(topic)
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    await run.migrate()
    run.send([sent(1, mjd=MJD - 60), sent(2)])
    assert await run.ingest(batch_age_s=5.0, until_idle_s=0.5) == 0
    assert len(await rows(run.level1, "SELECT 1 FROM commits")) == 1
    run.send([sent(3, mjd=MJD + 40)])
    assert await run.ingest() == 0
    for before, left in ((NIGHT, 2), (20260410, 1)):
        assert (await call(run, "level1", "retire", "--before", str(before))).code == 0
        judged = await call(run, "verify")
        assert judged.code == 0, judged.out + judged.err
        again = replace(run, level1=f"sqlite:///{tmp_path}/again-{before}.db")
        await again.migrate()
        made = await call(again, "level1", "rebuild", "--json")
        assert (made.code, made.json["alerts"]) == (0, left), made.err
        judged = await call(again, "verify")
        assert judged.code == 0, judged.out + judged.err


async def test_verify_passes_over_no_more_than_was_retired_of_a_commit(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    kafka.create_topic(topic)
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    await run.migrate()
    run.send([sent(1, mjd=MJD - 60), sent(2), sent(3, mjd=MJD + 1)])
    assert await run.ingest(batch_age_s=5.0, until_idle_s=0.5) == 0
    assert (await call(run, "level1", "retire", "--before", str(NIGHT))).code == 0
    shutil.rmtree(tmp_path / "alertdb" / str(NIGHT))
    judged = await call(run, "verify", "--json")
    assert judged.code == 1
    assert sum(one["code"] == "packet_missing" for one in judged.json["findings"]) == 1
