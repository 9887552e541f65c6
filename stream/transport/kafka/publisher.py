"""Sending through librdkafka's idempotent producer, each record's fate told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream.alert import Header
from stream.errors import Fatal, SkyburstError, Wrong
from stream.log import Log, kafka_logger
from stream.metrics import TRANSPORT_ERRORS
from stream.transport.kafka.limits import STOCK_SEND, SendLimits
from stream.transport.kafka.trouble import as_error, kafka_error
from stream.transport.publisher import OnDelivery
from stream.transport.security import NO_SECURITY, Security

FULL_WAIT_S = 0.05
LOG = Log("stream.transport")


class KafkaPublisher:
    """`Publisher` on a Kafka broker.

    Acknowledged means written by all in-sync replicas; retries neither double nor reorder.

    Parameters
    ----------
    bootstrap
        Brokers as ``host:port,host:port``.
    extra
        Further librdkafka settings, stronger than ours.

    Raises
    ------
    stream.errors.Wrong
        ``kafka_setting``: librdkafka refuses a setting.
    """

    def __init__(
        self,
        bootstrap: str,
        security: Security = NO_SECURITY,
        *,
        limits: SendLimits = STOCK_SEND,
        extra: Mapping[str, str | int] | None = None,
    ) -> None:
        conf = {
            "bootstrap.servers": bootstrap,
            **security.librdkafka(),
            **limits.librdkafka(),
            "client.id": "skyburst",
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",
            "reconnect.backoff.max.ms": 1000,
            "enable.metrics.push": False,
            **(extra or {}),
            "error_cb": self._client_error,
        }
        self._fatal: Fatal | None = None
        try:
            self._producer = Producer(conf, logger=kafka_logger())
        except KafkaException as raised:
            raise Wrong("kafka_setting", kafka_error(raised).str(), "see the settings kafka_…") from raised

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: Sequence[Header] = (),
        timestamp_ms: int | None = None,
        partition: int | None = None,
        on_delivery: OnDelivery | None = None,
    ) -> None:
        if self._fatal is not None:
            raise self._fatal
        told = None if on_delivery is None else _telling(on_delivery, topic)
        while True:
            try:
                self._producer.produce(
                    topic,
                    value,
                    key,
                    -1 if partition is None else partition,
                    on_delivery=told,
                    timestamp=timestamp_ms or 0,
                    headers=list(headers) or None,
                )
            except BufferError:
                self._producer.poll(FULL_WAIT_S)
                continue
            except KafkaException as raised:
                self._refused(kafka_error(raised), topic, on_delivery)
            return

    def poll(self, timeout_s: float = 0.0) -> None:
        self._producer.poll(timeout_s)

    def flush(self, timeout_s: float) -> int:
        return self._producer.flush(timeout_s)

    def close(self) -> None:
        self._producer.purge()
        self._producer.flush(1.0)
        self._producer.close()

    def _refused(self, error: KafkaError, topic: str, on_delivery: OnDelivery | None) -> None:
        meant = as_error(error, f"sending to {topic}")
        if isinstance(meant, Fatal):
            self._fatal = Fatal("publisher_failed", meant.message, "start again with --resume")
            raise self._fatal
        if on_delivery is not None:
            on_delivery(meant, -1, -1)

    def _client_error(self, error: KafkaError) -> None:
        TRANSPORT_ERRORS.add(code=error.name().lower())
        meant: SkyburstError = as_error(error, "sending")
        if isinstance(meant, Fatal):
            self._fatal = Fatal("publisher_failed", meant.message, "start again with --resume")
        LOG.warning("client_error", code=meant.code, detail=error.str(), librdkafka=error.name())


def _telling(on_delivery: OnDelivery, topic: str) -> Callable[[KafkaError | None, Message], None]:
    def told(error: KafkaError | None, message: Message) -> None:
        number, offset = message.partition(), message.offset()
        meant = None if error is None else as_error(error, f"sending to {topic}")
        on_delivery(meant, -1 if number is None else number, -1 if error or offset is None else offset)

    return told
