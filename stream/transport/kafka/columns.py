"""Messages to columns: about a microsecond of Python each, the copy of the value aside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from confluent_kafka import KafkaError, Message

from stream.alert import Header, Records
from stream.log import Log
from stream.metrics import TRANSPORT_ERRORS
from stream.transport.kafka.assignment import Assignment

HEADERS_LOST: tuple[Header, ...] = (("skyburst-headers-lost", None),)
"""Stands for the headers of a message that the client cannot give: a name among them is not UTF-8."""

_log = Log("stream.transport")


@dataclass(slots=True)
class _Growing:
    topic: str
    partition: list[int] = field(default_factory=list)
    offset: list[int] = field(default_factory=list)
    timestamp: list[int] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    headers: list[tuple[Header, ...]] = field(default_factory=list)
    lost: int = 0

    def add(self, message: Message, partition: int, offset: int) -> None:
        self.partition.append(partition)
        self.offset.append(offset)
        self.timestamp.append(message.timestamp()[1])
        self.values.append(message.value())
        self.keys.append(message.key())
        headers = headers_of(message)
        self.lost += headers is HEADERS_LOST
        self.headers.append(headers)

    def records(self) -> Records:
        if self.lost:
            TRANSPORT_ERRORS.add(self.lost, code="headers_lost")
            offsets = (self.offset[0], self.offset[-1])
            _log.error("headers_lost", code="headers_lost", topic=self.topic, records=self.lost, offsets=offsets)
        return Records(
            self.topic,
            np.array(self.partition, np.int32),
            np.array(self.offset, np.int64),
            np.array(self.timestamp, np.int64),
            self.values,
            self.keys,
            self.headers,
        )


def headers_of(message: Message) -> tuple[Header, ...]:
    """The headers of a message in their order, `HEADERS_LOST` where the client cannot give them."""
    try:
        given = message.headers()
    except (SystemError, UnicodeDecodeError):
        # confluent-kafka decodes the names as UTF-8, and does not look whether that worked.
        return HEADERS_LOST
    return tuple(given) if given else ()  # type: ignore[arg-type]


def records_of(
    messages: Sequence[Message], assignment: Assignment, on_error: Callable[[Message, KafkaError], None]
) -> list[Records]:
    """The messages topic by topic, in their order; the assignment's positions move past them.

    What is not placed, or lies before its partition's position, is left out. An error goes to `on_error` where it
    stands in the order, so that what follows it on a partition that it stopped is left out.
    """
    growing: dict[str, _Growing] = {}
    for message in messages:
        error = message.error()
        if error is not None:
            on_error(message, error)
            continue
        topic, number, offset = message.topic(), message.partition(), message.offset()
        if topic is None or number is None or offset is None:
            continue
        partition = (topic, number)
        wanted = assignment.position(partition)
        if wanted is None or offset < wanted:
            continue
        assignment.advance(partition, offset + 1)
        if topic not in growing:
            growing[topic] = _Growing(topic)
        growing[topic].add(message, number, offset)
    return [each.records() for each in growing.values()]
