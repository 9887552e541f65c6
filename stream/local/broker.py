"""The settings of the private broker: what differs from Kafka's own, its listeners, what the encrypted ones show."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from stream.local.ports import LOOPBACK

MESSAGE_MAX_BYTES = 12 * 2**20
"""Largest record batch that the broker takes: alerts have a few MiB at most."""

DEFAULTS: Mapping[str, str] = {
    "auto.create.topics.enable": "false",
    "message.max.bytes": str(MESSAGE_MAX_BYTES),
    "replica.fetch.max.bytes": str(MESSAGE_MAX_BYTES),
    # A stock broker keeps a group's first member waiting for 3 s; crash tests need sessions of a second.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # The cleaner's default buffer is a quarter of our heap.
    "log.cleaner.dedupe.buffer.size": str(4 * 2**20),
    "log.segment.delete.delay.ms": "1000",
    # What came is written to the disk each second. The system would write half a minute of it at once, while the
    # commits of a daemon on the same disk wait.
    "log.flush.interval.ms": "1000",
    "log.flush.scheduler.interval.ms": "500",
    "num.network.threads": "2",
    "num.io.threads": "4",
    # How soon a broker that was killed is taken back by its own controller.
    "broker.heartbeat.interval.ms": "200",
    "broker.session.timeout.ms": "2000",
}
"""Broker settings beside the places and listeners; Kafka's own defaults else."""

TLS_LISTENERS = ("TLS", "MTLS", "SCRAM")
"""The encrypted listeners: server certificate only, certificates on both sides, server certificate and password."""


@dataclass(frozen=True, slots=True)
class BrokerTls:
    """What the encrypted listeners show and trust, and who may log in.

    Attributes
    ----------
    certificate
        PEM: private key and certificate chain of the broker, valid for 127.0.0.1.
    authority
        PEM: certificates of the authorities whose clients the mutual TLS listener takes.
    users
        SCRAM-SHA-512 users, name to password, made when the storage is formatted.
    """

    certificate: bytes = field(repr=False)
    authority: bytes = field(repr=False)
    users: Mapping[str, str] = field(default_factory=dict, repr=False)


def broker_settings(folder: Path, ports: Mapping[str, int], tls: BrokerTls | None) -> dict[str, str]:
    """The places and listeners of a broker that is its own controller; keys and certificates are written to `folder`.

    Parameters
    ----------
    folder
        The broker's folder.
    ports
        Port by listener: ``PLAINTEXT``, ``CONTROLLER``, and with `tls` each of `TLS_LISTENERS`.
    """
    places = [f"{name}://{LOOPBACK}:{port}" for name, port in ports.items()]
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{LOOPBACK}:{ports['CONTROLLER']}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listeners": ",".join(places),
        "advertised.listeners": ",".join(place for place in places if not place.startswith("CONTROLLER")),
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": str(folder / "data"),
    }
    if tls:
        settings["listener.security.protocol.map"] += ",TLS:SSL,MTLS:SSL,SCRAM:SASL_SSL"
        settings |= _tls_settings(folder, tls)
    return settings


def _tls_settings(folder: Path, tls: BrokerTls) -> dict[str, str]:
    own, trusted = folder / "broker.pem", folder / "authority.pem"
    for path, content in ((own, _as_pkcs8(tls.certificate)), (trusted, tls.authority)):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(own),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(trusted),
        "listener.name.mtls.ssl.client.auth": "required",
        "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.scram.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
    }


def _as_pkcs8(pem: bytes) -> bytes:
    # Java reads PKCS #8 keys only; OpenSSL and trustme also write the traditional forms.
    key = load_pem_private_key(pem, None)
    chain = pem[pem.index(b"-----BEGIN CERTIFICATE-----") :]
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + chain
