"""A partition that is paused before it is placed is not fetched from, on either broker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pytest
from transport_brokers import Broker, Got, nothing

from stream.local import LocalKafka
from stream.transport.embedded import EmbeddedBroker
from stream.transport.source import Partition


@pytest.fixture(params=["embedded", "kafka"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    server: EmbeddedBroker | LocalKafka = (
        EmbeddedBroker() if request.param == "embedded" else request.getfixturevalue("kafka")
    )
    one = Broker(server)
    yield one
    one.close()
    if isinstance(server, EmbeddedBroker):
        server.close()


def test_what_is_paused_at_its_assignment_comes_once_it_is_unpaused(broker: Broker, topic: str) -> None:
    broker.create(topic, 2)
    for number in (0, 1):
        broker.send(topic, [b"x"] * 3, number)
    source = broker.source(topic)

    def paused(given: Sequence[Partition]) -> Mapping[Partition, int]:
        source.pause([(topic, 1)])
        return dict.fromkeys(given, 0)

    source.subscribe([topic], paused, nothing, nothing)
    got = Got(source).until(lambda: (topic, 0) in source.ends())
    for _ in range(5):
        got.poll(0.1)
    assert (got.of(0), got.of(1)) == ([0, 1, 2], [])
    source.unpause([(topic, 1)])
    assert got.count(6).of(1) == [0, 1, 2]
