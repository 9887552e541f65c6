"""The decoder: a batch of messages in, checked to the last byte, with the wanted columns out."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stream.alert import Columns, Refusal
from stream.codec.container import Block, Header, Headers, read_blocks
from stream.codec.frames import WIRE_HEAD, Frames, read_frames
from stream.codec.kernel import open_kernel
from stream.codec.lookup import SchemaAway, SchemaSource, SchemaUnknown
from stream.codec.messages import Messages
from stream.codec.plan import Plan
from stream.codec.raw import RawRecords, join_raw, read_raw
from stream.codec.schema import WriterSchema
from stream.codec.slots import to_columns
from stream.errors import Poison

Kind = Literal["wire", "container", "raw"]

MAX_PACKET = 8 * 1024 * 1024
"""Bytes of a message beyond which it is refused unread."""
_PLANS = 256


@dataclass(frozen=True, slots=True)
class Group:
    """Alerts of a batch that share a writer schema and a framing.

    The bytes of a wire or container message m are always ``prefix``, then ``buffer`` from ``starts[m] + len(prefix)``
    to ``datum_start``, the datum, and ``buffer`` from ``datum_end`` to ``ends[m]`` (`Checked.messages`).

    Attributes
    ----------
    schema
        The writer schema.
    kind
        ``wire``: 0x00, schema id, datum. ``container``: an Avro object container file of one record, not compressed.
        ``raw``: one of more records, compressed, or with entries of its own in its header, which is kept whole.
    prefix
        A container's header up to its sync marker; else empty.
    message
        ``int32[k]``: the message of each alert.
    part
        ``int32[k]``: 0, or 1, 2, … for further records of a raw container.
    datum_start, datum_end
        ``int64[k]``: where each alert's Avro datum lies in `buffer`; 0 for ``raw``.
    buffer
        ``uint8``: the batch's; for ``raw`` nothing but the texts to which `columns` point.
    columns
        The wanted fields that the schema has.
    """

    schema: WriterSchema
    kind: Kind
    prefix: bytes
    message: NDArray[np.int32]
    part: NDArray[np.int32]
    datum_start: NDArray[np.int64]
    datum_end: NDArray[np.int64]
    buffer: NDArray[np.uint8]
    columns: Columns

    def __len__(self) -> int:
        return len(self.message)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message whose writer schema cannot be had now."""

    row: int
    schema_id: int
    error: SchemaAway | SchemaUnknown


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of a batch: each of its messages is in one group, refused, or waiting.

    Attributes
    ----------
    messages
        Where they lie, and what keeps them alive.
    groups
        The alerts.
    refused
        By message (``row``), in order: what goes to quarantine, and why.
    waiting
        By message, in order: what waits for its schema.
    """

    messages: Messages
    groups: tuple[Group, ...]
    refused: tuple[Refusal, ...]
    waiting: tuple[Waiting, ...]


@dataclass(slots=True)
class _Batch:
    """What is being put together for one call."""

    values: Sequence[bytes]
    frames: Frames
    groups: list[Group] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)


class Decoder:
    """Checks packets whole and reads the wanted fields of them. For any number of threads.

    Parameters
    ----------
    schemas
        Where writer schemas are looked up by the id in a wire message.
    paths
        Dotted paths of the wanted fields.
    max_packet
        Bytes of a message beyond which it is refused unread.
    """

    def __init__(self, schemas: SchemaSource, paths: Collection[str], *, max_packet: int = MAX_PACKET) -> None:
        self._schemas = schemas
        self._paths = frozenset(paths)
        self._max_packet = max_packet
        self._plans: OrderedDict[tuple[str, int | None], Plan] = OrderedDict()
        self._headers = Headers()
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Load the kernel, or compile it (seconds): to be done before the first batch is due."""
        open_kernel()

    def check(self, values: Sequence[bytes]) -> Checked:
        """Check a batch of messages.

        Refusals have the codes of ``docs/reference/packet-check.md``; nothing that a message holds raises.
        """
        frames = read_frames(values, self._max_packet)
        batch = _Batch(values, frames, refused=frames.refused)
        if len(frames.wire):
            self._wire(batch)
        if len(frames.containers):
            self._containers(batch)
        return Checked(
            frames.messages,
            tuple(batch.groups),
            tuple(sorted(batch.refused, key=lambda refusal: refusal.row)),
            tuple(sorted(batch.waiting, key=lambda waiting: waiting.row)),
        )

    def _plan(self, schema: WriterSchema) -> Plan:
        with self._lock:
            key = schema.fingerprint, schema.id
            plan = self._plans.get(key)
            if plan is None:
                plan = self._plans[key] = Plan.of(schema, self._paths)
                if len(self._plans) > _PLANS:
                    self._plans.popitem(last=False)
            return plan

    def _wire(self, batch: _Batch) -> None:
        rows, ids = batch.frames.wire, batch.frames.schema_ids
        for schema_id in [int(ids[0])] if (ids == ids[0]).all() else np.unique(ids).tolist():
            mine = rows[ids == schema_id]
            try:
                schema = self._schemas.get(schema_id)
            except (SchemaAway, SchemaUnknown) as error:
                batch.waiting += [Waiting(int(row), schema_id, error) for row in mine]
            except Poison as error:
                batch.refused += [Refusal(int(row), error.code, error.message) for row in mine]
            else:
                starts, ends = batch.frames.messages.starts[mine] + WIRE_HEAD, batch.frames.messages.ends[mine]
                self._run(batch, self._plan(schema), "wire", b"", mine, starts, ends)

    def _run(
        self,
        batch: _Batch,
        plan: Plan,
        kind: Kind,
        prefix: bytes,
        rows: NDArray[np.int64],
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
    ) -> None:
        messages = batch.frames.messages
        outcome = plan.run(messages.buffer, starts, ends)
        keep = None
        if outcome.status.any():
            for i in np.flatnonzero(outcome.status):
                first, last = int(messages.starts[rows[i]]), int(messages.ends[rows[i]])
                batch.refused.append(Refusal(int(rows[i]), *plan.refusal(outcome, int(i), first, last - first)))
            keep = np.flatnonzero(outcome.status == 0)
            rows, starts, ends = rows[keep], starts[keep], ends[keep]
        if len(rows):
            columns = to_columns(plan.slots, outcome, keep)
            message = rows.astype(np.int32)
            part = np.zeros_like(message)
            batch.groups.append(Group(plan.schema, kind, prefix, message, part, starts, ends, messages.buffer, columns))

    def _containers(self, batch: _Batch) -> None:
        single: dict[bytes, tuple[WriterSchema, list[int], list[Block]]] = {}
        raw: dict[str, tuple[Plan, list[int], list[RawRecords]]] = {}
        for row in batch.frames.containers.tolist():
            try:
                header, schema, blocks = self._open(batch.values[row])
                if header.plain and header.codec == b"null" and len(blocks) == 1 and blocks[0].records == 1:
                    _, rows, found = single.setdefault(header.prefix, (schema, [], []))
                    rows.append(row)
                    found.append(blocks[0])
                else:
                    plan = self._plan(schema)
                    records = read_raw(batch.values[row], header, blocks, plan)
                    _, rows, parts = raw.setdefault(schema.fingerprint, (plan, [], []))
                    rows.append(row)
                    parts.append(records)
            except Poison as error:
                batch.refused.append(Refusal(row, error.code, error.message))
        for prefix, (schema, rows, found) in single.items():
            at = np.array(rows)
            first = batch.frames.messages.starts[at]
            starts = first + np.array([block.start for block in found])
            ends = first + np.array([block.end for block in found])
            self._run(batch, self._plan(schema), "container", prefix, at, starts, ends)
        for plan, rows, parts in raw.values():
            batch.groups.append(_raw_group(plan, rows, parts))

    def _open(self, message: bytes) -> tuple[Header, WriterSchema, list[Block]]:
        with self._lock:
            header = self._headers.read(message)
        if isinstance(header.schema, Poison):
            raise Poison(header.schema.code, header.schema.message)
        blocks = list(read_blocks(message, header))
        if not any(block.records for block in blocks):
            raise Poison("empty_container", "the container file has no records")
        return header, header.schema, blocks


def _raw_group(plan: Plan, rows: list[int], parts: list[RawRecords]) -> Group:
    counts = [len(part) for part in parts]
    joined = join_raw(parts, plan.slots)
    return Group(
        plan.schema,
        "raw",
        b"",
        np.repeat(np.array(rows, np.int32), counts),
        np.concatenate([np.arange(count, dtype=np.int32) for count in counts]),
        np.zeros(len(joined), np.int64),
        np.zeros(len(joined), np.int64),
        np.frombuffer(joined.buffer, np.uint8),
        to_columns(plan.slots, joined.outcome, None),
    )
