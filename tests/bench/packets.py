"""Distinct packets, made before any clock starts, and topics filled with them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import fastavro
import numpy as np

from producers.sources.synthetic import SyntheticVisits
from stream.codec.encode import encode_wire
from stream.codec.sources import open_schemas
from stream.transport.kafka import KafkaPublisher
from tests.bench.servers import PARTITIONS, Servers

MODEL = "lsst"
NIGHT = 20260305
"""The night of every packet that this model makes within one night's visits."""
A_VISIT = 10_000
MOST_VISITS = 50_000
"""Numbers of made-up visits within a night lie below this one."""
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Packets:
    """Packets in memory with the headers that producers send, and their ids."""

    size: str
    values: Sequence[bytes]
    headers: Sequence[tuple[tuple[str, bytes | None], ...]]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def nbytes(self) -> int:
        """Bytes of all packets."""
        return sum(map(len, self.values))

    @property
    def ids(self) -> list[int]:
        """Each one's DIASource id."""
        return [int(dict(headers)["diaSourceId"] or 0) for headers in self.headers]

    def first(self, count: int) -> Packets:
        """The first `count`."""
        return Packets(self.size, self.values[:count], self.headers[:count])


def make(size: str, count: int, *, seed: int = 1) -> Packets:
    """`count` distinct packets of the model's `size`, 10,000 a visit."""
    visits = SyntheticVisits(MODEL, seed=seed, visits=-(-count // A_VISIT), alerts=min(A_VISIT, count), size=size)
    made = [alert for visit in visits for alert in visit.alerts][:count]
    return Packets(size, [alert.value for alert in made], [alert.headers for alert in made])


def make_huge(count: int, *, nbytes: int = 4 * MIB) -> Packets:
    """`count` packets of just below `nbytes` each, most of it stamps that do not compress."""
    small = make("62k", count, seed=2)
    schema = open_schemas(None).get(int.from_bytes(small.values[0][1:5], "big"))
    rng = np.random.default_rng(3)
    values = []
    for value in small.values:
        record: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema.parsed, None)
        room = (nbytes - 64 * 1024) // 3
        record |= {name: rng.bytes(room) for name in ("cutoutDifference", "cutoutScience", "cutoutTemplate")}
        values.append(encode_wire(schema, record))
    return Packets("4M", values, small.headers)


def fill(servers: Servers, packets: Packets, partitions: int = PARTITIONS) -> str:
    """A new topic with `packets`, spread evenly over its partitions."""
    topic = servers.topic(partitions)
    publisher = KafkaPublisher(servers.kafka.bootstrap)
    failed: list[object] = []

    def told(error: object, partition: int, offset: int) -> None:
        if error is not None:
            failed.append(error)

    try:
        for number, (value, headers) in enumerate(zip(packets.values, packets.headers, strict=True)):
            publisher.send(topic, value, headers=headers, partition=number % partitions, on_delivery=told)
            publisher.poll()
        if publisher.flush(120.0) or failed:
            raise RuntimeError(f"the topic was not filled: {failed[:3]}")
    finally:
        publisher.close()
    return topic
