"""Many schema versions in one topic, from every kind of source; a registry that is away, empty, or denies an id."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from doubles.ingest_live import Live, living, once, rows, until
from doubles.ingest_run import IngestRun, Sent, packet, sent
from doubles.lsst_samples import VERSIONS, sample, schema_text, sent_sample
from doubles.nursery import Nursery
from doubles.registry import registry

from stream.codec.encode import wire_head
from stream.codec.frames import WIRE_HEAD
from stream.level1.archive import AlertArchive
from stream.local import LocalKafka
from stream.transport.embedded import EmbeddedBroker


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as one:
        one.create_topic("alerts", 2)
        yield one


def on_sqlite(broker: EmbeddedBroker, tmp_path: Path, schemas: str | None = None) -> IngestRun:
    return IngestRun(broker.bootstrap, "alerts", f"sqlite:///{tmp_path}/l1.db", tmp_path / "alertdb", schemas=schemas)


async def ids(run: IngestRun) -> set[int]:
    return {row.diaSourceId for row in await rows(run.level1, "SELECT diaSourceId FROM level1")}


async def test_ten_versions_mixed_in_one_topic_each_get_a_segment_of_their_own(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    kafka.create_topic(topic, 2)
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    await run.migrate()
    pairs = [(version, 1000 * version + k) for k in range(3) for version in VERSIONS]
    messages = {source: sample(version, source) for version, source in pairs}
    run.send(Sent(value, partition=k % 2) for k, value in enumerate(messages.values()))
    assert await once(run) == 0
    found = await rows(
        level1_url, "SELECT s.schemaId, s.kind, l.* FROM level1 l JOIN segments s ON s.segment = l.segment"
    )
    assert {row.diaSourceId: row.schemaId for row in found} == {source: version for version, source in pairs}
    assert {row.kind for row in found} == {"wire"}
    assert {(row.visit, row.detector, row.band) for row in found} == {(1, 42, "r")}
    assert {(row.ra, row.dec, row.psfFlux) for row in found} == {(351.570546978, 0.126243049656, 1241.0)}
    segments = await rows(level1_url, "SELECT schemaId, fingerprint, records, state FROM segments")
    assert sorted((row.schemaId, row.records, row.state) for row in segments) == [(v, 3, "sealed") for v in VERSIONS]
    assert len({row.fingerprint for row in segments}) == len(VERSIONS)
    with AlertArchive(level1_url, str(run.alertdb), "lsst") as archive:
        assert {source: archive.message(source).value for source in messages} == messages


async def test_one_schema_under_two_ids_is_kept_in_two_segments_out_of_one_batch(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    (tmp_path / "schemas").mkdir()
    for schema_id in (1000, 2000):
        text = json.dumps(json.loads(schema_text(1000)) | {"doc": f"registered as {schema_id}"})
        (tmp_path / f"schemas/{schema_id}.avsc").write_text(text)
    run = on_sqlite(broker, tmp_path, str(tmp_path / "schemas"))
    await run.migrate()
    ids_of = {source: 1000 * (1 + source % 2) for source in range(1, 7)}
    messages = {source: wire_head(of) + packet(source)[WIRE_HEAD:] for source, of in ids_of.items()}
    run.send([Sent(value) for value in messages.values()])
    async with living(run) as live:
        await until(lambda: _has(run, set(messages)), "both ids")
    assert live.code == 0
    segments = await rows(run.level1, "SELECT schemaId, fingerprint, records FROM segments")
    assert sorted((row.schemaId, row.records) for row in segments) == [(1000, 3), (2000, 3)]
    assert len({row.fingerprint for row in segments}) == 1
    with AlertArchive(run.level1, str(run.alertdb), "lsst") as archive:
        for source, message in messages.items():
            (place,) = archive.places(source)
            assert archive.fetch_message(place).value == message
            found = archive.fetch(place)
            assert found.schema_id == ids_of[source]
            assert f"registered as {found.schema_id}" in found.schema_text


@pytest.mark.parametrize("kind", ["flat", "tree", "registry"])
async def test_schemas_come_from_a_folder_a_tree_or_a_registry(
    kind: str, broker: EmbeddedBroker, tmp_path: Path
) -> None:
    folder = tmp_path / "schemas"
    for version in (704, 1101):
        name = f"{version}.avsc" if kind != "tree" else f"{version // 100}/{version % 100}/a.alert.avsc"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(schema_text(version))
    with registry({version: schema_text(version) for version in (704, 1101)}) as served:
        run = on_sqlite(broker, tmp_path, served.url if kind == "registry" else str(folder))
        await run.migrate()
        run.send([sent_sample(704, 1), sent_sample(1101, 2), sent_sample(704, 3)])
        assert await once(run) == 0
        assert await ids(run) == {1, 2, 3}
        if kind == "registry":
            assert sorted(served.asked) == ["/schemas/ids/1101", "/schemas/ids/704"]


@pytest.mark.parametrize("how", ["down", "empty"])
async def test_what_a_registry_told_once_survives_a_restart_while_it_is_down_or_empty(
    how: str, nursery: Nursery, broker: EmbeddedBroker, tmp_path: Path
) -> None:
    with registry({1000: schema_text(1000)}) as served:
        run = on_sqlite(broker, tmp_path, served.url)
        await run.migrate()
        for source in (1, 2):
            run.send([sent(source)])
            daemon = run.start(nursery, tmp_path / f"{source}.log", "--until-idle-s", "0.2")
            assert await asyncio.to_thread(daemon.wait, 60.0) == 0, daemon.said()
            assert await ids(run) == set(range(1, source + 1))
            served.schemas, served.up = {}, how == "empty"
    assert len(list((run.alertdb / "schemas").glob("*/1000.avsc"))) == 1


async def held(live: Live, code: str) -> None:
    def said() -> bool:
        reasons = {reason.code: reason.text for reason in live.ingest.health.reasons()}
        return code in reasons.get("partition_held", "")

    await until(said, f"a partition held with {code}")


@pytest.mark.parametrize("how", ["down", "empty"])
async def test_while_the_registry_is_down_or_empty_the_partition_waits_and_the_others_go_on(
    how: str, broker: EmbeddedBroker, tmp_path: Path
) -> None:
    with registry({1000: schema_text(1000)}) as served:
        run = on_sqlite(broker, tmp_path, served.url)
        await run.migrate()
        async with living(run, schema_hold_s=0.1) as live:
            run.send([sent(1), sent(2, partition=1)])
            await until(lambda: _has(run, {1, 2}), "the first two")
            known, served.schemas = served.schemas | {1101: schema_text(1101)}, {}
            served.up = how == "empty"
            run.send([sent(3), sent_sample(1101, 4), sent(5), sent(6, partition=1)])
            await held(live, "registry_away")
            await until(lambda: _has(run, {1, 2, 3, 6}), "what comes before, and the other partition")
            run.send([sent(7, partition=1)])
            await until(lambda: _has(run, {1, 2, 3, 6, 7}), "the other partition goes on")
            assert not live.ingest.health.ready()
            served.schemas, served.up = known, True
            await until(lambda: _has(run, {1, 2, 3, 4, 5, 6, 7}), "all, once the registry is back")
            await until(live.ingest.health.ready, "ready again")
        assert live.code == 0
        assert await rows(run.level1, "SELECT * FROM quarantine") == []


async def test_a_denied_id_is_held_then_quarantined_while_known_ids_go_on(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    kafka.create_topic(topic, 2)
    with registry({1000: schema_text(1000)}) as served:
        run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb", schemas=served.url)
        await run.migrate()
        async with living(run, schema_hold_s=1.0) as live:
            run.send([sent(1), sent_sample(1101, 2), sent(3), sent(4, partition=1)])
            await held(live, "schema_unknown")
            await until(lambda: _has(run, {1, 4}), "known ids of both partitions")
            assert await rows(level1_url, "SELECT * FROM quarantine") == []
            run.send([sent(5, partition=1)])
            await until(lambda: _has(run, {1, 3, 4, 5}), "what comes behind, once the hold is over")
            await until(live.ingest.health.ready, "ready again")
        assert live.code == 0
    (row,) = await rows(level1_url, "SELECT code, schemaId, kafkaPartition, kafkaOffset, state FROM quarantine")
    assert tuple(row) == ("schema_unknown", 1101, 0, 1, "held")


async def test_many_unknown_in_a_row_hold_their_partition_instead_of_quarantining_a_night(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    folder = tmp_path / "schemas"
    folder.mkdir()
    (folder / "1000.avsc").write_text(schema_text(1000))
    run = on_sqlite(broker, tmp_path, str(folder))
    await run.migrate()
    async with living(run, schema_hold_s=0.0, schema_run=4) as live:
        run.send([sent(1), *(sent_sample(1101, 10 + k) for k in range(9)), sent(2), sent(3, partition=1)])
        await held(live, "schema_run")
        count = "SELECT COUNT(*) AS n FROM quarantine"
        assert (await rows(run.level1, count))[0].n == 4
        run.send([sent(4, partition=1)])
        await until(lambda: _has(run, {1, 3, 4}), "the other partition goes on")
        assert (await rows(run.level1, count))[0].n == 4
        (folder / "1101.avsc").write_text(schema_text(1101))
        await until(lambda: _has(run, {1, 2, 3, 4, *range(14, 19)}), "the rest, once the schema is there", 40)
    assert live.code == 0


async def _has(run: IngestRun, wanted: set[int]) -> bool:
    """Whether Level-1 has these ids; what went to quarantine for its schema may come after all."""
    found = await ids(run) - {10, 11, 12, 13}
    assert found <= wanted, found
    return found == wanted
