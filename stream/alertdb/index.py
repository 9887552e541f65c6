"""The index of a segment: one row an alert, one batch a commit, as an Arrow stream while the segment is open."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from xxhash import xxh3_128_hexdigest

from stream.alert import Header, Level1Column

if TYPE_CHECKING:
    from stream.alertdb.blocks import Placed

NOTE_KEY = b"skyburst"
"""Key of a batch's metadata under which the commit's note (JSON) lies."""

_HEADERS = pa.list_(
    pa.field("item", pa.struct([pa.field("key", pa.string(), nullable=False), ("value", pa.binary())]), nullable=False)
)
LEVEL1_FIELDS: tuple[tuple[str, Any], ...] = (
    ("diaSourceId", pa.int64()),
    ("diaObjectId", pa.int64()),
    ("visit", pa.int64()),
    ("detector", pa.int32()),
    ("midpointMjdTai", pa.float64()),
    ("ra", pa.float64()),
    ("dec", pa.float64()),
    ("chunk", pa.int32()),
    ("healpix", pa.int64()),
)
SCHEMA = pa.schema(
    [
        pa.field("stream", pa.int32(), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("part", pa.int32(), nullable=False),
        pa.field("timestamp", pa.int64(), nullable=False),
        pa.field("key", pa.binary()),
        pa.field("headers", _HEADERS, nullable=False),
        pa.field("head", pa.binary(), nullable=False),
        pa.field("tail", pa.binary(), nullable=False),
        *(pa.field(name, kind) for name, kind in LEVEL1_FIELDS),
        pa.field("blockOffset", pa.int64(), nullable=False),
        pa.field("slot", pa.int32(), nullable=False),
        pa.field("datumStart", pa.int32(), nullable=False),
        pa.field("datumSize", pa.int32(), nullable=False),
        pa.field("digest", pa.binary(16), nullable=False),
        pa.field("code", pa.string()),
        pa.field("reason", pa.string()),
    ]
)
"""Columns of the index; units and meaning are in ``docs/reference/alertdb-format.md``."""

BLOCK_OFFSET = SCHEMA.get_field_index("blockOffset")
SCHEMA_BYTES: bytes = SCHEMA.serialize().to_pybytes()
"""What every open index begins with."""


@dataclass(frozen=True, slots=True)
class IndexColumns:
    """What the index keeps of `n` alerts, column by column.

    Attributes
    ----------
    stream
        The stream's small number, or ``int[n]``.
    partition, offset, part
        ``int[n]``: the RecordId, and which record of a raw container (0 elsewhere).
    timestamp
        ``int64[n]``, Kafka's, ms since 1970-01-01 UTC, -1 for none.
    keys, headers
        As the messages had them.
    head, tail
        Bytes of each message between the segment's prefix and the datum, and after it: arrays from `slices`, or None
        where there are none.
    level1
        The columns of `LEVEL1_FIELDS`, with Level-1's units (deg, MJD TAI); one that is absent is null throughout.
    placed
        Where each alert's datum lies.
    code, reason
        Of quarantined messages; None elsewhere.
    """

    stream: int | NDArray[np.integer]
    partition: NDArray[np.integer]
    offset: NDArray[np.integer]
    part: NDArray[np.integer]
    timestamp: NDArray[np.integer]
    keys: Sequence[bytes | None]
    headers: Sequence[tuple[Header, ...]]
    head: Any
    tail: Any
    level1: Mapping[str, Level1Column]
    placed: Placed
    code: Sequence[str] | None = None
    reason: Sequence[str] | None = None


def index_batch(columns: IndexColumns) -> Any:
    """Return the ``pa.RecordBatch`` of `SCHEMA`; its ``blockOffset`` counts from where the blocks will be appended."""
    rows = len(columns.offset)
    placed = columns.placed
    return pa.RecordBatch.from_arrays(
        [
            _integers(np.broadcast_to(columns.stream, rows), pa.int32()),
            _integers(columns.partition, pa.int32()),
            _integers(columns.offset, pa.int64()),
            _integers(columns.part, pa.int32()),
            _integers(columns.timestamp, pa.int64()),
            pa.array(columns.keys, pa.binary()),
            _headers(columns.headers),
            _empty(rows) if columns.head is None else columns.head,
            _empty(rows) if columns.tail is None else columns.tail,
            *(_level1(columns.level1.get(name), kind, rows) for name, kind in LEVEL1_FIELDS),
            _integers(placed.block_offset, pa.int64()),
            _integers(placed.slot, pa.int32()),
            _integers(placed.start, pa.int32()),
            _integers(placed.size, pa.int32()),
            pa.Array.from_buffers(pa.binary(16), rows, [None, pa.py_buffer(np.ascontiguousarray(placed.digest))]),
            pa.nulls(rows, pa.string()) if columns.code is None else pa.array(columns.code, pa.string()),
            pa.nulls(rows, pa.string()) if columns.reason is None else pa.array(columns.reason, pa.string()),
        ],
        schema=SCHEMA,
    )


def empty_batch() -> Any:
    """Return an index batch of no rows: what carries ranges without a packet, with their reason."""
    return pa.RecordBatch.from_pylist([], schema=SCHEMA)


def slices(buffer: NDArray[np.uint8], start: NDArray[np.int64], end: NDArray[np.int64]) -> Any:
    """Return a ``pa.binary()`` array of ``buffer[start[i]:end[i]]``, for short ranges (heads and tails of messages)."""
    length = end - start
    offsets = np.zeros(len(start) + 1, np.int32)
    np.cumsum(length, out=offsets[1:])
    if len(start) and (length == length[0]).all():
        where = (start[:, None] + np.arange(length[0])).ravel()
    else:
        where = np.repeat(start - offsets[:-1], length) + np.arange(offsets[-1])
    return pa.Array.from_buffers(
        pa.binary(), len(start), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(buffer[where]))]
    )


def moved(rows: Any, base: int) -> Any:
    """Return index rows with `base` (bytes) added to their block offsets."""
    offset = rows.column(BLOCK_OFFSET).to_numpy(zero_copy_only=False) + base
    return rows.set_column(BLOCK_OFFSET, SCHEMA.field(BLOCK_OFFSET), pa.array(offset, pa.int64()))


def encode_batch(rows: Any, note: Mapping[str, object]) -> Any:
    """Return the Arrow stream message (buffer) of index rows with their commit's note."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_batch(rows, custom_metadata={NOTE_KEY: encode_note(note)})
        end = sink.tell()
    return sink.getvalue()[len(SCHEMA_BYTES) : end]


def encode_note(note: Mapping[str, object]) -> bytes:
    """Return a commit's note as it is kept: JSON without spaces, the digest of what goes before as its last member."""
    signed = {**note, "note": xxh3_128_hexdigest(_json(note))}
    return _json(signed)


def check_note(note: Any) -> dict[str, Any]:
    """Return the note that `note`, decoded from JSON, is without its digest; ValueError where the two do not agree."""
    if not isinstance(note, dict):
        raise ValueError("the note of a commit is none")
    told = note.pop("note", None)
    if told != xxh3_128_hexdigest(_json(note)):
        raise ValueError(f"the note of commit {note.get('commit')} is not what was published")
    return note


def _json(note: Mapping[str, object]) -> bytes:
    return json.dumps(note, separators=(",", ":"), ensure_ascii=False).encode()


def _integers(values: NDArray[Any], kind: Any) -> Any:
    return pa.array(np.ascontiguousarray(values, kind.to_pandas_dtype()), kind)


def _level1(column: Level1Column | None, kind: Any, rows: int) -> Any:
    if column is None:
        return pa.nulls(rows, kind)
    mask = column.null if column.null.any() else None
    return pa.array(column.values.astype(kind.to_pandas_dtype(), copy=False), kind, mask=mask, from_pandas=False)


def _headers(headers: Sequence[tuple[Header, ...]]) -> Any:
    offsets = np.zeros(len(headers) + 1, np.int32)
    np.cumsum(np.fromiter(map(len, headers), np.int32, len(headers)), out=offsets[1:])
    names, values = zip(*chain.from_iterable(headers)) if offsets[-1] else ((), ())
    items = pa.StructArray.from_arrays(
        [pa.array(names, pa.string()), pa.array(values, pa.binary())], fields=list(_HEADERS.value_type)
    )
    return pa.ListArray.from_arrays(pa.array(offsets), items, type=_HEADERS)


def _empty(rows: int) -> Any:
    return pa.Array.from_buffers(
        pa.binary(), rows, [None, pa.py_buffer(np.zeros(rows + 1, np.int32)), pa.py_buffer(b"")]
    )
