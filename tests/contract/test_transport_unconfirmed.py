"""While the topics' ids are not confirmed nothing is handed out, and the group is served all the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pytest
from transport_brokers import Broker, Got, from_start, nothing

from stream.local import LocalKafka
from stream.transport.embedded import EmbeddedBroker
from stream.transport.kafka import KafkaSource
from stream.transport.source import Partition


class Ids:
    """Topic ids in front of those of a source; `confirmed` says whether all are."""

    def __init__(self, source: KafkaSource) -> None:
        self._ids, self.confirmed = source._ids, True
        source._ids = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> object:
        return getattr(self._ids, name)

    def fresh(self) -> bool:
        return self._ids.fresh() and self.confirmed


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


def test_partitions_are_given_and_taken_while_ids_are_unconfirmed_and_every_record_comes_once(
    broker: Broker, topic: str
) -> None:
    broker.create(topic, 4)
    for number in range(4):
        broker.send(topic, [b"x"] * 5, number)
    source, other = broker.source(topic), broker.source(topic)
    ids = Ids(source)
    ids.confirmed = False
    got, rest = Got(source), Got(other)
    revoked: list[Partition] = []

    def revoke(given: Sequence[Partition]) -> None:
        revoked.extend(given)

    source.subscribe([topic], from_start, revoke, nothing)
    got.until(lambda: len(source.assigned()) == 4)
    other.subscribe([topic], from_start, nothing, nothing)

    def shared() -> bool:
        rest.poll(0)
        return len(revoked) == 2 and len(other.assigned()) == 2

    got.until(shared)
    assert got.rows == [] and source.ends() == {}
    ids.confirmed = True
    got.count(10).until(lambda: len(source.ends()) == 2)
    rest.count(10).until(lambda: len(other.ends()) == 2)
    assert sorted((part, offset) for part, offset, _ in got.rows + rest.rows) == [
        (part, offset) for part in range(4) for offset in range(5)
    ]


def test_what_comes_while_ids_are_unconfirmed_is_read_again_and_placed_once_a_partition(
    broker: Broker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.create(topic, 3)
    for number in range(2):
        broker.send(topic, [b"x"] * 3, number)
    source = broker.source(topic)
    ids = Ids(source)
    source.subscribe([topic], from_start, nothing, nothing)
    got = Got(source).count(6).until(lambda: len(source.ends()) == 3)
    ids.confirmed = False
    source.pause([(topic, 1)])
    placed: list[Partition] = []
    place = source._assignment.place

    def note(offsets: Mapping[Partition, int]) -> None:
        placed.extend(offsets)
        place(offsets)

    monkeypatch.setattr(source._assignment, "place", note)
    for number in range(3):
        broker.send(topic, [b"y"] * 3, number)
    got.until(lambda: len(placed) == 2)
    for _ in range(200):
        got.poll()
        source.watermarks(topic, 0)  # the broker has time to send it again
    assert sorted(placed) == [(topic, 0), (topic, 2)] and len(got.rows) == 6
    ids.confirmed = True
    got.count(12)
    for _ in range(5):
        got.poll()
    assert (got.of(0), got.of(1), got.of(2)) == ([0, 1, 2, 3, 4, 5], [0, 1, 2], [0, 1, 2])
    source.unpause([(topic, 1)])
    assert got.count(15).of(1) == [0, 1, 2, 3, 4, 5]


def test_what_a_callback_raises_while_ids_are_unconfirmed_is_raised(broker: Broker, topic: str) -> None:
    broker.create(topic)
    source = broker.source(topic)
    Ids(source).confirmed = False

    def fail(given: Sequence[Partition]) -> Mapping[Partition, int]:
        raise ValueError("no place")

    source.subscribe([topic], fail, nothing, nothing)
    with pytest.raises(ValueError, match="no place"):
        Got(source).until(lambda: False)
