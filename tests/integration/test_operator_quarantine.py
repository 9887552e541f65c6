"""What an operator does with bad packets: list, show, re-drive once, allow more."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from doubles.called import call
from doubles.ingest_live import execute, living, rows, until
from doubles.ingest_run import NIGHT, IngestRun, Sent, cut, packet, sent

from consumers.ingest import returning
from stream import metrics
from stream.codec.sources import open_schemas
from stream.local import LocalKafka

LATER = 4242
"""The id of a schema that is published after its first packets."""
VISIT = 2026030500001


def of_later(source: int) -> Sent:
    message = sent(source)
    return Sent(b"\0" + LATER.to_bytes(4, "big") + packet(source)[5:], message.key, message.headers)


def publish(folder: Path, schema_id: int) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{schema_id}.avsc").write_text(open_schemas(None).get(1000).text)


async def made(kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path) -> IngestRun:
    kafka.create_topic(topic)
    publish(tmp_path / "schemas", 1000)
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb", schemas=str(tmp_path / "schemas"))
    await run.migrate()
    return run


async def counted(run: IngestRun) -> tuple[int, ...]:
    said = await rows(
        run.level1,
        "SELECT SUM(new) n, SUM(repeated) r, SUM(quarantined) q FROM visit_part WHERE visit = :visit",
        visit=VISIT,
    )
    return tuple(int(value) for value in said[0])


async def test_records_are_redriven_once_and_the_visit_counts_them_where_they_are(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    run = await made(kafka, topic, level1_url, tmp_path)
    messages = [sent(1), of_later(2), of_later(3), cut(sent(4)), sent(5)]
    assert await run.ingest_each([messages], schema_hold_s=0) == 0
    assert await counted(run) == (2, 0, 3)

    listed = (await call(run, "quarantine", "list", "--code", "schema_unknown", "--json")).json
    assert [row["diaSourceId"] for row in listed] == [2, 3]
    out = tmp_path / "bytes"
    shown = (await call(run, "quarantine", "show", listed[0]["record"], "--out", str(out), "--json")).json
    assert out.read_bytes() == of_later(2).value
    assert (shown["key"], dict(shown["headers"])["diaSourceId"], shown["topic"]) == ("2", "2", topic)

    still = await call(run, "quarantine", "redrive", "--all", "--json")
    assert still.code == 1
    assert [each["code"] for each in still.json["stays"]] == [
        "schema_unknown",
        "schema_unknown",
        "truncated",
    ]

    publish(tmp_path / "schemas", LATER)
    one = await call(run, "quarantine", "redrive", listed[0]["record"], "--json")
    assert one.code == 0, one.err
    assert one.json == {"taken": 1, "new": 1, "repeated": 0, "conflicts": 0, "stays": []}
    again = await call(run, "quarantine", "redrive", listed[0]["record"])
    assert again.code == 1 and again.err.count("\n") == 1
    assert f"{listed[0]['record']} is held no more: commit " in again.err
    rest = (await call(run, "quarantine", "redrive", "--all", "--json")).json
    assert (rest["taken"], [each["code"] for each in rest["stays"]]) == (1, ["truncated"])

    assert await counted(run) == (4, 0, 1)
    kept = await rows(run.level1, "SELECT diaSourceId FROM level1 ORDER BY diaSourceId")
    assert [row.diaSourceId for row in kept] == [1, 2, 3, 5]
    assert {row.state for row in await rows(run.level1, "SELECT state FROM segments")} == {"sealed"}
    assert (await call(run, "alert", "3", "--format", "wire", "-o", str(out))).code == 0
    assert out.read_bytes() == of_later(3).value
    judged = await call(run, "verify")
    assert judged.code == 0, judged.out + judged.err


async def test_records_that_are_not_held_are_named_and_the_others_taken(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    run = await made(kafka, topic, level1_url, tmp_path)
    assert await run.ingest_each([[sent(4), of_later(1), of_later(2), cut(sent(3))]], schema_hold_s=0) == 0
    first, second, third = (row["record"] for row in (await call(run, "quarantine", "list", "--json")).json)
    publish(tmp_path / "schemas", LATER)
    some = await call(run, "quarantine", "redrive", "1:0:777", first, "1:0:777", "9:9:9", "--json")
    assert (some.code, some.json["taken"], some.json["stays"]) == (1, 1, [])
    assert [line.partition(";")[0] for line in some.err.splitlines()] == [
        "skyburst: 1:0:777 is not in quarantine",
        "skyburst: 9:9:9 is not in quarantine",
    ]
    rest = await call(run, "quarantine", "redrive", first, second, third, "--json")
    assert (rest.code, rest.json["taken"], [each["record"] for each in rest.json["stays"]]) == (1, 1, [third])
    assert rest.err.startswith(f"skyburst: {first} is held no more: commit ") and rest.err.count("\n") == 1


async def test_each_header_is_shown_in_its_place_and_bytes_are_told_from_text(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    run = await made(kafka, topic, level1_url, tmp_path)
    headers = (
        ("a", b"1"),
        ("a", b"ff"),
        ("a", b"\xff"),
        ("b", None),
        ("b", "β".encode()),
        ("b", b"\x00\x1b"),
        ("b", b""),
    )
    bad = replace(cut(sent(1)), headers=headers, key=b"\xff\x00")
    assert await run.ingest_each([[bad]]) == 0
    (listed,) = (await call(run, "quarantine", "list", "--json")).json
    shown = (await call(run, "quarantine", "show", listed["record"], "--json")).json
    pairs = [["a", "1"], ["a", "ff"], ["a", {"hex": "ff"}], ["b", None], ["b", "β"], ["b", {"hex": "001b"}], ["b", ""]]
    assert (shown["headers"], shown["key"]) == (pairs, {"hex": "ff00"})
    lines = (await call(run, "quarantine", "show", listed["record"])).out.splitlines()
    (line,) = (line for line in lines if line.startswith("headers\t"))
    assert json.loads(line.partition("\t")[2]) == pairs


async def test_a_packet_that_can_be_read_is_found_and_counted_by_its_own_ids_until_it_is_redriven(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    run = await made(kafka, topic, level1_url, tmp_path)
    await execute(level1_url, "ALTER TABLE level1 MODIFY detector TINYINT")
    run.send([sent(1), Sent(packet(2, detector=200)), Sent(packet(3, dec=99.0))])
    assert await run.ingest() == 0
    assert await counted(run) == (1, 0, 2)
    listed = (await call(run, "quarantine", "list", "--visit", str(VISIT), "--json")).json
    assert [(row["diaSourceId"], row["detector"]) for row in listed] == [(2, 200), (3, 7)]
    assert [row["code"] for row in listed] == ["level1_refused", "bad_position"]
    assert (await call(run, "quarantine", "list", "--night", str(NIGHT), "--json")).json == listed
    shown = (await call(run, "alert", "3", "--all")).json
    assert [place["standing"] for place in shown] == ["quarantined"]

    await execute(level1_url, "ALTER TABLE level1 MODIFY detector SMALLINT NOT NULL")
    came = (await call(run, "quarantine", "redrive", "--all", "--json")).json
    assert (came["new"], [each["code"] for each in came["stays"]]) == (1, ["bad_position"])
    assert await counted(run) == (2, 0, 1)
    judged = await call(run, "verify")
    assert judged.code == 0, judged.out + judged.err


async def test_a_running_daemon_takes_them_by_itself_once_their_schema_appears(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(returning, "EVERY_S", 0.3)
    run = await made(kafka, topic, level1_url, tmp_path)
    run.send([sent(1), of_later(2), of_later(3), sent(4)])
    async with living(run, schema_hold_s=0) as live:

        async def taken(state: str) -> bool:
            found = await rows(run.level1, "SELECT 1 FROM quarantine WHERE state = :state", state=state)
            return len(found) == 2

        await until(lambda: taken("held"), "both are quarantined")
        publish(tmp_path / "schemas", LATER)
        await until(lambda: taken("redriven"), "both are taken")
    assert live.code == 0
    assert await counted(run) == (4, 0, 0)
    assert {row.state for row in await rows(run.level1, "SELECT state FROM segments")} == {"sealed"}


async def test_a_daemon_that_stopped_for_too_many_bad_packets_goes_on_once_more_are_allowed(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    run = await made(kafka, topic, level1_url, tmp_path)
    async with living(run, quarantine_allow=5) as live:
        run.send([cut(sent(number)) for number in range(5)])
        await until(lambda: "quarantine_limit" in live.reasons(), "it stops polling")
        assert metrics.POISON_LEFT.value() == 0
        run.send([sent(10), cut(sent(11))])
        assert (await call(run, "quarantine", "allow", "0")).code == 2
        assert (await call(run, "quarantine", "allow", "7")).code == 0
        await until(lambda: "quarantine_limit" not in live.reasons(), "it goes on")
        assert metrics.POISON_LEFT.value() in (6, 7)

        async def taken() -> bool:
            return len(await rows(run.level1, "SELECT 1 FROM level1")) == 1

        await until(taken, "what came meanwhile is taken")
    assert live.code == 0
    assert len(await rows(run.level1, "SELECT 1 FROM quarantine")) == 6
