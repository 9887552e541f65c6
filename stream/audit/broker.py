"""What the broker still has against what is stored: invariant 1, with a plain consumer."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from xxhash import xxh3_128_digest

from stream.alert import Stream
from stream.audit.findings import Findings
from stream.audit.scratch import Scratch
from stream.audit.seen import rest_digest
from stream.audit.stored import Ledger, Place, Stored
from stream.audit.went import Went
from stream.clock import SystemClock
from stream.errors import SkyburstError, Transient
from stream.transport.kafka.topic_ids import TopicIds
from stream.transport.security import Security

ASK_S = 5.0
PATIENCE_S = 30.0
PAGE = 256
HEADERS_LOST = [("skyburst-headers-lost", None)]
"""What is stored where the client cannot give a message's headers, as ``docs/reference/transport.md`` has it."""


@dataclass(frozen=True, slots=True)
class Retained:
    """The offsets [low, high) of a partition that the broker has and that are judged, and the log's end."""

    low: int
    high: int
    log_end: int


class Broker:
    """A plain consumer of the streams that the database knows.

    Raises
    ------
    Transient
        ``broker_away``, from every method.
    """

    def __init__(self, bootstrap: str, security: Security, streams: Mapping[int, Stream]) -> None:
        self._settings: dict[str, Any] = {"bootstrap.servers": bootstrap, **security.librdkafka()}
        self._streams = streams
        self._reasons: dict[int, str] = {}
        self._consumer = Consumer(
            {
                **self._settings,
                "group.id": f"skyburst-verify-{uuid.uuid4().hex}",
                "client.id": "skyburst-verify",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "allow.auto.create.topics": False,
                "check.crcs": True,
                "queued.max.messages.kbytes": 32768,
                "fetch.queue.backoff.ms": 5,
                # A broker that has nothing more says so only then, at the end of each partition.
                "fetch.wait.max.ms": 100,
                "log_level": 0,
            }
        )

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()

    def retained(self, ledger: Ledger) -> dict[Place, Retained]:
        """By partition what the broker still has of what the ledger covers."""
        self._identify()
        found = {}
        for (stream, partition), end in sorted(ledger.next.items()):
            if stream in self._reasons:
                continue
            topic = TopicPartition(self._streams[stream].topic, partition)
            try:
                low, high = self._consumer.get_watermark_offsets(topic, timeout=ASK_S)
            except KafkaException as error:
                raise _away(error.args[0]) from error
            found[stream, partition] = Retained(low, min(high, end), high)
        return found

    def reason(self, stream: int) -> str:
        """Why a stream is not compared; empty where it is."""
        return self._reasons.get(stream, "")

    def _identify(self) -> None:
        ids = TopicIds(AdminClient({**self._settings, "log_level": 0}), SystemClock())
        for number, stream in self._streams.items():
            try:
                now = ids.learn(stream.topic, ASK_S)
            except Transient:
                raise
            except SkyburstError as error:
                self._reasons[number] = str(error.message)
            else:
                same, generation = _told(stream)
                if now != same:
                    self._reasons[number] = f"the topic of this name is another one now ({now.topic_id})"
                elif any(_told(each)[0] == same and _told(each)[1] > generation for each in self._streams.values()):
                    self._reasons[number] = "the broker lost it: a later generation goes on"

    def read(self, topic: str, partition: int, low: int, high: int) -> Any:
        """Yield pages of messages of [low, high), in order; fewer where the log has moved on meanwhile."""
        if low >= high:
            return
        self._consumer.assign([TopicPartition(topic, partition, low)])
        at, silent = low, 0.0
        while at < high:
            # Asked for a page, `consume` waits for all of it.
            messages = self._consumer.consume(1, 1.0)
            messages += self._consumer.consume(PAGE, 0) if messages else []
            silent = 0.0 if messages else silent + 1.0
            if silent > PATIENCE_S:
                raise Transient("broker_away", f"nothing comes of {topic}[{partition}] from offset {at} on")
            page = []
            for message in messages:
                error, offset = message.error(), message.offset() or 0
                if error is None:
                    at = offset + 1
                    if offset < high:
                        page.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    at = max(at, offset)
                elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                    at = low = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), ASK_S)[0]
                    self._consumer.assign([TopicPartition(topic, partition, at)])
                else:
                    raise _away(error)
            if page:
                yield page
        self._consumer.unassign()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Compares partitions, each message of the broker with what is stored under its offset."""

    broker: Broker
    stored: Stored
    scratch: Scratch
    findings: Findings
    went: Went

    def partition(self, place: Place, topic: str, first: int, kept: Retained) -> tuple[int, int, int]:
        """Compare one partition; gives the first offset compared, how many were, and how many the broker lost."""
        stream, number = place
        low, compared, gone = max(first, kept.low), 0, 0
        tombstones: list[int] = []
        at = low
        for page in self.broker.read(topic, number, low, kept.high):
            upto = page[-1].offset() + 1
            stored = {one.offset: one for one in self.scratch.kept(stream, number, at, upto)}
            for message in page:
                one = stored.pop(message.offset(), None)
                if message.value() is None:
                    tombstones.append(message.offset())
                elif one is None:
                    self._missing(place, topic, message.offset())
                else:
                    compared += 1
                    self._same(place, topic, message, one)
            gone += len(stored)
            at = upto
        gone += len(self.scratch.kept(stream, number, at, kept.high))
        self._tombstones(place, low, kept.high, tombstones)
        self.findings.counts["compared"] += compared
        return low, compared, gone

    def _missing(self, place: Place, topic: str, offset: int) -> None:
        if self.went.takes(place, offset):
            return
        text = "the broker has it, the ledger covers it, and no segment holds it"
        self.findings.add(1, "packet_missing", text, _where(place, topic, offset))

    def _same(self, place: Place, topic: str, message: Any, one: Any) -> None:
        wrong = [
            name
            for name, same in (
                ("value", xxh3_128_digest(message.value()) == one.value),
                ("key or headers", rest_digest(message.key(), _headers(message)) == one.rest),
                ("timestamp", message.timestamp()[1] == one.timestamp),
            )
            if not same
        ]
        if wrong:
            text = f"its {' and '.join(wrong)} at the broker and as stored differ"
            self.findings.add(1, "packet_differs", text, _where(place, topic, message.offset()))

    def _tombstones(self, place: Place, low: int, high: int, seen: Sequence[int]) -> None:
        """Hold the tombstones that the broker has against the ranges that lie wholly in what was compared."""
        counted, at = 0, 0
        for row in self.stored.ranges(place, low, high):
            if row.endOffset > high:
                break
            there = 0
            while at < len(seen) and seen[at] < row.endOffset:
                there += seen[at] >= row.startOffset
                at += 1
            counted += there
            # A compacted topic may have lost some since.
            if there > row.tombstones:
                text = (
                    f"[{row.startOffset}, {row.endOffset}) counts {row.tombstones} tombstones, the broker has {there}"
                )
                self.findings.add(3, "tombstones_differ", text, f"commit {row.commitId}")
        self.findings.counts["tombstones"] += counted


def _told(stream: Stream) -> tuple[Stream, int]:
    """A stream as the broker tells it, and its generation, which the ledger's adoption put behind the topic id."""
    topic_id, _, generation = stream.topic_id.partition("#")
    return Stream(stream.cluster, stream.topic, topic_id), int(generation or 0)


def _where(place: Place, topic: str, offset: int) -> str:
    return f"record {place[0]}/{place[1]}/{offset} ({topic})"


def _away(error: Any) -> Transient:
    return Transient("broker_away", f"the broker: {error.str()}", "is it up? `--offline` leaves it out")


def _headers(message: Any) -> Any:
    try:
        return message.headers() or ()
    except (SystemError, UnicodeDecodeError):
        return HEADERS_LOST
