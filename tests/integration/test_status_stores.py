"""`skyburst status` says where everything stands, also while the broker is away."""

from __future__ import annotations

from pathlib import Path

from doubles.called import call, call_away
from doubles.ingest_live import execute, living, rows, until
from doubles.ingest_run import NIGHT, IngestRun, cut, sent

from stream.local import LocalKafka


async def test_status_tells_partitions_segments_quarantine_and_daemons_with_and_without_a_broker(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    kafka.create_topic(topic, 2)
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    await run.migrate()
    before = await call(run, "status", "--json")
    assert before.code == 0, before.err
    assert [(row["next"], row["logEnd"]) for row in before.json["partitions"]] == [(None, 0), (None, 0)]
    async with living(run):
        run.send([sent(1), sent(2, partition=1), cut(sent(3))])

        async def taken() -> bool:
            found = "SELECT 1 FROM quarantine UNION ALL SELECT 1 FROM level1"
            return len(await rows(run.level1, found)) == 3

        await until(taken, "all are taken")
        live = (await call(run, "status", "--json")).json
    assert len(live["daemons"]) == 1
    assert {row["state"] for row in live["segments"]} == {"open"}
    run.send([sent(4), sent(5)])
    said = await call(run, "status", "--json")
    assert said.code == 0, said.err
    found = said.json
    assert found["broker"] == "answers"
    assert [(r["partition"], r["next"], r["logEnd"], r["lag"], r["held"]) for r in found["partitions"]] == [
        (0, 2, 4, 2, ""),
        (1, 1, 1, 0, ""),
    ]
    assert found["quarantine"] == [{"code": "truncated", "state": "held", "records": 1}]
    assert {(row["kind"], row["state"], row["records"]) for row in found["segments"]} == {
        ("wire", "sealed", 2),
        ("quarantine", "sealed", 1),
    }
    assert {row["night"] for row in found["segments"] if row["kind"] == "wire"} == {NIGHT}
    assert found["daemons"] == [] and found["lastCommitAge"] < 60
    table = await call(run, "status")
    assert table.code == 0 and "truncated\theld\t1" in table.out
    away = await call_away(run, "status", "--json")
    assert away.code == 0 and away.json["broker"].startswith("unreachable")
    assert [row["next"] for row in away.json["partitions"]] == [2, 1]
    await execute(run.level1, "UPDATE ledger SET next = 9 WHERE kafkaPartition = 1")
    held = await call(run, "status", "--json")
    assert held.code == 1
    assert [(r["held"], r["missing"]) for r in held.json["partitions"]] == [("", None), ("ledger_ahead", [1, 9])]
    typo = await call(run, "status", "--topic", "mistyped", "--json")
    assert [(r["topic"], r["partition"], r["held"]) for r in typo.json["partitions"] if r["topic"] != topic] == [
        ("mistyped", -1, "topic_gone")
    ]
    await execute(run.level1, "UPDATE schema_version SET major = 9")
    later = await call(run, "status")
    assert (later.code, later.out) == (1, "")
    assert "Level-1 has version 9" in later.err
