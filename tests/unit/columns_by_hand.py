"""Columns of a batch made from packets that fastavro decoded: what the packet kernel gives, by other means."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
from lsst.alert.packet import Schema, get_schema_path

from stream.alert import Column

MISSING = object()


def wire_packet(path: Path) -> dict[str, Any]:
    """A packet in Confluent framing, decoded with the schema that its id names."""
    raw = path.read_bytes()
    major, minor = divmod(int.from_bytes(raw[1:5], "big"), 100)
    schema = Schema.from_file(f"{get_schema_path(major, minor)}/lsst.v{major}_{minor}.alert.avsc").definition
    record = fastavro.schemaless_reader(io.BytesIO(raw[5:]), schema)
    assert isinstance(record, dict)
    return record


def container_packet(path: Path) -> dict[str, Any]:
    """The one record of an Avro container file."""
    with path.open("rb") as file:
        (record,) = fastavro.reader(file)
    assert isinstance(record, dict)
    return record


def columns_of(records: Sequence[dict[str, Any]], paths: Iterable[str]) -> tuple[dict[str, Column], bytes]:
    """Columns for those of `paths` that the records have, and the buffer into which their texts point."""
    buffer = bytearray(b"\x00\xff")
    columns = {}
    for path in paths:
        values = [_at(record, path) for record in records]
        if MISSING not in values:
            columns[path] = _column(values, buffer)
    return columns, bytes(buffer)


def _at(record: dict[str, Any], path: str) -> Any:
    value: Any = record
    for part in path.split("."):
        if value is None:
            return None
        value = value.get(part, MISSING)
        if value is MISSING:
            return MISSING
    return value


def _column(values: list[Any], buffer: bytearray) -> Column:
    null = np.array([value is None for value in values])
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {str, bytes} and kinds:
        spans = np.zeros((len(values), 2), dtype=np.int64)
        for row, value in enumerate(values):
            raw = value.encode() if isinstance(value, str) else value or b""
            spans[row] = len(buffer), len(buffer) + len(raw)
            buffer += raw
        return Column("text", spans, null)
    if float in kinds:
        return Column("float", np.array([value or 0.0 for value in values], dtype=np.float64), null)
    return Column("int", np.array([int(value or 0) for value in values], dtype=np.int64), null)
