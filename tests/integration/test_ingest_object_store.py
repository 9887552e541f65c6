"""The AlertDB on a store that cannot append: sealed at birth, fresh objects for every put and every repeat."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from doubles.ingest_live import living, once, rows, until
from doubles.ingest_run import IngestRun, cut, sent
from obstore.store import MemoryStore
from xxhash import xxh3_128_digest

from stream.alertdb.objects import ObjectStore
from stream.errors import Transient
from stream.level1.archive import AlertArchive
from stream.local import LocalKafka
from stream.transport.embedded import EmbeddedBroker


async def test_put_segments_are_born_sealed_with_their_digests_and_packets_come_back(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    kafka.create_topic(topic, 2)
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "unused")
    await run.migrate()
    memory = MemoryStore()
    store = ObjectStore(memory)
    messages = [sent(k, partition=k % 2) for k in range(1, 41)]
    run.send([*messages, cut(sent(99))])
    assert await once(run, store=store) == 0
    segments = await rows(level1_url, "SELECT * FROM segments")
    assert {row.state for row in segments} == {"sealed"}
    assert {row.kind for row in segments} == {"wire", "quarantine"} and sum(row.records for row in segments) == 41
    held = {name: bytes(memory.get(name).bytes()) for name, _ in store.names()}
    for row in segments:
        data, index = held.pop(row.dataName), held.pop(row.indexName)
        assert (len(data), len(index)) == (row.dataLength, row.indexLength)
        assert (xxh3_128_digest(data), xxh3_128_digest(index)) == (row.digest, row.indexDigest)
    assert held == {}
    with AlertArchive(level1_url, store, "lsst") as archive:
        assert [archive.message(k).value for k in range(1, 41)] == [message.value for message in messages]


async def test_put_again_after_an_error_takes_fresh_names_and_the_orphans_are_swept(
    tmp_path: Path, monkeypatch: Any
) -> None:
    memory = MemoryStore()
    store = ObjectStore(memory)
    real, puts = store._put, []

    def put(name: str, data: bytes | memoryview) -> None:
        puts.append(name)
        if len(puts) == 2:
            raise Transient("store_away", f"{name}: no answer", "a fresh number is tried")
        real(name, data)

    monkeypatch.setattr(store, "_put", put)
    with EmbeddedBroker() as broker:
        broker.create_topic("alerts", 1)
        run = IngestRun(broker.bootstrap, "alerts", f"sqlite:///{tmp_path}/l1.db", tmp_path / "unused")
        await run.migrate()
        async with living(run, store=store, heartbeat_s=0.1, abandoned_s=0.5, sweep_after_s=0.5) as live:
            run.send([sent(1), sent(2)])

            async def two() -> bool:
                return len(await rows(run.level1, "SELECT * FROM level1")) == 2

            await until(two, "both rows")
            (segment,) = await rows(run.level1, "SELECT * FROM segments WHERE state = 'sealed'")
            assert len(puts) == len(set(puts)) == 4 and puts[2:] == [segment.dataName, segment.indexName]
            await until(lambda: {n for n, _ in store.names()} == {*puts[2:]}, "the first try's object is swept")
            swept = await rows(run.level1, "SELECT segment FROM segments WHERE state = 'swept'")
            assert len(swept) == 1
        assert live.code == 0


async def test_the_files_alone_tell_which_streams_their_ranges_are_of(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        broker.create_topic("alerts", 1)
        run = IngestRun(broker.bootstrap, "alerts", f"sqlite:///{tmp_path}/l1.db", tmp_path / "alertdb")
        await run.migrate()
        run.send([sent(1)])
        assert await once(run) == 0
    (stream,) = await rows(run.level1, "SELECT * FROM streams")
    (segment,) = await rows(run.level1, "SELECT * FROM segments")
    kept = pq.ParquetFile(run.alertdb / segment.indexName).metadata.metadata
    text = b"".join(kept.values()).decode(errors="replace")
    told = {str(stream.stream): [stream.cluster, stream.topic, stream.topicId]}
    assert json.dumps(told, separators=(",", ":"))[1:-1] in text.replace("\\", "")
