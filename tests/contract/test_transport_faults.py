"""What happens to a source and a publisher when the broker goes, comes back, errs, or moves partitions about."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import KafkaError, Producer
from damaging_proxy import DamagingProxy
from transport_brokers import Broker, Got, from_start, nothing

from stream.errors import Fatal, SkyburstError, Wrong
from stream.local import LocalKafka
from stream.transport.embedded import FETCH, OFFSET_COMMIT, PRODUCE, EmbeddedBroker
from stream.transport.source import Partition, PartitionTrouble


@pytest.fixture
def small() -> Iterator[Broker]:
    with EmbeddedBroker() as server:
        broker = Broker(server)
        yield broker
        broker.close()


@pytest.fixture
def real(kafka: LocalKafka) -> Iterator[Broker]:
    broker = Broker(kafka)
    yield broker
    broker.close()


def server(broker: Broker) -> EmbeddedBroker:
    assert isinstance(broker.server, EmbeddedBroker)
    return broker.server


def test_records_sent_while_the_broker_is_down_are_delivered_when_it_is_up(small: Broker, topic: str) -> None:
    small.create(topic)
    source = small.source(topic)
    source.subscribe([topic], from_start, nothing, nothing)
    got = Got(source).until(lambda: len(source.ends()) == 1)
    server(small).go_down()
    told: list[SkyburstError | None] = []
    publisher = small.publisher()
    for number in range(10):
        publisher.send(topic, b"%d" % number, on_delivery=lambda error, *_: told.append(error))
    got.until(lambda: source.away() is not None)
    assert told == []
    server(small).come_up()
    assert publisher.flush(20) == 0
    assert told == [None] * 10
    got.count(10).until(lambda: source.away() is None)
    assert [value for _, _, value in got.rows] == [b"%d" % number for number in range(10)]


def test_a_topic_made_again_after_its_broker_was_restarted_is_read(tmp_path: Path, topic: str) -> None:
    kafka = LocalKafka(tmp_path).start()
    broker = Broker(kafka)
    try:
        broker.create(topic)
        kafka.restart()
        broker.send(topic, [b"old"] * 3)
        source = broker.source(topic)
        found: list[PartitionTrouble] = []
        joining: list[bool] = []
        source.subscribe([topic], from_start, lambda _: joining.append(source.joining()), nothing)
        got = Got(source).count(3)
        broker.delete(topic)
        broker.create(topic)
        broker.sender = None
        broker.send(topic, [b"new"] * 2)
        got.until(lambda: bool(found.extend(source.troubles()) or found))
        before = source.stream_of(topic)
        assert {each.code for each in found} == {"topic_recreated"}
        got.count(5)
        assert got.rows[3:] == [(0, 0, b"new"), (0, 1, b"new")]
        assert source.stream_of(topic) == before and source.assigned() == {(topic, 0)}
        assert joining == [True] and not source.joining()
    finally:
        broker.close()
        kafka.kill()


def test_errors_of_produce_requests_are_retried_in_order(small: Broker, topic: str) -> None:
    small.create(topic)
    small.sender = small.publisher()
    server(small).fail(PRODUCE, [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.REQUEST_TIMED_OUT] * 2)
    assert small.send(topic, [b"%d" % number for number in range(200)]) == list(range(200))
    source = small.source(topic)
    source.subscribe([topic], from_start, nothing, nothing)
    got = Got(source).count(200)
    assert [value for _, _, value in got.rows] == [b"%d" % number for number in range(200)]


def test_errors_of_fetches_and_commits_lose_nothing(small: Broker, topic: str) -> None:
    small.create(topic)
    small.send(topic, [b"x"] * 50)
    server(small).fail(FETCH, [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.KAFKA_STORAGE_ERROR])
    server(small).fail(OFFSET_COMMIT, [KafkaError.ILLEGAL_GENERATION])
    source = small.source(topic)
    source.subscribe([topic], from_start, nothing, nothing)
    got = Got(source).count(50)
    source.commit({(topic, 0): 50})
    for _ in range(5):
        got.poll()
    assert got.of(0) == list(range(50))


def test_a_member_whose_instance_another_process_takes_ends(real: Broker, topic: str) -> None:
    real.create(topic)
    first, second = (real.source(topic, instance="the same") for _ in range(2))
    first.subscribe([topic], from_start, nothing, nothing)
    Got(first).until(lambda: len(first.ends()) == 1)
    second.subscribe([topic], from_start, nothing, nothing)

    def beside() -> bool:
        Got(second).poll()
        return False

    with pytest.raises(Fatal) as taken:
        Got(first).until(beside)
    assert taken.value.code == "instance_taken"
    Got(second).until(lambda: len(second.ends()) == 1)


def test_a_session_that_the_broker_does_not_allow_ends_the_source_and_names_the_setting(
    real: Broker, topic: str
) -> None:
    real.create(topic)
    source = real.source(topic, session_timeout_ms=100)
    source.subscribe([topic], from_start, nothing, nothing)
    with pytest.raises(Wrong, match="set session_timeout_ms") as refused:
        Got(source).until(lambda: False)
    assert refused.value.code == "kafka_setting"


def test_holes_at_the_end_of_the_log_move_the_position(real: Broker, topic: str) -> None:
    real.create(topic)
    producer = Producer({"bootstrap.servers": real.server.bootstrap, "transactional.id": topic})
    producer.init_transactions(20)
    for commit in (True, False):
        producer.begin_transaction()
        producer.produce(topic, b"kept" if commit else b"aborted")
        producer.flush(20)
        (producer.commit_transaction if commit else producer.abort_transaction)(20)
    source = real.source(topic)
    source.subscribe([topic], from_start, nothing, nothing)
    got = Got(source).until(lambda: source.ends() == {(topic, 0): 4})
    assert got.rows == [(0, 0, b"kept")]
    assert source.position(topic, 0) == 4
    assert source.watermarks(topic, 0) == (0, 4)


def test_a_broker_that_was_killed_comes_back_to_the_same_source_and_publisher(real: Broker, topic: str) -> None:
    assert isinstance(real.server, LocalKafka)
    real.create(topic)
    real.send(topic, [b"before"] * 5)
    source = real.source(topic)
    got = Got(source)
    # The session may end meanwhile: what was read so far is the ledger.
    source.subscribe([topic], lambda given: {each: len(got.rows) for each in given}, nothing, nothing)
    got.count(5)
    real.server.kill()
    told: list[SkyburstError | None] = []
    publisher = real.publisher()
    publisher.send(topic, b"meanwhile", partition=0, on_delivery=lambda error, *_: told.append(error))
    got.until(lambda: source.away() is not None)
    real.server.start()
    assert publisher.flush(90) == 0
    assert told == [None]
    got.until(lambda: len(got.rows) == 6, within_s=90)
    assert got.of(0) == list(range(6))
    assert source.troubles() == []


class Ledger:
    """Places of partitions moved by compare-and-set, as Level-1's are."""

    def __init__(self, topic: str, partitions: int) -> None:
        self.next = {(topic, number): 0 for number in range(partitions)}
        self.kept: Counter[tuple[int, bytes]] = Counter()

    def assign(self, given: Sequence[Partition]) -> Mapping[Partition, int]:
        return {each: self.next[each] for each in given}

    def take(self, got: Got, before: Mapping[Partition, int]) -> list[Partition]:
        """Commit what `got` polled since `before`, partition by partition; those whose fence failed."""
        fenced = []
        rows, got.rows = got.rows, []
        for partition, start in before.items():
            values = [value for number, _, value in rows if number == partition[1]]
            if self.next[partition] != start:
                fenced.append(partition)
                continue
            self.kept.update((partition[1], value or b"") for value in values)
            self.next[partition] = got.source.position(*partition)
        return fenced


@pytest.mark.parametrize("kind", [pytest.param("embedded", marks=pytest.mark.long), "kafka"])
def test_a_storm_of_rebalances_and_seeks_neither_loses_nor_doubles(
    kind: str, request: pytest.FixtureRequest, topic: str, rng: np.random.Generator
) -> None:
    broker: Broker = request.getfixturevalue("real" if kind == "kafka" else "small")
    luck = random.Random(int(rng.integers(1 << 62)))
    broker.create(topic, 4)
    for number in range(4):
        broker.send(topic, [b"%d" % value for value in range(300)], number)
    ledger = Ledger(topic, 4)
    members: list[Got] = []
    limit = time.monotonic() + 120

    def turn(member: Got) -> None:
        source = member.source
        before = {each: source.position(*each) for each in source.reading()}
        for records in source.poll(luck.choice([1, 7, 40]), 0.02):
            member.rows.extend(zip(records.partition.tolist(), records.offset.tolist(), records.values, strict=True))
        still = {each: start for each, start in before.items() if each in source.reading()}
        for partition in ledger.take(member, still):
            source.seek(*partition, ledger.next[partition])
        if still and luck.random() < 0.1:
            chosen = luck.choice(sorted(still))
            source.seek(*chosen, ledger.next[chosen])

    while sum(ledger.kept.values()) < 1200:
        assert time.monotonic() < limit, f"only {sum(ledger.kept.values())} of 1200"
        if len(members) < 3 and luck.random() < 0.2:
            source = broker.source(topic)
            source.subscribe([topic], ledger.assign, nothing, nothing)
            members.append(Got(source))
        if len(members) > 1 and luck.random() < 0.03:
            leaving = members.pop(luck.randrange(len(members))).source
            leaving.close()
            broker.opened.remove(leaving)
        for member in members:
            turn(member)
    assert ledger.kept == Counter((number, b"%d" % value) for number in range(4) for value in range(300))


def test_a_batch_damaged_on_the_wire_stops_its_partition_and_is_not_stepped_over(
    small: Broker, topic: str, request: pytest.FixtureRequest
) -> None:
    small.create(topic, 2)
    small.send(topic, [b"fine"] * 3, 0)
    small.send(topic, [b"DAMAGE-ME"], 0)
    small.send(topic, [b"after"] * 3, 0)
    small.send(topic, [b"other"] * 3, 1)
    proxy = DamagingProxy(int(server(small).bootstrap.rpartition(":")[2]), b"DAMAGE-ME")
    request.addfinalizer(proxy.close)
    proxy.damage_left = 1
    server(small).advertise(proxy.port)
    source = small.source(topic)
    source.subscribe([topic], from_start, nothing, nothing)
    troubles: list[PartitionTrouble] = []
    got = Got(source).until(lambda: bool(troubles.extend(source.troubles())) or bool(troubles))
    got.until(lambda: len(got.of(1)) == 3)
    assert proxy.damaged == 1
    assert [(each.partition, each.code) for each in troubles] == [(0, "bad_batch")]
    assert got.of(0) == list(range(troubles[0].position))
    assert troubles[0].position <= 3
    source.seek(topic, 0, troubles[0].position)
    got.until(lambda: len(got.of(0)) == 7)
    assert got.of(0) == list(range(7))
    assert b"DAMAGE-ME" in [value for _, _, value in got.rows]
