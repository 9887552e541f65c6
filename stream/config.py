"""Settings: typed, documented once, each a flag, an environment variable and a TOML key.

The weakest is the config file, then the environment, then flags. Secrets may also lie in a file that
``<ENVIRONMENT VARIABLE>_FILE`` names, which nobody but its owner and group may read.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import NoDecode, SettingsConfigDict

from stream.errors import Wrong
from stream.layers import HomePath, Layered, SecretUrl, at_home, env_of, flag_of, require_private


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _lasting(value: SecretUrl) -> SecretUrl:
    if value.get_secret_value().lower().startswith("memory:"):
        raise ValueError("what lies in memory goes with the process: name a folder, or an object store's URL")
    return value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class Settings(Layered):
    """What all verbs share: where the broker, the stores and the schemas are."""

    bootstrap: str | None = Field(default=None, description="Kafka brokers, host:port, comma-separated.")
    topic: Names = Field(default=(), description="Topic or topics with alerts, comma-separated.")
    level1: SecretUrl | None = Field(default=None, description="Level-1 database, a SQLAlchemy URL.")
    alertdb: Annotated[SecretUrl, BeforeValidator(at_home), AfterValidator(_lasting)] | None = Field(
        default=None, description="AlertDB: a folder, or an object store's URL."
    )
    schemas: Annotated[SecretUrl, BeforeValidator(at_home)] | None = Field(
        default=None,
        description="Writer schemas: a registry's URL, a folder, or a package; the shipped package if none.",
    )
    survey: Annotated[str, BeforeValidator(at_home)] | None = Field(
        default=None, description="A shipped survey's name, or a survey file's path."
    )
    kafka_security: Literal["plaintext", "tls", "scram", "mtls"] = Field(
        default="plaintext", description="How to speak with Kafka."
    )
    kafka_ca: HomePath | None = Field(
        default=None,
        description="CA certificates (PEM) that the brokers' are checked against; the system's if not given.",
    )
    kafka_certificate: HomePath | None = Field(default=None, description="Own certificate (PEM), for mtls.")
    kafka_key: HomePath | None = Field(default=None, description="Own private key (PEM), for mtls.")
    kafka_key_password: SecretStr | None = Field(default=None, description="Password of the private key.")
    kafka_user: str | None = Field(default=None, description="User, for scram.")
    kafka_password: SecretStr | None = Field(default=None, description="Password, for scram.")
    kafka_mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="Mechanism, for scram."
    )
    kafka_encrypted: bool = Field(
        default=True, description="Whether scram runs over TLS; off for private networks only."
    )

    @model_validator(mode="after")
    def _kafka_whole(self) -> Self:
        needed = {"scram": ("kafka_user", "kafka_password"), "mtls": ("kafka_certificate", "kafka_key")}
        for name in needed.get(self.kafka_security, ()):
            if getattr(self, name) is None:
                raise ValueError(
                    f"kafka_security is {self.kafka_security}, which needs {name} ({env_of(Settings, name)})"
                )
        if self.kafka_key is not None:
            require_private(self.kafka_key, "kafka_key")
        return self

    def value(self, name: str) -> str | None:
        """The setting `name` as a whole string, secrets included, or None where it is not set."""
        found = getattr(self, name)
        if isinstance(found, SecretStr):
            return found.get_secret_value()
        return None if found is None else str(found)

    def need(self, name: str) -> str:
        """The setting `name` as :meth:`value` gives it.

        Raises
        ------
        Wrong
            It is not set.
        """
        found = self.value(name)
        if not found:
            advice = f"give {flag_of(name)}, set {env_of(Settings, name)}, or write {name} into the config file"
            raise Wrong("setting_missing", f"{name} is not set", advice)
        return found

    def kept_schemas(self) -> Path | None:
        """Folder beside the alerts in which a registry's schemas are kept; None where the AlertDB is no folder."""
        alertdb = self.value("alertdb")
        return None if not alertdb or "://" in alertdb else Path(alertdb) / "schemas"

    def need_topics(self) -> tuple[str, ...]:
        """The topics, at least one; raises Wrong where none is set."""
        if not self.topic:
            raise Wrong("setting_missing", "no topic is set", "give --topic or set SKYBURST_TOPIC")
        return self.topic


def need_apart(visits_topic: str | None, topics: Collection[str]) -> None:
    """Hold the topic with the announcements, where there is one, against those with alerts.

    Raises
    ------
    Wrong
        ``topic_of_visits``: it is one of `topics`.
    """
    if visits_topic and visits_topic in topics:
        advice = "give alerts and announcements a topic each, or leave visits_topic empty"
        raise Wrong("topic_of_visits", f"{visits_topic} is the topic with the announcements of visits", advice)


MIB = 1 << 20


class IngestSettings(Layered):
    """What only the ingest daemon reads: the table ``[ingest]``, ``SKYBURST_INGEST_…``, the flags of its verb."""

    model_config = SettingsConfigDict(env_prefix="SKYBURST_INGEST_")
    table: ClassVar[str] = "ingest"

    group: str = Field(default="skyburst-ingest", min_length=1, description="Kafka consumer group.")
    instance: str | None = Field(
        default=None, description="Name of this instance in the group (static membership); none: dynamic."
    )
    start: Literal["earliest", "latest"] | Annotated[int, Field(ge=0)] = Field(
        default="earliest",
        description="Where to begin a partition without a ledger row: earliest, latest or an offset. One that its "
        "topic gets later begins at its start, also with latest.",
    )
    visits_topic: str = Field(default="visits", description="Topic with the announcements of visits; empty: none read.")
    batch_age_s: PositiveFloat = Field(
        default=0.1, le=60, description="Seconds after which a batch closes; on an object store 2 at least."
    )
    batch_bytes: ByteSize = Field(
        default=ByteSize(64 * MIB),
        ge=MIB,
        description="Bytes at which a batch closes; each record counts for 4 KiB more.",
    )
    inflight_bytes: ByteSize = Field(
        default=ByteSize(112 * MIB),
        ge=2 * MIB,
        description="Bytes between poll and commit beyond which polling stops: as they came, then as compressed; each "
        "record counts for 4 KiB more.",
    )
    max_packet_bytes: ByteSize = Field(
        default=ByteSize(12 * MIB),
        ge=1024,
        description="Larger packets are quarantined; above the broker's message.max.bytes.",
    )
    compress_threads: PositiveInt = Field(default=2, le=64, description="Threads that compress blocks.")
    segment_bytes: ByteSize = Field(
        default=ByteSize(1024 * MIB), ge=MIB, description="Size at which a segment is sealed."
    )
    fetch_queue_kb: PositiveInt = Field(
        default=20480, description="librdkafka's prefetch, kB (queued.max.messages.kbytes)."
    )
    session_timeout_ms: PositiveInt = Field(
        default=6000, description="Milliseconds after which a silent instance loses its partitions."
    )
    max_poll_interval_ms: PositiveInt = Field(default=300_000, description="Milliseconds that may pass between polls.")
    heartbeat_s: PositiveFloat = Field(default=5.0, description="Seconds between heartbeats in the table segments.")
    abandoned_s: PositiveFloat = Field(
        default=60.0, description="Seconds without a heartbeat after which another daemon seals a segment."
    )
    sweep_after_s: PositiveFloat = Field(
        default=300.0,
        description="Seconds that a file may lie without a row before it is swept; copying a segment must be faster.",
    )
    drain_deadline_s: PositiveFloat = Field(
        default=30.0, description="Seconds that SIGTERM leaves for what is in flight."
    )
    until_idle_s: NonNegativeFloat | None = Field(
        default=None, description="End once every position has stood at its end offset for so many seconds."
    )
    schema_hold_s: NonNegativeFloat = Field(
        default=30.0,
        description="Seconds that packets with a schema id the registry denies are held before quarantine.",
    )
    schema_run: PositiveInt = Field(
        default=100, description="So many packets in a row with an unknown schema hold their partition."
    )
    quarantine_allow: PositiveInt = Field(
        default=1000, description="Bad packets after which polling stops until `skyburst quarantine allow`."
    )
    disk_reserve_bytes: ByteSize = Field(
        default=ByteSize(1024 * MIB),
        description="Free bytes under the AlertDB's folder below which readiness is false.",
    )
    stripes: PositiveInt = Field(default=340, description="Stripes of the Qserv layout.")
    sub_stripes: PositiveInt = Field(default=3, description="Sub-stripes of a stripe.")
    overlap_deg: NonNegativeFloat = Field(default=0.01667, description="Overlap of the Qserv layout, deg.")
    numba_cache: HomePath | None = Field(
        default=None, description="Folder of the compiled kernel; the user's cache if not given."
    )
    metrics_host: str = Field(default="127.0.0.1", description="Address of /metrics, /healthz and /readyz.")
    metrics_port: int = Field(
        default=9464, ge=0, le=65535, description="Their port; 0: any free one, printed in the log."
    )

    def need_apart(self, topics: Collection[str]) -> None:
        """As the function of this name, for the setting `visits_topic`."""
        need_apart(self.visits_topic, topics)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.batch_bytes > self.inflight_bytes:
            raise ValueError("batch_bytes is more than inflight_bytes: no batch could ever close on its size")
        if self.max_packet_bytes > self.inflight_bytes:
            raise ValueError("max_packet_bytes is more than inflight_bytes: the largest packet could never be taken")
        if self.abandoned_s < 3 * self.heartbeat_s:
            raise ValueError("abandoned_s is less than three heartbeats: living daemons would lose their segments")
        return self


@dataclass(frozen=True, slots=True)
class SettingDoc:
    """One setting as documentation and ``--help`` show it; a secret has no flag but one that names its file."""

    name: str
    flag: str
    env: str
    key: str
    default: str
    doc: str
    secret: bool


def describe_settings(of: type[Layered]) -> tuple[SettingDoc, ...]:
    """Every setting of `of`, in the order of its declaration."""
    return tuple(_describe(of, name, field) for name, field in of.model_fields.items())


def _describe(of: type[Layered], name: str, field: FieldInfo) -> SettingDoc:
    secret = "SecretStr" in str(field.annotation)
    default = field.default
    shown = "" if default is None or default == () else str(default)
    if isinstance(default, ByteSize):
        shown = default.human_readable()
    return SettingDoc(
        name=name,
        flag=flag_of(name) + ("-file" if secret else ""),
        env=env_of(of, name),
        key="" if name == "config" else f"{of.table}.{name}" if of.table else name,
        default=shown,
        doc=field.description or "",
        secret=secret,
    )
