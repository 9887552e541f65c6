"""What is larger than any packet: records and batches that others could send, and all that lies behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from transport_brokers import Broker, Got, from_start, nothing

from stream.local import LocalKafka

MIB = 1 << 20
ZSTD = {"compression.type": "zstd", "linger.ms": 1000, "batch.size": 64 * MIB}


@pytest.fixture
def broker(kafka: LocalKafka) -> Iterator[Broker]:
    made = Broker(kafka)
    yield made
    made.close()


@pytest.mark.parametrize(("count", "size", "sends"), [(1, 28 * MIB, {}), (28, MIB, ZSTD)], ids=["record", "inflated"])
def test_what_a_broker_took_is_read_and_what_lies_behind_it_too(
    kafka: LocalKafka, broker: Broker, topic: str, count: int, size: int, sends: Mapping[str, str | int]
) -> None:
    kafka.create_topic(topic, 1, {"max.message.bytes": str(64 * MIB)})
    publisher = broker.publisher({"message.max.bytes": 64 * MIB, "queue.buffering.max.kbytes": 131072, **sends})
    for _ in range(count):
        publisher.send(topic, bytes(size))
    assert publisher.flush(20) == 0
    publisher.send(topic, b"behind")
    assert publisher.flush(20) == 0
    source = broker.source(topic)
    source.subscribe([topic], from_start, nothing, nothing)
    assert [len(value or b"") for _, _, value in Got(source).count(count + 1).rows] == [size] * count + [6]
