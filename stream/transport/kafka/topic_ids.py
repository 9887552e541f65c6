"""Which creation of a topic we read: a topic made again under its name has another id, and is another stream.

librdkafka goes on reading a recreated topic at the old offset without a word. So the ids are asked again and again,
and `KafkaSource` hands out records only while they were confirmed lately.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, wait

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, TopicDescription  # type: ignore[attr-defined]

from stream.alert import Stream
from stream.clock import Clock
from stream.errors import Held, SkyburstError
from stream.transport.kafka.trouble import as_error, kafka_error
from stream.transport.source import TroubleCode

EVERY_S = 1.0
"""Seconds between two questions; each costs a quarter of a millisecond."""
FRESH_S = 5.0
"""Seconds that an answer is good for."""
ANSWER_S = 4.0
GONE_S = 20.0
"""A topic is gone once answers have said so for as many seconds: a broker that just started knows few of them yet."""


class TopicIds:
    """The ids of some topics, asked once and then watched."""

    def __init__(self, admin: AdminClient, clock: Clock) -> None:
        self._admin = admin
        self._clock = clock
        self._known: dict[str, Stream] = {}
        self._asked: dict[str, Future[TopicDescription]] = {}
        self._asked_at = float("-inf")
        self._confirmed_at = float("-inf")
        self._denied_since: dict[str, float] = {}
        self._broken: dict[str, tuple[TroubleCode, str]] = {}
        self._learned: dict[str, str] = {}
        self._changed = False
        self.failure: SkyburstError | None = None
        """Why the last question had no answer."""

    def learn(self, topic: str, timeout_s: float = ANSWER_S) -> Stream:
        """The topic as it is now, which is what later answers are held against.

        Raises
        ------
        stream.errors.Transient, stream.errors.Held
            ``broker_away``; ``topic_gone``.
        """
        asked_at = self._clock.monotonic()
        try:
            cluster = self._admin.cluster_id(timeout=timeout_s)
            answer = self._ask([topic], timeout_s)[topic].result()
        except KafkaException as raised:
            raise as_error(kafka_error(raised), f"asking for topic {topic}") from raised
        stream = Stream(str(cluster), topic, str(answer.topic_id))
        if topic not in self._known:
            self._confirmed_at = asked_at if not self._known else min(asked_at, self._confirmed_at)
        self._known[topic] = stream
        self._changed |= self._learned.get(topic, stream.topic_id) != stream.topic_id
        self._learned[topic] = stream.topic_id
        return stream

    def fresh(self) -> bool:
        """Whether all ids were confirmed less than `FRESH_S` ago; asks again where it is time to."""
        now = self._clock.monotonic()
        self._hear()
        if not self._asked and self._known and now - self._asked_at >= EVERY_S:
            self._asked_at = now
            self._asked = self._ask(sorted(self._known), ANSWER_S)
        return not self._known or now - self._confirmed_at < FRESH_S

    def wait(self, timeout_s: float) -> None:
        """Wait for the answer that is under way, or for nothing where none is."""
        wait(self._asked.values(), timeout=timeout_s)

    def broken(self) -> dict[str, tuple[TroubleCode, str]]:
        """The topics that are gone or made again, and what was found; each is said once."""
        found, self._broken = self._broken, {}
        return found

    def changed(self) -> bool:
        """Whether a topic was learned with another id than before; said once."""
        changed, self._changed = self._changed, False
        return changed

    def doubt(self) -> None:
        """Something happened to a connection: nothing more is handed out before a new answer."""
        self._asked = {}
        self._confirmed_at = self._asked_at = float("-inf")

    def _ask(self, topics: Sequence[str], timeout_s: float) -> dict[str, Future[TopicDescription]]:
        return dict(self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=timeout_s))

    def _hear(self) -> None:
        if not self._asked or not all(future.done() for future in self._asked.values()):
            return
        asked, self._asked = self._asked, {}
        confirmed = [self._confirmed(topic, future) for topic, future in asked.items()]
        if all(confirmed):
            self._confirmed_at = max(self._confirmed_at, self._asked_at)
            self.failure = None

    def _confirmed(self, topic: str, future: Future[TopicDescription]) -> bool:
        known = self._known.get(topic)
        raised = future.exception()
        if known is None:
            return True
        if raised is None:
            self._denied_since.pop(topic, None)
            now = str(future.result().topic_id)
            if now != known.topic_id:
                self._break(topic, "topic_recreated", f"it had id {known.topic_id} and was made again with id {now}")
            return True
        if not isinstance(raised, KafkaException):
            raise raised
        self.failure = as_error(kafka_error(raised), f"asking for topic {topic}")
        if not isinstance(self.failure, Held):
            return False
        since = self._denied_since.setdefault(topic, self._asked_at)
        if self._asked_at - since >= GONE_S:
            self._break(topic, "topic_gone", self.failure.message)
        return False

    def _break(self, topic: str, code: TroubleCode, detail: str) -> None:
        self._broken[topic] = (code, detail)
        self._denied_since.pop(topic, None)
        del self._known[topic]
