"""A replay into the embedded broker, which keeps 5 MiB a partition, held back by its reader."""

from __future__ import annotations

import threading
from collections import Counter

from producers.headroom import Headroom
from producers.replay import Plan, Replay
from stream.transport.embedded import KEPT_BYTES, SAFE_UNREAD, EmbeddedBroker
from stream.transport.kafka import KafkaPublisher, KafkaSource
from stream.visit import Outgoing, Visit

PARTITIONS = 2
SIZE = 100_000
ALERTS = 4 * PARTITIONS * KEPT_BYTES // SIZE


def test_a_replay_larger_than_the_broker_keeps_arrives_whole() -> None:
    with EmbeddedBroker() as broker:
        broker.create_topic("alerts", PARTITIONS)
        source = KafkaSource(broker.bootstrap, "reader")
        source.subscribe(["alerts"], lambda given: dict.fromkeys(given, 0), lambda _: None, lambda _: None)
        done = threading.Event()
        read = dict.fromkeys(range(PARTITIONS), 0)
        found: Counter[bytes] = Counter()

        def reader() -> None:
            while not done.is_set():
                for records in source.poll(20, 0.05):
                    found.update((value or b"")[:8] for value in records.values)
                    for partition in records.partition.tolist():
                        read[partition] = source.position("alerts", partition)

        thread = threading.Thread(target=reader)
        thread.start()
        try:
            alerts = (Outgoing(None, b"%08d" % number + bytes(SIZE)) for number in range(ALERTS))
            headroom = Headroom(SAFE_UNREAD, PARTITIONS, lambda partition: read[partition])
            replay = Replay(KafkaPublisher(broker.bootstrap), Plan("r", "alerts"), headroom=headroom)
            outcome = replay.run([Visit(-1, -1, (), None, None, alerts)])
            while sum(read.values()) < ALERTS and not source.troubles():
                done.wait(0.05)
        finally:
            done.set()
            thread.join()
            source.close()
    assert outcome.complete
    assert outcome.tally.acknowledged == ALERTS
    assert found == Counter({b"%08d" % number: 1 for number in range(ALERTS)})
