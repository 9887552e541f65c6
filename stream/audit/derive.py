"""What Level-1 should say of a packet: fields decoded by fastavro, put through the survey file's rules."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import fastavro
import numpy as np

from stream.alert import Column, ColumnKind, Level1Column, Refusal
from stream.audit.containers import read_container
from stream.audit.notes import Damaged
from stream.audit.schema import bare, column_kinds
from stream.survey import Survey

Fields = tuple[Any, ...]
"""The wanted fields of one packet, in the order of `Decoder.slots`."""


class Slot(NamedTuple):
    """A wanted field that a schema has, and the kind of column that it gives."""

    path: str
    kind: ColumnKind


@lru_cache(maxsize=32)
def decoder_of(schema: str, paths: frozenset[str], *, whole: bool = False) -> Decoder:
    """The decoder of a schema, kept: parsing a large schema takes ten times as long as decoding a packet."""
    return Decoder(schema, paths, whole=whole)


class Decoder:
    """Decodes the wanted fields of packets of one writer schema.

    A record's encoding is that of its fields one after the other, so a schema that ends after the last wanted field
    reads the beginning of the packet: histories and images behind it cost nothing.

    Parameters
    ----------
    schema
        The writer schema's JSON.
    paths
        Dotted paths of the fields that a survey's columns come from.
    whole
        Read packets to their end: others follow them.
    """

    def __init__(self, schema: str, paths: Collection[str], *, whole: bool = False) -> None:
        plain = bare(json.loads(schema))
        self.slots = tuple(Slot(*each) for each in column_kinds(plain, paths).items())
        self._split = tuple(tuple(slot.path.split(".")) for slot in self.slots)
        if isinstance(plain, dict) and "fields" in plain and not whole:
            tops = {path[0] for path in self._split}
            names = [each["name"] for each in plain["fields"]]
            last = max((names.index(top) for top in tops), default=-1)
            plain = {**plain, "fields": plain["fields"][: last + 1]}
        self._schema = fastavro.parse_schema(plain, named_schemas={})

    def datum(self, datum: bytes | memoryview) -> Fields:
        """The wanted fields of one Avro datum; raises `Damaged` where it cannot be decoded."""
        try:
            return self._read(io.BytesIO(datum))
        except Exception as error:  # whatever fastavro raises on bytes that are no packet
            raise Damaged(f"a packet cannot be decoded: {error!r}"[:200]) from error

    def records(self, data: bytes, count: int) -> list[Fields]:
        """The wanted fields of `count` datums one after the other; raises whatever fastavro raises."""
        file = io.BytesIO(data)
        found = [self._read(file) for _ in range(count)]
        if file.tell() != len(data):
            raise ValueError(f"{len(data) - file.tell()} bytes are left over")
        return found

    def _read(self, file: io.BytesIO) -> Fields:
        record = fastavro.schemaless_reader(file, self._schema, None)
        return tuple(_pick(record, path) for path in self._split)


def message_fields(message: bytes, paths: frozenset[str]) -> tuple[tuple[Slot, ...], list[Fields]]:
    """The slots and wanted fields of each record in a message that is a container file; raises `Damaged`."""
    try:
        schema, blocks = read_container(message)
        decoder = decoder_of(schema, paths, whole=True)
        return decoder.slots, [fields for count, data in blocks for fields in decoder.records(data, count)]
    except Exception as error:  # whatever fastavro raises on bytes that are no container
        raise Damaged(f"a message cannot be decoded: {error!r}"[:200]) from error


def level1_columns(
    survey: Survey, slots: Sequence[Slot], rows: Sequence[Fields]
) -> tuple[dict[str, Level1Column], list[Refusal]]:
    """Level-1's columns from ``night`` to ``flags``, a row for each of `rows`, and the rows that cannot be taken."""
    texts = bytearray()
    columns = {slot.path: _column(slot.kind, [row[k] for row in rows], texts) for k, slot in enumerate(slots)}
    return survey.convert(columns, bytes(texts), len(rows))


def _column(kind: ColumnKind, values: Sequence[Any], texts: bytearray) -> Column:
    null = np.array([value is None for value in values], np.bool_)
    if kind == "text":
        bounds = np.zeros((len(values), 2), np.int64)
        for row, value in enumerate(values):
            if value is not None:
                start = len(texts)
                texts += value.encode() if isinstance(value, str) else value
                bounds[row] = start, len(texts)
        return Column("text", bounds, null)
    there = [0 if value is None else value for value in values]
    numbers = np.array(there, np.float64) if kind == "float" else np.array(there, np.int64)
    return Column(kind, numbers, null)


def _pick(record: Any, path: Sequence[str]) -> Any:
    """The field at a path; None where a null or a union's branch without it is in between."""
    for name in path:
        if not isinstance(record, dict):
            return None
        record = record.get(name)
    return record
