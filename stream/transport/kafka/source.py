"""A share of a topic's partitions through librdkafka's consumer: classic group protocol, cooperative."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from stream.alert import Records, Stream
from stream.clock import Clock, SystemClock
from stream.errors import Fatal, SkyburstError, Wrong
from stream.log import Log, kafka_logger
from stream.metrics import KAFKA_COMMIT_FAILURES, TRANSPORT_ERRORS
from stream.transport.kafka.assignment import Assignment, partitions_of
from stream.transport.kafka.columns import records_of
from stream.transport.kafka.limits import MIB, STOCK_FETCH, FetchLimits
from stream.transport.kafka.member import member_settings
from stream.transport.kafka.topic_ids import TopicIds
from stream.transport.kafka.trouble import as_error, kafka_error, outside_log, trouble_code
from stream.transport.security import NO_SECURITY, Security
from stream.transport.source import OnAssign, OnLeave, Partition, PartitionTrouble, TroubleCode

CHUNK = 16
ASK_S = 5.0
SYSTEM_CLOCK = SystemClock()
LOG = Log("stream.transport")


class KafkaSource:
    """`Source` on a Kafka broker.

    Parameters
    ----------
    bootstrap
        Brokers as ``host:port,host:port``.
    group
        Name of the consumer group.
    instance
        Name of this member, the same at each start of it (static membership); None is a new member each time.
    session_timeout_ms
        Milliseconds of silence after which the group gives our partitions to others.
    max_poll_interval_ms
        Milliseconds between two polls after which it does so too.
    extra
        Further librdkafka settings, stronger than ours.

    Raises
    ------
    stream.errors.Wrong
        ``kafka_setting``: librdkafka refuses a setting, e.g. a certificate that it cannot read.
    """

    def __init__(
        self,
        bootstrap: str,
        group: str,
        security: Security = NO_SECURITY,
        *,
        instance: str | None = None,
        limits: FetchLimits = STOCK_FETCH,
        session_timeout_ms: int = 6000,
        max_poll_interval_ms: int = 300_000,
        clock: Clock = SYSTEM_CLOCK,
        extra: Mapping[str, str | int] | None = None,
    ) -> None:
        common: dict[str, str | int | float | bool] = {"bootstrap.servers": bootstrap, **security.librdkafka()}
        conf = {
            **common,
            **member_settings(group, instance, session_timeout_ms, max_poll_interval_ms),
            **limits.librdkafka(),
            **(extra or {}),
            "error_cb": self._client_error,
            "on_commit": self._committed,
        }
        self._conf = conf
        self._join: Callable[[], None] = lambda: None
        self._joining = False
        self._group = group
        self._away: str | None = None
        self._failed: BaseException | None = None
        self._troubles: list[PartitionTrouble] = []
        with _settings():
            self._consumer = Consumer(conf, logger=kafka_logger())
            admin = AdminClient(common, logger=kafka_logger())
        self._assignment = Assignment(self._consumer)
        self._ids = TopicIds(admin, clock)

    def subscribe(self, topics: Sequence[str], on_assign: OnAssign, on_revoke: OnLeave, on_lost: OnLeave) -> None:
        # librdkafka refuses a topic that is named twice.
        names = list(dict.fromkeys(topics))
        for topic in names:
            self._ids.learn(topic)
        self._join = lambda: self._consumer.subscribe(
            names,
            on_assign=lambda _, given: self._gain(on_assign, partitions_of(given)),
            on_revoke=lambda _, given: self._leave(on_revoke, partitions_of(given)),
            on_lost=lambda _, given: self._leave(on_lost, partitions_of(given)),
        )
        self._join()

    def _begin_anew(self) -> None:
        """With a new consumer: of a topic that was made again librdkafka keeps the leader epochs of the one before.

        It fetches with them, is told that the broker's are older, and tries the same for ever without a word.
        """
        LOG.info("consumer_renewed", code="topic_recreated")
        with _settings():
            fresh = Consumer(self._conf, logger=kafka_logger())
        self._joining = True
        self._consumer.close()
        self._consumer = fresh
        self._assignment = Assignment(self._consumer)
        self._join()

    def poll(self, max_records: int, timeout_s: float, max_bytes: int = 16 * MIB) -> list[Records]:
        if self._ids.changed():
            self._begin_anew()
            self._raise_failed()
        fresh = self._ids.fresh()
        self._stop_broken()
        if not fresh:
            self._serve_group()
            self._ids.wait(timeout_s)
            return []
        self._away = None
        self._assignment.open()
        messages = self._take(max_records, timeout_s, max_bytes)
        stale = set(self._assignment.moved)
        if self._failed is not None:
            stale.update(map(_place_of, messages))
        if stale:
            messages = [each for each in messages if _place_of(each) not in stale]
            self._read_again(stale)
        self._raise_failed()
        return records_of(messages, self._assignment, self._message_error)

    def _serve_group(self) -> None:
        """Give and take partitions while nothing may be handed out; what comes meanwhile is read again later."""
        # Asked for no message, librdkafka counts a poll and serves no callback: the whole group would wait for us.
        for message in self._consumer.consume(1, 0):
            error, partition = message.error(), _place_of(message)
            if error is not None and partition[1] < 0:
                self._message_error(message, error)
            else:
                # Errors of a partition come again, too. Each is shut at its first message, not placed at each.
                self._assignment.shut([partition])
        self._raise_failed()

    def _raise_failed(self) -> None:
        if self._failed is not None:
            failed, self._failed = self._failed, None
            raise failed

    def _take(self, max_records: int, timeout_s: float, max_bytes: int) -> list[Message]:
        messages = self._consumer.consume(1, timeout_s)
        # A rebalance inside that call came before its one message. Inside the calls below its place among the
        # messages cannot be told, and what was taken of the partitions that moved is read again.
        self._assignment.moved.clear()
        size = largest = sum(map(len, messages))
        while messages and len(messages) < max_records and size < max_bytes:
            # No more than fit if all are like the largest so far: a chunk of 4 MiB packets would be the whole queue.
            fit = max(1, (max_bytes - size) // max(1, largest))
            more = self._consumer.consume(min(CHUNK, max_records - len(messages), fit), 0)
            if not more:
                break
            sizes = [len(each) for each in more]
            size, largest = size + sum(sizes), max(largest, *sizes)
            messages += more
        return messages

    def _read_again(self, partitions: Collection[Partition]) -> None:
        places = {each: self._assignment.position(each) for each in partitions}
        self._assignment.place({each: offset for each, offset in places.items() if offset is not None})

    def _gain(self, told: OnAssign, partitions: Sequence[Partition]) -> None:
        self._joining = False
        self._assignment.own(partitions)
        offsets: Mapping[Partition, int] = {}
        try:
            offsets = told(partitions)
        except BaseException as error:
            self._failed = error
        # Also with nothing to place: without the call librdkafka would assign by itself, at Kafka's own offsets.
        self._assignment.place({each: offsets[each] for each in partitions if each in offsets})

    def _leave(self, told: OnLeave, partitions: Sequence[Partition]) -> None:
        try:
            told(partitions)
        except BaseException as error:
            self._failed = error
        self._assignment.lose(partitions)

    def ends(self) -> dict[Partition, int]:
        return dict(self._assignment.ends)

    def position(self, topic: str, partition: int) -> int:
        """As promised by `Source`; raises Wrong ``not_assigned`` where the partition is not being read."""
        position = self._assignment.position((topic, partition))
        if position is None:
            raise Wrong("not_assigned", f"{topic}[{partition}] is not being read here")
        return position

    def watermarks(self, topic: str, partition: int, timeout_s: float = ASK_S) -> tuple[int, int]:
        """As promised by `Source`; raises Transient ``broker_away``, Held ``topic_gone``."""
        try:
            return self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=timeout_s)
        except KafkaException as raised:
            raise as_error(kafka_error(raised), f"asking for the offsets of {topic}[{partition}]") from raised

    def partitions(self, topic: str) -> int:
        try:
            found = self._consumer.list_topics(topic, timeout=ASK_S).topics[topic]
        except KafkaException as raised:
            raise as_error(kafka_error(raised), f"asking for the partitions of {topic}") from raised
        if found.error is not None:
            raise as_error(found.error, f"asking for the partitions of {topic}")
        return len(found.partitions)

    def troubles(self) -> list[PartitionTrouble]:
        found, self._troubles = self._troubles, []
        return found

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """As promised by `Source`; raises Wrong ``not_assigned`` where the partition is not ours."""
        if (topic, partition) not in self._assignment.owned:
            raise Wrong("not_assigned", f"{topic}[{partition}] is not assigned here")
        self._assignment.place({(topic, partition): offset})

    def pause(self, partitions: Collection[Partition]) -> None:
        self._assignment.pause(partitions)

    def unpause(self, partitions: Collection[Partition]) -> None:
        self._assignment.resume(partitions)

    def assigned(self) -> frozenset[Partition]:
        return frozenset(self._assignment.owned)

    def reading(self) -> frozenset[Partition]:
        return self._assignment.placed()

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        given = [TopicPartition(topic, number, offset) for (topic, number), offset in offsets.items()]
        try:
            self._consumer.commit(offsets=given, asynchronous=True)
        except KafkaException as raised:
            self._committed(kafka_error(raised), given)

    def committed(self, topic: str, partition: int) -> int | None:
        """What the group told Kafka last, for lag tools; None where nothing."""
        try:
            (found,) = self._consumer.committed([TopicPartition(topic, partition)], timeout=ASK_S)
        except KafkaException as raised:
            raise as_error(kafka_error(raised), f"asking for the group's place in {topic}[{partition}]") from raised
        return found.offset if found.offset >= 0 else None

    def stream_of(self, topic: str) -> Stream:
        return self._ids.learn(topic)

    def away(self) -> str | None:
        return self._away or (None if self._ids.failure is None else str(self._ids.failure))

    def joining(self) -> bool:
        return self._joining

    def close(self) -> None:
        self._consumer.close()

    def _stop_broken(self) -> None:
        for topic, (code, detail) in self._ids.broken().items():
            ours = sorted(each for each in self._assignment.owned if each[0] == topic)
            for partition in ours:
                self._stop(partition, code, detail)
            if not ours:
                self._report(PartitionTrouble(topic, -1, code, detail))

    def _stop(self, partition: Partition, code: TroubleCode, detail: str) -> None:
        position = self._assignment.position(partition)
        self._assignment.displace([partition])
        self._report(PartitionTrouble(*partition, code, detail, -1 if position is None else position))

    def _report(self, trouble: PartitionTrouble) -> None:
        self._troubles.append(trouble)
        LOG.warning(
            "partition_stopped",
            code=trouble.code,
            topic=trouble.topic,
            partition=trouble.partition,
            position=trouble.position,
            detail=trouble.detail,
        )

    def _message_error(self, message: Message, error: KafkaError) -> None:
        topic, number = message.topic(), message.partition()
        if topic is None or number is None or number < 0:
            self._client_error(error)
            if topic is not None:
                self._report(PartitionTrouble(topic, -1, trouble_code(error), error.str()))
            return
        partition = (topic, number)
        position = self._assignment.position(partition)
        if position is None:
            return
        if error.code() == KafkaError._PARTITION_EOF:
            end = max(position, message.offset() or 0)
            self._assignment.advance(partition, end)
            self._assignment.ends[partition] = end
            return
        TRANSPORT_ERRORS.add(code=error.name().lower())
        code = trouble_code(error)
        if code not in ("offsets_expired", "ledger_ahead"):
            self._stop(partition, code, error.str())
            return
        self._outside(partition, position, error)

    def _outside(self, partition: Partition, position: int, error: KafkaError) -> None:
        try:
            found = outside_log(partition, position, *self.watermarks(*partition))
        except SkyburstError:
            found = PartitionTrouble(*partition, trouble_code(error), error.str(), position)
        self._assignment.displace([partition])
        self._report(found)

    def _client_error(self, error: KafkaError) -> None:
        TRANSPORT_ERRORS.add(code=error.name().lower())
        meant = as_error(error, f"group {self._group}")
        if isinstance(meant, Fatal | Wrong):
            self._failed = meant
        elif error.code() != KafkaError._MAX_POLL_EXCEEDED:
            self._away = error.str()
            self._ids.doubt()
        LOG.warning("client_error", code=meant.code, detail=error.str(), librdkafka=error.name())

    def _committed(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        for each in (error, *(each.error for each in offsets)):
            if each is not None:
                KAFKA_COMMIT_FAILURES.add()
                LOG.debug("kafka_commit_failed", detail=each.str())


@contextmanager
def _settings() -> Iterator[None]:
    """Say that librdkafka refuses a setting: also of files that were good when the daemon began."""
    try:
        yield
    except KafkaException as raised:
        raise Wrong("kafka_setting", kafka_error(raised).str(), "see the settings kafka_…") from raised


def _place_of(message: Message) -> Partition:
    return message.topic() or "", -1 if (number := message.partition()) is None else number
