"""Messages to columns: about a microsecond of Python each, the copy of the value aside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from confluent_kafka import KafkaError, Message

from stream.alert import Header, Records
from stream.transport.kafka.assignment import Assignment


@dataclass(slots=True)
class _Growing:
    topic: str
    partition: list[int] = field(default_factory=list)
    offset: list[int] = field(default_factory=list)
    timestamp: list[int] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    headers: list[tuple[Header, ...]] = field(default_factory=list)

    def add(self, message: Message, partition: int, offset: int) -> None:
        self.partition.append(partition)
        self.offset.append(offset)
        self.timestamp.append(message.timestamp()[1])
        self.values.append(message.value())
        self.keys.append(message.key())
        given = message.headers()
        self.headers.append(tuple(given) if given else ())  # type: ignore[arg-type]

    def records(self) -> Records:
        return Records(
            self.topic,
            np.array(self.partition, np.int32),
            np.array(self.offset, np.int64),
            np.array(self.timestamp, np.int64),
            self.values,
            self.keys,
            self.headers,
        )


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
