"""An answer as a table, CSV, Parquet or JSON, batch by batch: a large one is never in memory whole, but as JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from stream.cli.output import printing, show, show_json, writing
from stream.errors import Wrong

Format = Literal["table", "csv", "parquet"]


def give(reader: pa.RecordBatchReader, form: Format, output: Path | None, as_json: bool) -> None:
    """Print the answer, or write it into `output`: a file is there only once it is whole.

    Raises
    ------
    Wrong
        ``output``: it cannot be written, or a terminal cannot show it.
    """
    if as_json:
        show_json([row for batch in reader for row in readable(batch).to_pylist()])
    elif form == "table":
        rows = (row for batch in reader for row in readable(batch).to_pylist())
        show(rows, columns=reader.schema.names, as_json=False)
    elif output is not None:
        with writing(output), _whole(output) as path:
            _write(reader, form, str(path))
    elif form == "parquet" and sys.stdout.isatty():
        raise Wrong("output", "a terminal cannot show Parquet", "give a file with --output, or use a pipe")
    else:
        with printing():
            _write(reader, form, sys.stdout.buffer)
            sys.stdout.buffer.flush()


def readable(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch as text has it: times ISO 8601 as the database has them, bytes hexadecimal, floats short."""
    columns = [_readable(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _readable(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_binary(kind):
        return pa.array([None if value is None else value.hex() for value in column.to_pylist()], pa.string())
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.string())
    if pa.types.is_float32(kind):
        # A float32 as Python's double would show digits that nobody measured.
        return column.cast(pa.string()).cast(pa.float64())
    return column


def _write(reader: pa.RecordBatchReader, form: Format, sink: Any) -> None:
    from pyarrow import csv, parquet

    if form == "parquet":
        with parquet.ParquetWriter(sink, reader.schema, compression="zstd") as parts:
            _each(reader, parts.write_batch)
        return
    with csv.CSVWriter(sink, readable(_empty(reader.schema)).schema) as lines:
        _each(map(readable, reader), lines.write_batch)


def _each(batches: Iterable[pa.RecordBatch], write: Callable[[pa.RecordBatch], None]) -> None:
    for batch in batches:
        write(batch)


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


@contextmanager
def _whole(output: Path) -> Iterator[Path]:
    """A name beside `output` that becomes it at the end; a device or pipe is written as it is."""
    if output.exists() and not output.is_file():
        yield output
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    new = output.with_name(f"{output.name}.new")
    try:
        yield new
        new.replace(output)
    finally:
        new.unlink(missing_ok=True)
