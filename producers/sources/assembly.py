"""Whole packets assembled from encoded parts, many alerts at a time."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fastavro.schema
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from producers.sources.distributions import absent, draw, interpolate
from producers.sources.encoding import Bytes, FieldType, Mask, Values, encode_rows, split_union, varint
from producers.sources.histories import HistoryPool, timelines
from producers.sources.stamps import Stamps, StampShape
from producers.sources.synthetic_model import Model, Part, Size
from stream.errors import Fatal

AT_ONCE = 64
"""Alerts made in one go: enough to spread NumPy's costs, few enough to stay in the processor's cache."""

_POOL_RECORDS = 32_768


@dataclass(frozen=True, slots=True)
class _Slot:
    """One field at the top of the packet: what makes it, and the bytes of its union's branches."""

    name: str
    part: Part | None
    fields: list[FieldType]
    value_branch: bytes
    null_branch: bytes


@dataclass(frozen=True, slots=True)
class _Batch:
    """Alerts being made: what belongs to them, how deep their histories are, and what their parts share."""

    given: Mapping[str, Values]
    moving: Mask
    depth: NDArray[np.float64]
    times: NDArray[np.float64]
    at: int
    rng: Generator
    psfs: dict[int, Bytes]


class PacketMaker:
    """Makes packets of one schema and size.

    Parameters
    ----------
    model, size
        What packets are made of.
    schema
        The writer schema's JSON text.
    alerts
        About how many packets will be made: bounds the pools.
    rng
        Where the pools come from.

    Raises
    ------
    Fatal
        Code ``synthetic_model``: the model does not fit the schema.
    """

    def __init__(self, model: Model, size: Size, schema: str, alerts: int, rng: Generator) -> None:
        self._model, self._size = model, size
        self._frame = struct.pack(">BI", 0, model.schema_id)
        expanded: Any = fastavro.schema.expand_schema(json.loads(schema))
        self._slots = [_slot(field, model.packet.get(field["name"])) for field in expanded["fields"]]
        if unknown := set(model.packet) - {slot.name for slot in self._slots}:
            raise Fatal("synthetic_model", f"packet.{min(unknown)}: schema {model.schema_id} has no such field")
        self._stamps = [Stamps(StampShape(*shape), rng) if shape[0] else None for shape in size.stamps]
        self._pools = {
            slot.name: self._pool(slot, slot.part, alerts, rng)
            for slot in self._slots
            if slot.part is not None and slot.part.history is not None
        }

    def _pool(self, slot: _Slot, part: Part, alerts: int, rng: Generator) -> HistoryPool:
        quantiles = self._size.histories[_length(part)]
        most, mean = int(max(quantiles)), float(np.mean(quantiles))
        wanted = max(AT_ONCE * max(most, 1), min(_POOL_RECORDS, int(alerts * mean)))
        table = str(part.history)
        rules = self._model.records[table] | self._model.past.get(table, {})
        return HistoryPool(slot.fields, rules, wanted, rng)

    def make(self, given: Mapping[str, Values], moving: Mask, at: int, rng: Generator) -> list[bytes]:
        """Framed packets for up to `AT_ONCE` alerts.

        Parameters
        ----------
        given
            What belongs to each alert (see `producers.sources.distributions.Given`), `n` values each.
        moving
            Which alerts are of moving objects.
        at
            The number of the first of them in its run: where in the pools their histories begin.
        """
        longest = max((int(max(quantiles)) for quantiles in self._size.histories.values()), default=0)
        times = timelines(given["midpoint"], longest, self._model.past_days, rng)
        batch = _Batch(given, moving, rng.random(len(moving)), times, at, rng, {})
        columns = [[self._frame] * len(moving)]
        columns += [self._column(slot, batch) for slot in self._slots]
        return [b"".join(parts) for parts in zip(*columns)]

    def _column(self, slot: _Slot, batch: _Batch) -> list[bytes]:
        part, n = slot.part, len(batch.moving)
        if part is None:
            return [slot.null_branch] * n
        if part.value is not None:
            drawn = draw(slot.fields, {slot.name: part.value}, batch.given, batch.moving, batch.rng)
            return encode_rows(slot.fields, drawn, n).pieces()
        missing = absent(part.when, batch.moving)
        if part.record is not None:
            bodies = self._records(slot, part.record, batch, missing)
        elif part.stamp is not None:
            stamps = self._stamps[part.stamp]
            if stamps is None:
                return [slot.null_branch] * n
            head = varint(stamps.size)
            made = stamps.make(batch.given["ra"], batch.given["dec"], batch.rng, batch.psfs)
            bodies = [head + stamp for stamp in made]
        else:
            bodies = self._history(slot, part, batch, missing)
        return [slot.null_branch if gone else slot.value_branch + body for gone, body in zip(missing.tolist(), bodies)]

    def _records(self, slot: _Slot, table: str, batch: _Batch, missing: Mask) -> list[bytes]:
        rows = np.flatnonzero(~missing)
        bodies = [b""] * len(missing)
        if not len(rows):
            return bodies
        given = {name: values[rows] for name, values in batch.given.items()}
        drawn = draw(slot.fields, self._model.records[table], given, batch.moving[rows], batch.rng)
        for row, body in zip(rows.tolist(), encode_rows(slot.fields, drawn, len(rows)).pieces()):
            bodies[row] = body
        return bodies

    def _history(self, slot: _Slot, part: Part, batch: _Batch, missing: Mask) -> list[bytes]:
        quantiles = self._size.histories[_length(part)]
        lengths: NDArray[np.int64] = np.rint(interpolate(quantiles, batch.depth)).astype(np.int64)
        lengths[missing] = 0
        start = int(batch.at * float(np.mean(quantiles)))
        return self._pools[slot.name].arrays(lengths, batch.given, batch.times, start, batch.rng)


def _length(part: Part) -> str:
    return part.length or str(part.history)


def _slot(field: Mapping[str, Any], part: Part | None) -> _Slot:
    name = str(field["name"])
    kind, value_branch, null_branch = split_union(field["type"])
    if not null_branch and (part is None or part.when is not None):
        raise Fatal("synthetic_model", f"packet.{name}: the schema allows no null there")
    inner = kind["items"] if isinstance(kind, dict) and kind.get("type") == "array" else kind
    fields: list[FieldType] = []
    if part is not None and part.value is not None:
        fields = [FieldType.of(field)]
    elif part is not None and part.stamp is not None:
        if kind != "bytes":
            raise Fatal("synthetic_model", f"packet.{name}: the schema has no bytes there")
    elif part is not None:
        is_array = inner is not kind
        if not isinstance(inner, dict) or inner.get("type") != "record" or is_array != (part.history is not None):
            raise Fatal("synthetic_model", f"packet.{name}: the schema has no such record or array there")
        fields = [FieldType.of(one) for one in inner["fields"]]
    return _Slot(name, part, fields, value_branch, null_branch)
