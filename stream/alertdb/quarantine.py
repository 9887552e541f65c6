"""Quarantined messages as datums: the whole bytes, where they came from and why they were refused."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import fastavro

from stream.alert import Header, Stream
from stream.alertdb.blocks import Datums
from stream.alertdb.container import varint


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One message that was refused.

    Attributes
    ----------
    source
        Its topic.
    partition, offset, timestamp
        Of the Kafka record; ms since 1970-01-01 UTC, -1 for none.
    value, key, headers
        As it came.
    code, reason
        Stable slug, and words.
    """

    source: Stream
    partition: int
    offset: int
    timestamp: int
    value: bytes
    key: bytes | None
    headers: tuple[Header, ...]
    code: str
    reason: str


@cache
def schema_text() -> str:
    """Return the schema of quarantine segments: ``schemas/quarantine.avsc``."""
    return resources.files("schemas").joinpath("quarantine.avsc").read_text(encoding="utf-8")


def quarantined(messages: Sequence[Quarantined]) -> Datums:
    """Return refused messages as datums of a quarantine segment; the digest of each is that of its value."""
    lead = [varint(len(message.value)) for message in messages]
    pieces: list[bytes | memoryview] = []
    for head, message in zip(lead, messages):
        pieces += (head, message.value, _rest(message))
    return Datums.led(pieces, lead, [message.value for message in messages])


def read_quarantined(datum: bytes) -> Quarantined:
    """Return the refused message that a datum of a quarantine segment holds."""
    record: Any = fastavro.schemaless_reader(io.BytesIO(datum), _parsed(), None)
    return Quarantined(
        source=Stream(record["cluster"], record["topic"], record["topicId"]),
        partition=record["partition"],
        offset=record["offset"],
        timestamp=record["timestamp"],
        value=record["value"],
        key=record["key"],
        headers=tuple((header["key"], header["value"]) for header in record["headers"]),
        code=record["code"],
        reason=record["reason"],
    )


def _rest(message: Quarantined) -> bytes:
    """Encode all fields but the first, so that a large value is not copied twice."""
    out = io.BytesIO()
    record = {
        "value": b"",
        "cluster": message.source.cluster,
        "topic": message.source.topic,
        "topicId": message.source.topic_id,
        "partition": message.partition,
        "offset": message.offset,
        "timestamp": message.timestamp,
        "key": message.key,
        "headers": [{"key": key, "value": value} for key, value in message.headers],
        "code": message.code,
        "reason": message.reason,
    }
    fastavro.schemaless_writer(out, _parsed(), record)
    return out.getvalue()[1:]


@cache
def _parsed() -> Any:
    return fastavro.parse_schema(json.loads(schema_text()))
