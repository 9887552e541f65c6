"""How far ingest has come, as a replay asks the ledger."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from producers.ledger_gate import EVERY_S, LedgerGate
from stream.alert import Stream
from stream.clock import ManualClock
from stream.tables.model import metadata, table


def test_the_gate_reads_the_places_of_this_topic_as_it_was_created(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'level1.db'}"
    engine = sa.create_engine(url)
    metadata().create_all(engine)
    streams = [
        {"stream": 1, "cluster": "c", "topic": "alerts", "topicId": "old"},
        {"stream": 2, "cluster": "c", "topic": "alerts", "topicId": "new"},
    ]
    places = [("alertdb", 1, 0, 100), ("alertdb", 2, 0, 7), ("other", 2, 1, 50), ("alertdb", 2, 2, 9)]
    rows = [dict(zip(("sink", "stream", "kafkaPartition", "next"), place, strict=True)) for place in places]
    with engine.begin() as conn:
        conn.execute(sa.insert(table("streams")), streams)
        conn.execute(sa.insert(table("ledger")), rows)
    clock = ManualClock()
    with LedgerGate(url, Stream("c", "alerts", "new"), clock=clock) as gate:
        assert [gate(partition) for partition in range(4)] == [7, 0, 9, 0]
        with engine.begin() as conn:
            conn.execute(sa.update(table("ledger")).values(next=11).where(table("ledger").c.kafkaPartition == 2))
        assert gate(2) == 9
        clock.advance(EVERY_S)
        assert gate(2) == 11
    engine.dispose()
