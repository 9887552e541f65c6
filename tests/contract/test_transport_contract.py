"""What `Source` and `Publisher` promise, held on a real broker and on the embedded one alike."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

import pytest
from transport_brokers import Broker, Got, from_start, nothing

from stream.errors import Held, Poison, SkyburstError, Wrong
from stream.local import LocalKafka
from stream.transport.embedded import EmbeddedBroker
from stream.transport.kafka import KafkaPublisher
from stream.transport.source import Partition, PartitionTrouble


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as server:
        yield server


@pytest.fixture(scope="module", params=["embedded", "kafka"])
def publisher(request: pytest.FixtureRequest) -> Iterator[tuple[EmbeddedBroker | LocalKafka, KafkaPublisher]]:
    """A broker, and the publisher to it of all tests here."""
    server = request.getfixturevalue(request.param)
    made = KafkaPublisher(server.bootstrap)
    yield server, made
    made.close()


@pytest.fixture
def broker(publisher: tuple[EmbeddedBroker | LocalKafka, KafkaPublisher]) -> Iterator[Broker]:
    """Of each kind; each test has topics of its own on it."""
    server, shared = publisher
    made = Broker(server, shared=shared)
    yield made
    made.close()


SLOWLY_ON_BOTH = pytest.mark.parametrize(
    "publisher", [pytest.param("embedded", marks=pytest.mark.long), "kafka"], indirect=True
)
"""For what waits for a group to notice: on the embedded broker in the long run only."""


def started(broker: Broker, topic: str, group: str | None = None) -> Got:
    source = broker.source(group or topic)
    source.subscribe([topic], from_start, nothing, nothing)
    return Got(source)


def test_a_record_comes_back_with_all_it_had(broker: Broker, topic: str) -> None:
    broker.create(topic)
    told: list[tuple[SkyburstError | None, int, int]] = []
    publisher = broker.publisher()
    headers = (("visit", b"7"), ("empty", b""), ("none", None), ("visit", b"again"))
    publisher.send(
        topic, b"\x00value", b"key\xff", headers, 1_700_000_000_123, 0, lambda *delivery: told.append(delivery)
    )
    publisher.send(topic, None, b"gone", on_delivery=lambda *delivery: told.append(delivery))
    assert publisher.flush(20) == 0
    assert told == [(None, 0, 0), (None, 0, 1)]
    got = started(broker, topic).count(2)
    records = got.polls[0]
    assert (records.topic, records.values[0], records.keys[0]) == (topic, b"\x00value", b"key\xff")
    assert records.headers[0] == headers
    assert records.timestamp[0] == 1_700_000_000_123
    assert [value for _, _, value in got.rows] == [b"\x00value", None]
    assert [key for each in got.polls for key in each.keys] == [b"key\xff", b"gone"]
    assert got.polls[-1].headers[-1] == ()


def test_order_within_a_partition_is_the_order_of_sending(broker: Broker, topic: str) -> None:
    broker.create(topic, 3)
    publisher = broker.publisher()
    for number in range(300):
        publisher.send(topic, b"%d" % number, partition=number % 3)
    assert publisher.flush(20) == 0
    rows = started(broker, topic).count(300).rows
    for partition in range(3):
        sent = [b"%d" % number for number in range(partition, 300, 3)]
        assert [(offset, value) for number, offset, value in rows if number == partition] == list(enumerate(sent))


def test_one_key_goes_to_one_partition(broker: Broker, topic: str) -> None:
    broker.create(topic, 4)
    where: list[int] = []
    publisher = broker.publisher()
    for _ in range(20):
        publisher.send(topic, b"v", b"the key", on_delivery=lambda error, partition, _: where.append(partition))
    publisher.flush(20)
    assert len(where) == 20
    assert len(set(where)) == 1


def test_reading_begins_at_the_offsets_given_at_assignment(broker: Broker, topic: str) -> None:
    broker.create(topic, 2)
    broker.send(topic, [b"a"] * 10, 0)
    broker.send(topic, [b"b"] * 10, 1)
    source = broker.source(topic)
    starts = {(topic, 0): 7, (topic, 1): 3}
    source.subscribe([topic], lambda given: {each: starts[each] for each in given}, nothing, nothing)
    got = Got(source).count(10)
    assert got.of(0) == [7, 8, 9]
    assert got.of(1) == [3, 4, 5, 6, 7, 8, 9]
    assert source.assigned() == {(topic, 0), (topic, 1)}


def test_a_partition_without_an_offset_waits_for_seek(broker: Broker, topic: str) -> None:
    broker.create(topic, 2)
    broker.send(topic, [b"a"] * 3, 0)
    broker.send(topic, [b"b"] * 3, 1)
    source = broker.source(topic)
    source.subscribe([topic], lambda given: {(topic, 0): 0}, nothing, nothing)
    got = Got(source).until(lambda: source.ends() == {(topic, 0): 3})
    assert got.of(1) == []
    assert source.assigned() == {(topic, 0), (topic, 1)}
    with pytest.raises(Wrong, match="not being read"):
        source.position(topic, 1)
    source.seek(topic, 1, 1)
    assert got.count(5).of(1) == [1, 2]


def test_the_end_is_told_and_taken_back_when_more_comes(broker: Broker, topic: str) -> None:
    broker.create(topic)
    broker.send(topic, [b"a", b"b"])
    got = started(broker, topic)
    source = got.source
    got.until(lambda: source.ends() == {(topic, 0): 2})
    assert source.position(topic, 0) == 2
    assert source.watermarks(topic, 0) == (0, 2)
    broker.send(topic, [b"c"])
    got.count(3)
    got.until(lambda: source.ends() == {(topic, 0): 3})


def test_an_empty_partition_is_at_its_end(broker: Broker, topic: str) -> None:
    broker.create(topic)
    got = started(broker, topic)
    got.until(lambda: got.source.ends() == {(topic, 0): 0})


def test_seek_reads_again_from_there(broker: Broker, topic: str) -> None:
    broker.create(topic)
    broker.send(topic, [b"%d" % number for number in range(50)])
    got = started(broker, topic).count(50)
    got.source.seek(topic, 0, 45)
    got.source.seek(topic, 0, 40)
    got.until(lambda: got.source.ends() == {(topic, 0): 50})
    assert got.of(0) == [*range(50), *range(40, 50)]
    with pytest.raises(Wrong, match="not assigned"):
        got.source.seek(topic, 5, 0)


def test_a_paused_partition_gives_nothing_until_unpaused(broker: Broker, topic: str) -> None:
    broker.create(topic, 2)
    got = started(broker, topic)
    got.until(lambda: len(got.source.ends()) == 2)
    got.source.pause([(topic, 0)])
    broker.send(topic, [b"held"] * 5, 0)
    broker.send(topic, [b"flows"] * 5, 1)
    got.count(5)
    for _ in range(5):
        got.poll()
    assert got.of(0) == []
    got.source.seek(topic, 0, 1)
    for _ in range(5):
        got.poll()
    assert got.of(0) == []
    got.source.unpause([(topic, 0)])
    assert got.count(9).of(0) == [1, 2, 3, 4]


def test_two_share_a_topic_and_each_record_goes_to_one(broker: Broker, topic: str) -> None:
    broker.create(topic, 4)
    left: list[Partition] = []
    ledger: dict[Partition, int] = {(topic, number): 0 for number in range(4)}
    first, second = broker.source(topic), broker.source(topic)
    first.subscribe([topic], lambda given: {each: ledger[each] for each in given}, left.extend, nothing)
    one, two = Got(first), Got(second)
    one.until(lambda: len(first.assigned()) == 4)
    second.subscribe([topic], lambda given: {each: ledger[each] for each in given}, nothing, nothing)

    def both() -> bool:
        two.poll(0.01)
        return len(first.assigned()) == 2 and len(second.assigned()) == 2

    one.until(both)
    assert set(left) == second.assigned()
    for number in range(4):
        broker.send(topic, [b"x"] * 25, number)
    one.count(50)
    two.count(50)
    assert {number for number, _, _ in one.rows}.isdisjoint({number for number, _, _ in two.rows})


@SLOWLY_ON_BOTH
def test_who_closes_leaves_the_partitions_to_the_other(broker: Broker, topic: str) -> None:
    broker.create(topic, 2)
    first, second = started(broker, topic), started(broker, topic)

    def shared() -> bool:
        second.poll(0.01)
        return len(first.source.assigned()) == 1 and len(second.source.assigned()) == 1

    first.until(shared)
    first.source.close()
    broker.opened.remove(first.source)
    second.until(lambda: len(second.source.assigned()) == 2)


def test_a_ledger_ahead_of_the_log_stops_that_partition_only(broker: Broker, topic: str) -> None:
    broker.create(topic, 2)
    broker.send(topic, [b"a"] * 5, 0)
    broker.send(topic, [b"b"] * 5, 1)
    source = broker.source(topic)
    source.subscribe([topic], lambda given: {(topic, 0): 9, (topic, 1): 0}, nothing, nothing)
    troubles: list[PartitionTrouble] = []
    got = Got(source).until(lambda: bool(troubles.extend(source.troubles())) or bool(troubles)).count(5)
    assert got.of(1) == [0, 1, 2, 3, 4]
    assert [(each.partition, each.code, each.position, each.missing) for each in troubles] == [
        (0, "ledger_ahead", 9, (5, 9))
    ]
    source.seek(topic, 0, 5)
    broker.send(topic, [b"later"], 0)
    assert got.count(6).of(0) == [5]
    assert source.troubles() == []


def test_expired_offsets_stop_that_partition_with_their_range(broker: Broker, topic: str) -> None:
    broker.create(topic, 2)
    broker.send(topic, [b"a"] * 10, 0)
    broker.send(topic, [b"b"] * 10, 1)
    broker.forget_before(topic, 0, 6)
    source = broker.source(topic)
    source.subscribe([topic], lambda given: {(topic, 0): 2, (topic, 1): 0}, nothing, nothing)
    troubles: list[PartitionTrouble] = []
    got = Got(source).until(lambda: bool(troubles.extend(source.troubles())) or bool(troubles)).count(10)
    assert [(each.partition, each.code, each.missing) for each in troubles] == [(0, "offsets_expired", (2, 6))]
    assert source.watermarks(topic, 0) == (6, 10)
    source.seek(topic, 0, 6)
    assert got.count(14).of(0) == [6, 7, 8, 9]


def test_a_topic_made_again_is_another_stream_and_stops(broker: Broker, topic: str) -> None:
    broker.create(topic)
    broker.send(topic, [b"old"] * 3)
    got = started(broker, topic).count(3)
    before = got.source.stream_of(topic)
    broker.delete(topic)
    broker.create(topic)
    broker.send(topic, [b"new"] * 9)
    troubles: list[PartitionTrouble] = []
    got.until(lambda: bool(troubles.extend(got.source.troubles())) or bool(troubles))
    assert {each.code for each in troubles} <= {"topic_recreated", "ledger_ahead", "topic_gone"}
    after = got.source.stream_of(topic)
    assert after.topic_id != before.topic_id
    assert after.cluster == before.cluster


def test_a_topic_that_is_not_there_is_held_at_subscribing(broker: Broker, topic: str) -> None:
    source = broker.source(topic)
    with pytest.raises(Held) as caught:
        source.subscribe([topic], from_start, nothing, nothing)
    assert caught.value.code == "topic_gone"
    with pytest.raises(Held):
        source.stream_of(topic)


def test_an_error_in_a_callback_reaches_the_caller_and_loses_nothing(broker: Broker, topic: str) -> None:
    broker.create(topic)
    broker.send(topic, [b"a"] * 5)
    source = broker.source(topic)

    def away(given: Sequence[Partition]) -> Mapping[Partition, int]:
        raise Held("ledger_away", "the ledger cannot be read")

    source.subscribe([topic], away, nothing, nothing)
    got = Got(source)
    with pytest.raises(Held, match="ledger cannot be read"):
        got.until(lambda: False, 30)
    for _ in range(5):
        got.poll()
    assert got.rows == []
    source.seek(topic, 0, 0)
    assert got.count(5).of(0) == [0, 1, 2, 3, 4]


def test_a_record_beyond_the_largest_is_told_as_undelivered(broker: Broker, topic: str) -> None:
    broker.create(topic)
    told: list[SkyburstError | None] = []
    publisher = broker.publisher()
    publisher.send(topic, bytes(11 << 20), on_delivery=lambda error, *_: told.append(error))
    publisher.send(topic, b"small", on_delivery=lambda error, *_: told.append(error))
    assert publisher.flush(20) == 0
    assert isinstance(told[0], Poison)
    assert told[0].code == "too_large"
    assert told[1:] == [None]


def test_a_topic_tells_how_many_partitions_it_has(broker: Broker, topic: str) -> None:
    broker.create(topic, 3)
    source = broker.source(topic)
    assert source.partitions(topic) == 3
    with pytest.raises(Held) as raised:
        source.partitions(f"{topic}-absent")
    assert raised.value.code == "topic_gone"


def test_a_topic_that_is_named_twice_is_read_once(broker: Broker, topic: str) -> None:
    broker.create(topic)
    broker.send(topic, [b"a", b"b"])
    source = broker.source(topic)
    source.subscribe([topic, topic], from_start, nothing, nothing)
    assert [value for _, _, value in Got(source).count(2).rows] == [b"a", b"b"]


def test_commits_are_seen_by_the_group_and_never_raise(broker: Broker, topic: str) -> None:
    broker.create(topic)
    broker.send(topic, [b"a"] * 5)
    got = started(broker, topic).count(5)
    got.source.commit({(topic, 0): 5})
    got.source.commit({("no-such-topic", 99): 1})
    got.source.commit({})
    got.poll()
    got.source.close()
    broker.opened.remove(got.source)
    again = broker.source(topic)
    assert again.committed(topic, 0) == 5


@SLOWLY_ON_BOTH
def test_a_member_that_polls_too_late_has_lost_its_partitions(broker: Broker, topic: str) -> None:
    broker.create(topic)
    lost: list[Partition] = []
    revoked: list[Partition] = []
    source = broker.source(topic, session_timeout_ms=1000, max_poll_interval_ms=1000)
    source.subscribe([topic], from_start, revoked.extend, lost.extend)
    got = Got(source).until(lambda: len(source.ends()) == 1)
    # The only way to be late is to let the time go by.
    time.sleep(2.0)
    got.until(lambda: bool(lost))
    assert (set(lost), revoked) == ({(topic, 0)}, [])
    got.until(lambda: source.assigned() == {(topic, 0)})
