"""The messages of a segment's batches again, whole, as they came from Kafka."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import fastavro

from stream.audit.blocks import DataFile, Head
from stream.audit.files import File, Files
from stream.audit.indexes import read_index
from stream.audit.notes import Damaged, Note


@dataclass(frozen=True, slots=True)
class Batch:
    """One commit's part of a segment.

    Attributes
    ----------
    rows
        Index rows as dictionaries.
    values
        By block offset and slot the whole message.
    """

    head: Head
    note: Note
    rows: list[dict[str, Any]]
    values: Mapping[tuple[int, int], bytes]


class Messages:
    """Reads the batches of one segment, forwards; one that lies behind is read from the beginning again.

    Parameters
    ----------
    names
        Data file and index.
    lengths
        Bytes of them that count.
    """

    def __init__(self, files: Files, names: tuple[str, str], lengths: tuple[int, int]) -> None:
        self._names, self._lengths = names, lengths
        self._data: File = files.open(names[0])
        self._index: File = files.open(names[1])
        self._source = DataFile(self._data, lengths[0])
        self._schema = None
        if self._source.head.kind in ("raw", "quarantine"):
            self._schema = fastavro.parse_schema(json.loads(self._source.head.schema))
        self._rewind()

    def close(self) -> None:
        """Let go of the files."""
        self._data.close()
        self._index.close()

    def batch(self, ordinal: int) -> Batch:
        """The batch of this ordinal; raises `Damaged`."""
        if ordinal < self._next:
            self._rewind()
        while True:
            rows, note = next(self._batches)
            self._next += 1
            if self._next > ordinal:
                return self._read(rows.to_pylist(), note)

    def batches(self) -> Iterator[Batch]:
        """All batches, from the first; raises `Damaged`."""
        self._rewind()
        for rows, note in self._batches:
            self._next += 1
            yield self._read(rows.to_pylist(), note)

    def _rewind(self) -> None:
        self._batches: Iterator[tuple[Any, Note]] = read_index(self._names[1], self._index, self._lengths[1])
        self._next = 0

    def _read(self, rows: list[dict[str, Any]], note: Note) -> Batch:
        first: dict[int, dict[int, dict[str, Any]]] = {}
        for one in rows:
            if one["part"] == 0:
                first.setdefault(one["blockOffset"], {})[one["slot"]] = one
        values: dict[tuple[int, int], bytes] = {}
        for block in self._source.blocks(note):
            for slot, one in first.get(block.offset, {}).items():
                start = one["datumStart"]
                values[block.offset, slot] = self._value(block.data[start : start + one["datumSize"]], one)
        if len(values) != sum(map(len, first.values())):
            raise Damaged(f"the index of {self._names[1]} names blocks that are not there")
        return Batch(self._source.head, note, rows, values)

    def _value(self, datum: bytes, one: dict[str, Any]) -> bytes:
        if self._schema is None:
            return b"".join((self._source.head.prefix, one["head"], datum, one["tail"]))
        found: Any = fastavro.schemaless_reader(io.BytesIO(datum), self._schema, None)
        return found if isinstance(found, bytes) else bytes(found["value"])
