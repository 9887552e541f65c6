"""How to connect: one class for each way, so that a wrong mix cannot be written down.

Host names are always held against certificates. Secrets show as ``**********`` wherever a configuration is printed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from pydantic import SecretStr

from stream.config import Settings
from stream.errors import Wrong

Mechanism = Literal["SCRAM-SHA-512", "SCRAM-SHA-256"]


class Security(Protocol):
    """A way of connecting."""

    def librdkafka(self) -> dict[str, str]:
        """The librdkafka settings for it, secrets in clear: never to be logged."""
        ...


@dataclass(frozen=True, slots=True)
class Plaintext:
    """No encryption, no identity: loopback and closed networks."""

    def librdkafka(self) -> dict[str, str]:
        return {"security.protocol": "PLAINTEXT"}


@dataclass(frozen=True, slots=True)
class Tls:
    """Encrypted, the broker proves who it is; `ca` is a PEM file of authorities, None trusts the system's."""

    ca: Path | None = None

    def librdkafka(self) -> dict[str, str]:
        return {
            "security.protocol": "SSL",
            "ssl.endpoint.identification.algorithm": "https",
            **({} if self.ca is None else {"ssl.ca.location": str(self.ca)}),
        }


@dataclass(frozen=True, slots=True)
class MutualTls:
    """Encrypted, both sides prove who they are by certificate (PEM files)."""

    certificate: Path
    key: Path
    ca: Path | None = None
    key_password: SecretStr | None = None

    def librdkafka(self) -> dict[str, str]:
        settings = Tls(self.ca).librdkafka()
        settings["ssl.certificate.location"] = str(self.certificate)
        settings["ssl.key.location"] = str(self.key)
        if self.key_password is not None:
            settings["ssl.key.password"] = self.key_password.get_secret_value()
        return settings


@dataclass(frozen=True, slots=True)
class SaslScram:
    """A user and a password that never travels; `tls` None leaves the packets themselves in clear."""

    username: str
    password: SecretStr
    mechanism: Mechanism = "SCRAM-SHA-512"
    tls: Tls | None = field(default_factory=Tls)

    def librdkafka(self) -> dict[str, str]:
        return {
            **({} if self.tls is None else self.tls.librdkafka()),
            "security.protocol": "SASL_PLAINTEXT" if self.tls is None else "SASL_SSL",
            "sasl.mechanism": self.mechanism,
            "sasl.username": self.username,
            "sasl.password": self.password.get_secret_value(),
        }


NO_SECURITY = Plaintext()
"""What a client takes that is told nothing."""


def security_of(settings: Settings) -> Security:
    """The way of connecting that the settings ``kafka_…`` ask for.

    Raises
    ------
    stream.errors.Wrong
        ``kafka_security``: a part that the mode needs is missing.
    """
    if settings.kafka_security == "plaintext":
        return Plaintext()
    tls = Tls(settings.kafka_ca)
    if settings.kafka_security == "tls":
        return tls
    if settings.kafka_security == "mtls":
        if settings.kafka_certificate is None or settings.kafka_key is None:
            raise Wrong("kafka_security", "mtls needs kafka_certificate and kafka_key", "set both")
        return MutualTls(settings.kafka_certificate, settings.kafka_key, settings.kafka_ca, settings.kafka_key_password)
    if settings.kafka_user is None or settings.kafka_password is None:
        raise Wrong("kafka_security", "scram needs kafka_user and kafka_password", "set both")
    return SaslScram(
        settings.kafka_user,
        settings.kafka_password,
        settings.kafka_mechanism,
        tls if settings.kafka_encrypted else None,
    )
