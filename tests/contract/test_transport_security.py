"""Each way of connecting, against the real broker's own listener for it; and what is never shown."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from transport_brokers import Got, from_start, nothing

from stream.config import Settings
from stream.errors import SkyburstError, Transient, Wrong
from stream.transport.admin import Topics
from stream.transport.kafka import KafkaPublisher, KafkaSource
from stream.transport.security import MutualTls, Plaintext, SaslScram, Security, Tls, security_of


def ways(trust: Any) -> dict[str, Security]:
    return {
        "PLAINTEXT": Plaintext(),
        "TLS": Tls(trust.authority),
        "MTLS": MutualTls(trust.certificate, trust.key, trust.authority),
        "SCRAM": SaslScram(trust.user, SecretStr(trust.password), tls=Tls(trust.authority)),
    }


@pytest.mark.parametrize("listener", ["PLAINTEXT", "TLS", "MTLS", "SCRAM"])
def test_records_go_out_and_in_over_each_listener(kafka: Any, kafka_trust: Any, topic: str, listener: str) -> None:
    security, bootstrap = ways(kafka_trust)[listener], kafka.address(listener)
    kafka.create_topic(topic)
    told: list[SkyburstError | None] = []
    publisher = KafkaPublisher(bootstrap, security)
    for number in range(5):
        publisher.send(topic, b"%d" % number, on_delivery=lambda error, *_: told.append(error))
    assert publisher.flush(20) == 0
    publisher.close()
    assert told == [None] * 5
    source = KafkaSource(bootstrap, topic, security)
    source.subscribe([topic], from_start, nothing, nothing)
    got = Got(source).count(5)
    assert [value for _, _, value in got.rows] == [b"0", b"1", b"2", b"3", b"4"]
    assert source.stream_of(topic) == Topics(bootstrap, security).stream_of(topic)
    source.close()


WRONGLY: dict[str, tuple[str, Callable[[Any], Security]]] = {
    "no encryption": ("TLS", lambda trust: Plaintext()),
    "unknown authority": ("TLS", lambda trust: Tls()),
    "no certificate": ("MTLS", lambda trust: Tls(trust.authority)),
    "wrong password": (
        "SCRAM",
        lambda trust: SaslScram(trust.user, SecretStr("guessed"), tls=Tls(trust.authority)),
    ),
    "unknown user": (
        "SCRAM",
        lambda trust: SaslScram("nobody", SecretStr(trust.password), tls=Tls(trust.authority)),
    ),
}
ELSEWHERE = "a certificate for another host"


@pytest.fixture(scope="module")
def told(kafka: Any, kafka_trust: Any) -> dict[str, list[SkyburstError | None]]:
    """What publishers were told that came wrongly, all at the same time: each tries for as long as it may."""
    topic = f"wrongly-{uuid.uuid4().hex}"
    kafka.create_topic(topic)
    # The broker's certificate names 127.0.0.1 and localhost only.
    ways = {ELSEWHERE: (kafka.address("TLS").replace("127.0.0.1", "127.0.0.2"), Tls(kafka_trust.authority))}
    ways |= {name: (kafka.address(listener), wrong(kafka_trust)) for name, (listener, wrong) in WRONGLY.items()}
    found: dict[str, list[SkyburstError | None]] = {name: [] for name in ways}
    publishers = {name: KafkaPublisher(*way, extra={"message.timeout.ms": 1500}) for name, way in ways.items()}
    for name, publisher in publishers.items():
        publisher.send(topic, b"x", on_delivery=lambda error, *_, name=name: found[name].append(error))
    for publisher in publishers.values():
        publisher.flush(15)
        publisher.close()
    return found


@pytest.mark.parametrize("how", WRONGLY)
def test_who_comes_wrongly_gets_nothing_and_is_told(told: dict[str, list[SkyburstError | None]], how: str) -> None:
    (error,) = told[how]
    assert isinstance(error, Transient)


def test_a_certificate_for_another_host_is_refused(told: dict[str, list[SkyburstError | None]]) -> None:
    (error,) = told[ELSEWHERE]
    assert error is not None


def test_secrets_are_not_in_what_is_printed() -> None:
    password, key_password = SecretStr("hunter2"), SecretStr("opensesame")
    for way in (
        SaslScram("alice", password),
        MutualTls(Path("c.pem"), Path("k.pem"), key_password=key_password),
    ):
        assert "hunter2" not in f"{way!r} {way}"
        assert "opensesame" not in f"{way!r} {way}"
    assert SaslScram("alice", password).librdkafka()["sasl.password"] == "hunter2"


def test_settings_choose_the_way(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("")
    key.chmod(0o600)
    password = SecretStr("p")
    for settings, way in (
        (Settings(), Plaintext()),
        (Settings(kafka_security="tls", kafka_ca=Path("a")), Tls(Path("a"))),
        (
            Settings(kafka_security="mtls", kafka_certificate=Path("c"), kafka_key=key),
            MutualTls(Path("c"), key),
        ),
        (
            Settings(kafka_security="scram", kafka_user="u", kafka_password=password),
            SaslScram("u", password),
        ),
        (
            Settings(kafka_security="scram", kafka_user="u", kafka_password=password, kafka_encrypted=False),
            SaslScram("u", password, tls=None),
        ),
    ):
        assert security_of(settings) == way
    assert SaslScram("u", password, tls=None).librdkafka()["security.protocol"] == "SASL_PLAINTEXT"


def test_an_authority_that_vanished_is_told_where_a_consumer_is_made_anew(kafka_trust: Any, tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_bytes(kafka_trust.authority.read_bytes())
    source = KafkaSource("127.0.0.1:1", "group", Tls(authority))
    authority.unlink()
    with pytest.raises(Wrong) as caught:
        source._begin_anew()
    assert caught.value.code == "kafka_setting"
    source.close()


def test_an_authority_that_cannot_be_read_is_wrong_use(tmp_path: Path) -> None:
    for make in (KafkaSource, KafkaPublisher):
        with pytest.raises(Wrong) as caught:
            make("127.0.0.1:1", *(["group"] if make is KafkaSource else []), Tls(tmp_path / "absent.pem"))
        assert caught.value.code == "kafka_setting"
    with pytest.raises(Wrong):
        Topics("127.0.0.1:1", Tls(tmp_path / "absent.pem"))
