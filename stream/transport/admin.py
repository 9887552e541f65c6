"""The topics that skyburst needs: made with the settings it wants, and held against them later."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType  # type: ignore[attr-defined]

from stream.alert import Stream
from stream.clock import Deadline, SystemClock
from stream.errors import Held, SkyburstError, Transient, Wrong
from stream.log import kafka_logger
from stream.transport.kafka.limits import LARGEST_MESSAGE
from stream.transport.kafka.trouble import as_error, kafka_error
from stream.transport.security import NO_SECURITY, Security

ANSWER_S = 6.0
DAY_MS = 86_400_000
ALERT_SETTINGS: Mapping[str, str] = {
    "cleanup.policy": "delete",
    "compression.type": "producer",
    "max.message.bytes": str(LARGEST_MESSAGE),
    "message.timestamp.type": "CreateTime",
    "retention.bytes": "-1",
    "retention.ms": str(7 * DAY_MS),
}
"""Of a topic with alerts: nothing compacted away, batches as they were sent, a week to be away in."""
VISIT_SETTINGS: Mapping[str, str] = {**ALERT_SETTINGS, "retention.ms": str(400 * DAY_MS)}
"""Of the topic with announcements: small, and read again after a rebuild."""


@dataclass(frozen=True, slots=True)
class TopicWish:
    """A topic as it should be."""

    name: str
    partitions: int = 4
    replication: int = 1
    settings: Mapping[str, str] = field(default_factory=lambda: dict(ALERT_SETTINGS))

    @property
    def all_settings(self) -> dict[str, str]:
        """The settings, and with three replicas or more that two must have a record before it is acknowledged."""
        return {**self.settings, **({"min.insync.replicas": "2"} if self.replication > 2 else {})}


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it is; `settings` are those that a wish may name, empty where the broker does not tell them."""

    name: str
    topic_id: str
    partitions: int
    replication: int
    settings: Mapping[str, str]

    def differs(self, wish: TopicWish) -> dict[str, tuple[str, str]]:
        """What is not as wished: name to (is, wanted). More partitions or replicas than wished are well."""
        found: dict[str, tuple[str, str]] = {}
        if self.partitions < wish.partitions:
            found["partitions"] = (str(self.partitions), str(wish.partitions))
        if self.replication < wish.replication:
            found["replication"] = (str(self.replication), str(wish.replication))
        for name, wanted in wish.all_settings.items():
            if self.settings and not _enough(name, self.settings.get(name, ""), wanted):
                found[name] = (self.settings.get(name, ""), wanted)
        return found


def _enough(name: str, is_: str, wanted: str) -> bool:
    if name in ("max.message.bytes", "min.insync.replicas"):
        return is_.isdigit() and int(is_) >= int(wanted)
    if name == "retention.ms":
        return is_ == "-1" or (is_.isdigit() and int(is_) >= int(wanted))
    return is_ == wanted


class Topics:
    """The topics of a cluster.

    Parameters
    ----------
    bootstrap
        Brokers as ``host:port,host:port``.

    Raises
    ------
    stream.errors.Wrong
        ``kafka_setting``: librdkafka refuses a setting.
    """

    def __init__(self, bootstrap: str, security: Security = NO_SECURITY) -> None:
        try:
            conf: dict[str, str | int | float | bool] = {"bootstrap.servers": bootstrap, **security.librdkafka()}
            self._admin = AdminClient(conf, logger=kafka_logger())
        except KafkaException as raised:
            raise Wrong("kafka_setting", kafka_error(raised).str(), "see the settings kafka_…") from raised

    def create(self, wish: TopicWish) -> bool:
        """Make a topic; False where there is one of that name already, whatever its settings.

        Raises
        ------
        stream.errors.SkyburstError
            ``broker_away``, ``not_authorized``, or Wrong ``topic_refused``: more replicas than brokers, a bad name.
        """
        topic = NewTopic(wish.name, wish.partitions, wish.replication, config=wish.all_settings)
        try:
            _answer(self._admin.create_topics([topic], operation_timeout=ANSWER_S)[wish.name])
        except KafkaException as raised:
            error = kafka_error(raised)
            if error.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return False
            raise _create_error(error, wish.name) from raised
        self._await(wish)
        return True

    def _await(self, wish: TopicWish) -> None:
        """A topic that was just made is not told of by every broker at once."""
        deadline = Deadline.after(SystemClock(), ANSWER_S)
        while True:
            try:
                if not self.describe(wish.name).differs(wish):
                    return
            except Held:
                pass
            if deadline.passed:
                return
            time.sleep(0.05)

    def describe(self, name: str) -> TopicState:
        """A topic as it is.

        Raises
        ------
        stream.errors.Held, stream.errors.Transient
            ``topic_gone``, ``not_authorized``; ``broker_away``.
        """
        try:
            asked = self._admin.describe_topics(TopicCollection([name]), request_timeout=ANSWER_S)
            found = _answer(asked[name])
        except KafkaException as raised:
            raise as_error(kafka_error(raised), f"asking for topic {name}") from raised
        replicas = min((len(partition.replicas) for partition in found.partitions), default=0)
        return TopicState(name, str(found.topic_id), len(found.partitions), replicas, self._settings(name))

    def stream_of(self, name: str) -> Stream:
        """The topic as it was created; errors as `describe`."""
        return Stream(self.cluster(), name, self.describe(name).topic_id)

    def cluster(self) -> str:
        """The cluster's id; errors as `describe`."""
        try:
            return str(self._admin.cluster_id(timeout=ANSWER_S))
        except KafkaException as raised:
            raise as_error(kafka_error(raised), "asking for the cluster's id") from raised

    def offsets(self, name: str, partitions: int) -> dict[int, tuple[int, int]]:
        """By partition the offset of the first record kept and of the next one to be written; errors as `describe`."""
        places = [TopicPartition(name, number) for number in range(partitions)]
        bounds: list[dict[int, int]] = []
        for spec in (OffsetSpec.earliest(), OffsetSpec.latest()):  # type: ignore[no-untyped-call]
            try:
                asked = self._admin.list_offsets(dict.fromkeys(places, spec), request_timeout=ANSWER_S)
                bounds.append({place.partition: int(_answer(one).offset) for place, one in asked.items()})
            except KafkaException as raised:
                raise as_error(kafka_error(raised), f"asking for the offsets of topic {name}") from raised
        low, high = bounds
        return {number: (low[number], high[number]) for number in range(partitions)}

    def need(self, names: Sequence[str]) -> None:
        """Raise Held ``topic_gone`` where one of the topics is not there."""
        for name in names:
            self.describe(name)

    def _settings(self, name: str) -> Mapping[str, str]:
        resource = ConfigResource(ResourceType.TOPIC, name)
        try:
            found = _answer(self._admin.describe_configs([resource], request_timeout=ANSWER_S)[resource])
        except KafkaException:
            # Not every broker tells them, nor to everybody.
            return {}
        wanted = {*ALERT_SETTINGS, "min.insync.replicas"}
        return {key: str(entry.value) for key, entry in sorted(found.items()) if key in wanted}


def _answer(asked: Future[Any]) -> Any:
    return asked.result(ANSWER_S + 5)


def _create_error(error: KafkaError, name: str) -> SkyburstError:
    meant = as_error(error, f"creating topic {name}")
    if isinstance(meant, Held) or error.retriable() or error.code() in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT):
        return meant
    return Wrong("topic_refused", meant.message) if isinstance(meant, Transient) else meant
