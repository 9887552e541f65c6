"""The private Kafka: every listener answers to whom it should and to nobody else, and the log outlives SIGKILL."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource

from stream.errors import Fatal
from stream.local import LocalKafka
from stream.local import jars as jars_module
from stream.local.ports import free_ports


def produce(config: dict[str, Any], topic: str, values: list[bytes]) -> None:
    failures: list[Any] = []
    producer = Producer({"message.max.bytes": 11_000_000, "log_level": 0, **config})
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: failures.append(error) if error else None)
    assert producer.flush(30) == 0
    assert failures == []


def consume(config: dict[str, Any], topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer({"group.id": topic, "log_level": 0, **config})
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        return [message.value() for message in consumer.consume(count, timeout=30)]
    finally:
        consumer.close()


@pytest.fixture
def mortal(kafka: LocalKafka) -> Iterator[LocalKafka]:
    """The run's broker, which comes back whatever a test does to it."""
    yield kafka
    kafka.start()


def test_messages_are_there_after_kill_on_the_same_port(mortal: LocalKafka, topic: str) -> None:
    config = {"bootstrap.servers": mortal.bootstrap}
    mortal.create_topic(topic)
    produce(config, topic, [b"before"])
    mortal.kill()
    assert not mortal.running
    mortal.start()
    produce(config, topic, [b"after"])
    assert consume(config, topic, 2) == [b"before", b"after"]


def test_listens_on_loopback_only(kafka: LocalKafka) -> None:
    found = psutil.Process(kafka.process.pid).net_connections("inet")
    addresses = {c.laddr.ip.removeprefix("::ffff:") for c in found if c.status == psutil.CONN_LISTEN}
    assert addresses == {"127.0.0.1"}


def test_takes_a_message_of_ten_mebibytes(kafka: LocalKafka, topic: str) -> None:
    kafka.create_topic(topic)
    config = {"bootstrap.servers": kafka.bootstrap}
    produce(config, topic, [bytes(10 * 2**20)])
    assert len(consume(config, topic, 1)[0] or b"") == 10 * 2**20


def test_a_topic_has_the_partitions_asked_for_and_none_comes_by_itself(kafka: LocalKafka, topic: str) -> None:
    kafka.create_topic(topic, 3, {"retention.ms": "1234000"})
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    assert len(admin.list_topics(topic, timeout=10).topics[topic].partitions) == 3
    with pytest.raises(KafkaException, match="TOPIC_ALREADY_EXISTS"):
        kafka.create_topic(topic)
    admin.list_topics(f"{topic}-other", timeout=10)
    assert f"{topic}-other" not in admin.list_topics(timeout=10).topics


def test_a_group_of_one_second_sessions_has_its_partition_at_once(kafka: LocalKafka, topic: str) -> None:
    kafka.create_topic(topic)
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": topic,
            "session.timeout.ms": 1000,
            "heartbeat.interval.ms": 300,
        }
    )
    consumer.subscribe([topic])
    begun = time.monotonic()
    while not consumer.assignment():
        assert time.monotonic() - begun < 20
        consumer.poll(0.05)
    consumer.close()


@pytest.mark.parametrize("listener", ["TLS", "MTLS", "SCRAM"])
def test_each_encrypted_listener_takes_who_has_what_it_asks_for(
    kafka: LocalKafka, kafka_trust: Any, topic: str, listener: str
) -> None:
    kafka.create_topic(topic)
    produce(client(kafka, kafka_trust, listener), topic, [b"secret"])
    assert consume(client(kafka, kafka_trust, listener), topic, 1) == [b"secret"]


def test_each_encrypted_listener_refuses_who_lacks_it(kafka: LocalKafka, kafka_trust: Any) -> None:
    lacking = {listener: client(kafka, kafka_trust, listener) for listener in ("TLS", "MTLS", "SCRAM")}
    del lacking["TLS"]["ssl.ca.location"]
    del lacking["MTLS"]["ssl.certificate.location"], lacking["MTLS"]["ssl.key.location"]
    lacking["SCRAM"]["sasl.password"] = "wrong"
    with ThreadPoolExecutor(len(lacking)) as pool:
        asked = {name: pool.submit(AdminClient(config).list_topics, timeout=1.5) for name, config in lacking.items()}
    assert {name: type(each.exception()) for name, each in asked.items()} == dict.fromkeys(lacking, KafkaException)


def client(kafka: LocalKafka, trust: Any, listener: str) -> dict[str, Any]:
    config = {
        "bootstrap.servers": kafka.address(listener),
        "security.protocol": "SASL_SSL" if listener == "SCRAM" else "SSL",
        "ssl.ca.location": str(trust.authority),
        "log_level": 0,
    }
    if listener == "MTLS":
        config |= {"ssl.certificate.location": str(trust.certificate), "ssl.key.location": str(trust.key)}
    if listener == "SCRAM":
        config |= {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": trust.user, "sasl.password": trust.password}
    return config


def test_a_broker_that_cannot_come_up_says_why(kafka: LocalKafka, tmp_path: Path) -> None:
    """Its storage is formatted, as that of a broker that came up before; only then its settings are spoilt."""
    shutil.copy(kafka.folder / "log4j2.properties", tmp_path)
    (tmp_path / "server.json").write_text(json.dumps({"PLAINTEXT": free_ports(1)[0]}))
    settings = (kafka.folder / "server.properties").read_text().replace(str(kafka.folder), str(tmp_path))
    (tmp_path / "server.properties").write_text(settings + "num.io.threads=nonsense\n")
    with pytest.raises(Fatal, match="nonsense") as raised:
        LocalKafka(tmp_path).start()
    assert raised.value.code == "kafka_failed"


def test_a_broker_whose_port_is_taken_names_it(kafka: LocalKafka, tmp_path: Path) -> None:
    port = kafka.bootstrap.rpartition(":")[2]
    (tmp_path / "server.json").write_text(json.dumps({"PLAINTEXT": int(port)}))
    with pytest.raises(Fatal, match=f"port {port} of .* is taken"):
        LocalKafka(tmp_path).start()


def test_missing_java_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(jars_module.shutil, "which", lambda *_, **__: None)
    with pytest.raises(Fatal, match="apt-get install openjdk-17-jre-headless") as raised:
        LocalKafka(tmp_path, tmp_path / "jars").start()
    assert raised.value.code == "java_missing"


def test_what_came_is_written_to_the_disk_each_second(kafka: LocalKafka) -> None:
    asked = ConfigResource(ConfigResource.Type.BROKER, "1")
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    (told,) = admin.describe_configs([asked]).values()
    names = ("log.flush.interval.ms", "log.flush.scheduler.interval.ms")
    assert [told.result(30)[name].value for name in names] == ["1000", "500"]
