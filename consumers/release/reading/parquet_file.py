"""Tables in Parquet files, streamed by row groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from consumers.release.reading.catalogue import ROWS, LeftOut, damaged, picked, refuse_twins

BUFFER = 1 << 20
"""Bytes of a column that are read at a time; a mapped file, or a row group read whole, would be memory of its own."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A column of the catalogue: one of the file, or one element of its lists of fixed size."""

    field: pa.Field
    column: str
    element: int | None = None

    def array(self, batch: pa.RecordBatch) -> pa.Array:
        own = batch.column(batch.schema.get_field_index(self.column))
        if pa.types.is_dictionary(own.type):
            own = own.dictionary_decode()
        if self.element is None:
            return own
        size = own.type.list_size
        places = pa.array(range(own.offset * size + self.element, (own.offset + len(own)) * size, size), pa.int64())
        taken = own.values.take(places)
        return taken if own.null_count == 0 else pa.compute.if_else(own.is_valid(), taken, None)


class ParquetCatalogue:
    """A Parquet file.

    Raises
    ------
    Wrong
        ``bad_catalogue``: it is damaged or breaks off.
    """

    form = "Parquet"

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with pq.ParquetFile(path) as file:
                found = file.schema_arrow
                self.rows: int | None = file.metadata.num_rows
        except (pa.ArrowException, OSError) as error:
            raise damaged(path, f"this is not a whole Parquet file ({error})") from error
        parts: list[_Part] = []
        out: list[LeftOut] = []
        for field in found:
            # What pandas keeps for itself is no column of the catalogue.
            if field.name.startswith("__index_level_"):
                out.append(LeftOut(field.name, "the index of a pandas frame"))
            elif why := _why_not(field.type):
                out.append(LeftOut(field.name, why))
            else:
                parts += _parts(field)
        self._parts = parts
        self.left_out: Sequence[LeftOut] = out
        self.notes: Sequence[str] = ()
        self.schema = pa.schema([part.field for part in parts])
        refuse_twins(self)

    def batches(self, columns: Sequence[str] | None = None, rows: int = ROWS) -> Iterator[pa.RecordBatch]:
        """The rows in order; `Catalogue.batches`."""
        by_name = {part.field.name: part for part in self._parts}
        wanted = [by_name[name] for name in picked(self, columns)]
        schema = pa.schema([part.field for part in wanted])
        files = list(dict.fromkeys(part.column for part in wanted))
        try:
            with pq.ParquetFile(self.path, buffer_size=BUFFER, pre_buffer=False) as file:
                for batch in file.iter_batches(batch_size=rows, columns=files, use_threads=False):
                    if batch.num_rows:
                        yield pa.RecordBatch.from_arrays([part.array(batch) for part in wanted], schema=schema)
        except (pa.ArrowException, OSError) as error:
            raise damaged(self.path, f"this Parquet file is damaged ({error})") from error


def _parts(field: pa.Field) -> Iterator[_Part]:
    kind = field.type
    metadata = {key: value for key, value in (field.metadata or {}).items() if key != b"PARQUET:field_id"} or None
    if pa.types.is_fixed_size_list(kind):
        for element in range(kind.list_size):
            name = f"{field.name}_{element}"
            yield _Part(pa.field(name, kind.value_type, True, metadata), field.name, element)
    else:
        own = kind.value_type if pa.types.is_dictionary(kind) else kind
        yield _Part(pa.field(field.name, own, field.nullable, metadata), field.name)


def _why_not(kind: pa.DataType) -> str:
    """Why a table in a database cannot have it; empty where it can."""
    if pa.types.is_dictionary(kind) or pa.types.is_fixed_size_list(kind):
        return _why_not(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return "an array of variable length"
    if pa.types.is_nested(kind):
        return f"it is nested ({kind})"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return "bytes"
    if pa.types.is_time(kind) or pa.types.is_duration(kind) or pa.types.is_interval(kind):
        return f"a {kind} has no MySQL type that holds it"
    return ""
