"""The two brokers that the transport's contract is held against, behind the few verbs that the tests need."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from doubles.ingest_run import AT_ONCE

from stream.alert import Records
from stream.local import LocalKafka
from stream.transport.embedded import EmbeddedBroker
from stream.transport.kafka import KafkaPublisher, KafkaSource
from stream.transport.source import Partition

QUICK = {"topic.metadata.refresh.interval.ms": 500, "heartbeat.interval.ms": 100}
"""Of a member that hears soon of new partitions, and of a rebalance: with the answer to its next heartbeat."""


@dataclass
class Broker:
    """A broker under test; everything opened through it is closed with it."""

    server: LocalKafka | EmbeddedBroker
    opened: list[KafkaSource | KafkaPublisher] = field(default_factory=list)
    sender: KafkaPublisher | None = None
    shared: KafkaPublisher | None = None
    """A publisher that outlives this test: a new one begins with half a second of waiting for its id."""

    @property
    def real(self) -> bool:
        return isinstance(self.server, LocalKafka)

    def create(self, topic: str, partitions: int = 1) -> None:
        self.server.create_topic(topic, partitions)

    def delete(self, topic: str) -> None:
        if isinstance(self.server, EmbeddedBroker):
            self.server.delete_topic(topic)
            return
        admin = AdminClient({"bootstrap.servers": self.server.bootstrap})
        for done in admin.delete_topics([topic], operation_timeout=30).values():
            done.result(30)

    def forget_before(self, topic: str, partition: int, offset: int) -> None:
        if isinstance(self.server, EmbeddedBroker):
            self.server.delete_records(topic, partition, offset)
            return
        admin = AdminClient({"bootstrap.servers": self.server.bootstrap})
        for done in admin.delete_records([TopicPartition(topic, partition, offset)]).values():
            done.result(10)

    def publisher(self, extra: Mapping[str, str | int] | None = None) -> KafkaPublisher:
        if self.shared is not None and extra is None:
            return self.shared
        publisher = KafkaPublisher(self.server.bootstrap, extra=extra)
        self.opened.append(publisher)
        return publisher

    def source(
        self,
        group: str,
        *,
        instance: str | None = None,
        session_timeout_ms: int = 0,
        max_poll_interval_ms: int = 60_000,
    ) -> KafkaSource:
        # The embedded broker keeps a rebalance waiting for the session's length less one second.
        session_timeout_ms = session_timeout_ms or (6000 if self.real else 1500)
        source = KafkaSource(
            self.server.bootstrap,
            group,
            instance=instance,
            session_timeout_ms=session_timeout_ms,
            max_poll_interval_ms=max_poll_interval_ms,
            extra=QUICK,
        )
        self.opened.append(source)
        return source

    def send(self, topic: str, values: Sequence[bytes | None], partition: int = 0) -> list[int]:
        """Send and return the offsets that were acknowledged; `sender` does it, by default a quick one."""
        offsets: list[int] = []
        self.sender = self.sender or self.publisher(AT_ONCE)
        for value in values:
            self.sender.send(topic, value, partition=partition, on_delivery=lambda error, _, at: offsets.append(at))
        assert self.sender.flush(20) == 0
        return offsets

    def close(self) -> None:
        for each in self.opened:
            each.close()


def from_start(partitions: Sequence[Partition]) -> Mapping[Partition, int]:
    return dict.fromkeys(partitions, 0)


def nothing(_: Sequence[Partition]) -> None:
    return None


@dataclass
class Got:
    """What a source gave, as (partition, offset, value), in order."""

    source: KafkaSource
    polls: list[Records] = field(default_factory=list)
    rows: list[tuple[int, int, bytes | None]] = field(default_factory=list)

    def until(self, enough: Callable[[], bool], within_s: float = 20.0) -> Got:
        """Poll until `enough`; fails after `within_s`."""
        limit = time.monotonic() + within_s
        while not enough():
            assert time.monotonic() < limit, f"waited {within_s} s in vain; got {len(self.rows)} records"
            self.poll()
        return self

    def poll(self, timeout_s: float = 0.05) -> None:
        for records in self.source.poll(100, timeout_s):
            self.polls.append(records)
            self.rows.extend(zip(records.partition.tolist(), records.offset.tolist(), records.values, strict=True))

    def count(self, n: int) -> Got:
        return self.until(lambda: len(self.rows) >= n)

    def of(self, partition: int) -> list[int]:
        return [offset for number, offset, _ in self.rows if number == partition]
