"""Batches of made-up messages of each kind, packed for a segment, beside the messages that must come back."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import fastavro
import numpy as np

from stream.alert import Header, Level1Column, RecordId, Stream
from stream.alertdb.blocks import Block, BlockPlan, Datums
from stream.alertdb.header import RAW_SCHEMA, Kind, SegmentHeader, SegmentKey
from stream.alertdb.index import IndexColumns, index_batch, slices
from stream.alertdb.names import random_number
from stream.alertdb.quarantine import Quarantined, quarantined, schema_text
from stream.alertdb.reader import Message
from stream.codec.schema import WriterSchema

SOURCE = Stream("cluster-1", "alerts", "topic-id-1")
SCHEMA_TEXT = json.dumps(
    {
        "type": "record",
        "name": "alert",
        "fields": [{"name": "diaSourceId", "type": "long"}, {"name": "cutout", "type": "bytes"}],
    }
)
SCHEMA = fastavro.parse_schema(json.loads(SCHEMA_TEXT))
PREFIX = b"Obj\x01 the container header that every message has"
NIGHT = 20260305
KINDS: tuple[Kind, ...] = ("wire", "container", "raw", "quarantine")


@dataclass(frozen=True, slots=True)
class Batch:
    """What a commit appends to one segment, the messages it came from, and their datums as Python values."""

    blocks: list[Block]
    rows: Any
    messages: list[Message]
    datums: list[Any]

    def __len__(self) -> int:
        return len(self.messages)


def header(kind: Kind = "wire", number: int | None = None, night: int = NIGHT) -> SegmentHeader:
    """Return a segment header for alerts of `SCHEMA`."""
    text = {"raw": RAW_SCHEMA, "quarantine": schema_text()}.get(kind, SCHEMA_TEXT)
    prefix = PREFIX if kind == "container" else b""
    return SegmentHeader(
        number=random_number() if number is None else number,
        key=SegmentKey(
            0 if kind == "quarantine" else 3, "made-up", night, WriterSchema.of(text, 1000).fingerprint, kind, prefix
        ),
        source=None if kind == "quarantine" else SOURCE,
        schema_id=1000 if kind == "wire" else None,
        schema_text=text,
        survey_digest="cd" * 32,
        version="0.1.0",
        instance="ef" * 16,
    )


def batch(rng: np.random.Generator, kind: Kind = "wire", count: int = 20, offset: int = 0, size: int = 3000) -> Batch:
    """Return `count` messages of about `size` bytes with offsets from `offset`, packed for a segment of `kind`."""
    ids = offset + np.arange(count, dtype=np.int64)
    records = [{"diaSourceId": int(i), "cutout": _cutout(rng, size)} for i in ids]
    encoded = [_encode(record) for record in records]
    around = [(_head(kind, i), b"tail-%d" % i if kind == "container" else b"") for i in ids.tolist()]
    prefix = PREFIX if kind == "container" else b""
    keys: list[bytes | None] = [None if i % 5 == 4 else b"key %d" % i for i in ids.tolist()]
    headers: list[tuple[Header, ...]] = [
        () if i % 4 == 3 else (("visit", b"%d" % (i // 7)), ("empty", None)) for i in ids.tolist()
    ]
    messages = [
        Message(RecordId(3, i % 2, i), prefix + head + datum + tail, keys[row], headers[row], 1_770_000_000_000 + i)
        for row, (i, datum, (head, tail)) in enumerate(zip(ids.tolist(), encoded, around))
    ]
    datums, head, tail, values = _datums(kind, messages, records, len(prefix), around)
    chunk = rng.integers(0, 5, count)
    plan = BlockPlan.of(datums, chunk)
    blocks = [plan.compress(index) for index in range(len(plan))]
    rows = index_batch(
        IndexColumns(
            stream=3,
            partition=ids % 2,
            offset=ids,
            part=np.zeros(count, np.int32),
            timestamp=np.array([message.timestamp for message in messages], np.int64),
            keys=keys,
            headers=headers,
            head=head,
            tail=tail,
            level1=_level1(rng, ids, chunk),
            placed=plan.place(blocks),
            code=["truncated"] * count if kind == "quarantine" else None,
            reason=["ends too early"] * count if kind == "quarantine" else None,
        )
    )
    return Batch(blocks, rows, messages, values)


def by_offset(messages: Sequence[Message]) -> list[Message]:
    """Return messages in the order of their offsets."""
    return sorted(messages, key=lambda message: message.record.offset)


def _datums(
    kind: Kind,
    messages: list[Message],
    records: list[dict[str, Any]],
    prefix: int,
    around: list[tuple[bytes, bytes]],
) -> tuple[Datums, Any, Any, list[Any]]:
    if kind == "raw":
        values = [message.value for message in messages]
        return Datums.whole(values), None, None, list(values)
    if kind == "quarantine":
        refused = [
            Quarantined(
                SOURCE, m.record.partition, m.record.offset, m.timestamp, m.value, m.key, m.headers, "truncated", "cut"
            )
            for m in messages
        ]
        return quarantined(refused), None, None, [message.value for message in messages]
    size = np.array([len(message.value) for message in messages], np.int64)
    end = np.cumsum(size)
    begin = end - size + prefix
    start = begin + np.array([len(head) for head, _ in around], np.int64)
    stop = end - np.array([len(tail) for _, tail in around], np.int64)
    buffer = np.frombuffer(b"".join(message.value for message in messages), np.uint8)
    return Datums.slices(buffer, start, stop), slices(buffer, begin, start), slices(buffer, stop, end), list(records)


def _head(kind: Kind, offset: int) -> bytes:
    return b"head %d" % offset if kind == "container" else b"\x00\x00\x00\x03\xe8"


def _cutout(rng: np.random.Generator, size: int) -> bytes:
    noise = int(rng.integers(size // 4, size // 2 + 1))
    return bytes(rng.bytes(noise)) + bytes(size // 2)


def _encode(record: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, SCHEMA, record)
    return out.getvalue()


def _level1(rng: np.random.Generator, ids: Any, chunk: Any) -> dict[str, Level1Column]:
    whole = np.zeros(len(ids), bool)
    return {
        "diaSourceId": Level1Column(ids, whole),
        "diaObjectId": Level1Column(np.where(ids % 3 == 0, 0, ids), ids % 3 == 0),
        "visit": Level1Column(ids // 7, whole),
        "detector": Level1Column(ids % 189, whole),
        "midpointMjdTai": Level1Column(61000.0 + rng.random(len(ids)), whole),
        "ra": Level1Column(360 * rng.random(len(ids)), whole),
        "dec": Level1Column(-90 * rng.random(len(ids)), whole),
        "chunk": Level1Column(chunk.astype(np.int64), whole),
        "healpix": Level1Column(ids * 1_000_003, whole),
    }
