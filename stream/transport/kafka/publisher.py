"""Sending through librdkafka's idempotent producer, each record's fate told."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream.alert import Header
from stream.clock import Deadline, SystemClock
from stream.errors import Fatal, SkyburstError, Transient, Wrong
from stream.log import Log, kafka_logger
from stream.metrics import TRANSPORT_ERRORS
from stream.transport.kafka.limits import STOCK_SEND, SendLimits
from stream.transport.kafka.trouble import as_error, kafka_error
from stream.transport.publisher import OnDelivery
from stream.transport.security import NO_SECURITY, Security

FULL_WAIT_S = 0.05
REFUSED_TOGETHER = frozenset(
    {KafkaError.INVALID_RECORD, KafkaError.INVALID_TIMESTAMP, KafkaError._INVALID_DIFFERENT_RECORD}
)
"""What all records of a batch may be told because of one of them."""
LOG = Log("stream.transport")


@dataclass(frozen=True, slots=True)
class _Record:
    topic: str
    value: bytes | None
    key: bytes | None
    headers: tuple[Header, ...]
    timestamp_ms: int | None
    partition: int | None
    on_delivery: OnDelivery | None


class KafkaPublisher:
    """`Publisher` on a Kafka broker.

    Acknowledged means written by all in-sync replicas; retries neither double nor reorder. A broker that refuses one
    record refuses its whole batch, often without a word on which it was: each record of it is sent again, alone.

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
        self._again: deque[_Record] = deque()
        self._alone: _Record | None = None
        self._closed = False
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
        while self.busy():
            self.poll(FULL_WAIT_S)
        self._queue(_Record(topic, value, key, tuple(headers), timestamp_ms, partition, on_delivery))

    def _queue(self, record: _Record) -> None:
        if self._fatal is not None:
            raise self._fatal
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    -1 if record.partition is None else record.partition,
                    on_delivery=self._telling(record),
                    timestamp=record.timestamp_ms or 0,
                    headers=list(record.headers) or None,
                )
            except BufferError:
                self._producer.poll(FULL_WAIT_S)
                continue
            except KafkaException as raised:
                self._refused(kafka_error(raised), record)
            return

    def busy(self) -> bool:
        return bool(self._again) or self._alone is not None

    def poll(self, timeout_s: float = 0.0) -> None:
        self._producer.poll(timeout_s)
        self._send_again()

    def flush(self, timeout_s: float) -> int:
        deadline = Deadline.after(SystemClock(), timeout_s)
        left = self._producer.flush(timeout_s)
        while self._again and not deadline.passed:
            self._send_again()
            left = self._producer.flush(deadline.left())
        return left + len(self._again)

    def close(self) -> None:
        self._closed = True
        self._producer.purge()
        self._give_up(as_error(KafkaError(KafkaError._PURGE_QUEUE), "sending"))
        self._producer.flush(1.0)
        self._producer.close()

    def _send_again(self) -> None:
        """The next record that is to be sent alone, once nothing is on its way."""
        if self._again and not len(self._producer):
            self._alone = self._again.popleft()
            try:
                self._queue(self._alone)
            except Fatal as fatal:
                self._over(self._alone, fatal)

    def _telling(self, record: _Record) -> Callable[[KafkaError | None, Message], None]:
        def told(error: KafkaError | None, message: Message) -> None:
            together = self._alone is not record and not self._closed
            if error is not None and error.code() in REFUSED_TOGETHER and together:
                self._again.append(record)
                return
            number, offset = message.partition(), message.offset()
            meant = None if error is None else as_error(error, f"sending to {record.topic}")
            if isinstance(meant, Transient) and self._alone is record:
                self._give_up(meant)
            self._over(record, meant, -1 if number is None else number, -1 if error or offset is None else offset)

        return told

    def _give_up(self, error: SkyburstError) -> None:
        """Send none of those again: where nobody acknowledges, each would wait as long as the one before it."""
        left, self._again = self._again, deque()
        for record in left:
            self._over(record, error)

    def _over(self, record: _Record, error: SkyburstError | None, partition: int = -1, offset: int = -1) -> None:
        if self._alone is record:
            self._alone = None
        if record.on_delivery is not None:
            record.on_delivery(error, partition, offset)

    def _refused(self, error: KafkaError, record: _Record) -> None:
        meant = as_error(error, f"sending to {record.topic}")
        if isinstance(meant, Fatal):
            self._fatal = Fatal("publisher_failed", meant.message, "start again with --resume")
            raise self._fatal
        self._over(record, meant)

    def _client_error(self, error: KafkaError) -> None:
        TRANSPORT_ERRORS.add(code=error.name().lower())
        meant: SkyburstError = as_error(error, "sending")
        if isinstance(meant, Fatal):
            self._fatal = Fatal("publisher_failed", meant.message, "start again with --resume")
        LOG.warning("client_error", code=meant.code, detail=error.str(), librdkafka=error.name())
