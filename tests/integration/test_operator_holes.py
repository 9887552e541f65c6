"""What moves the ledger without a packet stands in the files, too: tombstones, and the holes of transactions."""

from __future__ import annotations

import asyncio
from pathlib import Path

from confluent_kafka import Producer
from doubles.called import call
from doubles.ingest_live import rows
from doubles.ingest_run import IngestRun, Sent, packet

from stream.local import LocalKafka


def transactions(kafka: LocalKafka, topic: str) -> None:
    """An aborted transaction of two packets, then a committed one of one."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": topic})
    producer.init_transactions(30)
    for sources, finish in (((91, 92), producer.abort_transaction), ((3,), producer.commit_transaction)):
        producer.begin_transaction()
        for source in sources:
            producer.produce(topic, packet(source), partition=0)
        producer.flush(10)
        finish(10)


async def test_tombstones_and_aborted_transactions_leave_their_ranges_in_the_files(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    kafka.create_topic(topic)
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    await run.migrate()
    run.send([Sent(None, b"1"), Sent(None, b"2")])
    assert await run.ingest() == 0
    (only,) = await rows(run.level1, "SELECT kind, records, state FROM segments")
    assert tuple(only) == ("quarantine", 0, "sealed")
    await asyncio.to_thread(transactions, kafka, topic)
    assert await run.ingest() == 0
    assert [row.diaSourceId for row in await rows(run.level1, "SELECT diaSourceId FROM level1")] == [3]
    # Two tombstones, two aborted packets and their marker, one packet and its marker.
    assert [row.next for row in await rows(run.level1, "SELECT next FROM ledger WHERE sink = 'alertdb'")] == [7]
    judged = await call(run, "verify")
    assert judged.code == 0, judged.out + judged.err
