"""A night that was ingested is sent again from the AlertDB, byte for byte, with keys, timestamps and headers."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

from doubles.nursery import Nursery

from producers.sources.attribution import attribution_by
from producers.sources.files import visits_in_files
from stream.codec.sources import open_schemas
from stream.survey import load_survey
from stream.transport.embedded import EmbeddedBroker
from stream.transport.kafka import KafkaPublisher, KafkaSource


def messages(bootstrap: str, topic: str, partitions: int) -> Counter[Any]:
    """Value, key, headers and timestamp of everything in a topic."""
    source = KafkaSource(bootstrap, f"look-{topic}")
    source.subscribe([topic], lambda given: dict.fromkeys(given, 0), lambda _: None, lambda _: None)
    found: Counter[Any] = Counter()
    while len(source.ends()) < partitions:
        for records in source.poll(100, 0.2):
            found.update(zip(records.values, records.keys, records.headers, records.timestamp.tolist(), strict=True))
    source.close()
    return found


def test_a_stored_night_is_sent_again_exactly(nursery: Nursery, shared_data: Path, tmp_path: Path) -> None:
    def skyburst(verb: str, *arguments: str) -> None:
        called = nursery.start([verb, *arguments], env, tmp_path / f"{verb}.log")
        assert called.wait(120) == 0, called.said

    with EmbeddedBroker() as broker:
        for topic in ("first", "again"):
            broker.create_topic(topic, 2)
        broker.create_topic("visits", 1)
        told = attribution_by(load_survey("ztf"), open_schemas())
        publisher = KafkaPublisher(broker.bootstrap)
        nights: Counter[int] = Counter()
        for visit in visits_in_files([shared_data / "ztf"], told):
            for number, alert in enumerate(visit.alerts):
                nights[visit.night] += 1
                headers = (*alert.headers, ("twice", b"1"), ("twice", None))
                key = None if number % 2 else b"key %d" % number
                stamp = 1_600_000_000_000 + number if number else -1
                publisher.send("first", alert.value, key, headers, stamp)
        assert publisher.flush(20) == 0
        publisher.close()
        (tmp_path / "alertdb").mkdir()
        env = {
            **os.environ,
            "SKYBURST_BOOTSTRAP": broker.bootstrap,
            "SKYBURST_LEVEL1": f"sqlite:///{tmp_path / 'level1.db'}",
            "SKYBURST_ALERTDB": str(tmp_path / "alertdb"),
            "SKYBURST_SURVEY": "ztf",
            "XDG_STATE_HOME": str(tmp_path / "state"),
        }
        skyburst("level1", "migrate")
        skyburst("ingest", "--topic", "first", "--until-idle-s", "1", "--metrics-port", "0")
        skyburst("replay", *(f"alertdb:{night}" for night in nights), "--to", "again", "--pace", "max")
        assert messages(broker.bootstrap, "again", 2) == messages(broker.bootstrap, "first", 2)
    assert len(nights) > 1
