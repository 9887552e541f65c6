"""The digest of index rows: over their values, so that the Arrow stream and the Parquet file have the same one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_128


def row_digest(rows: Any) -> str:
    """Return the xxh3-128 (hex) of index rows: a ``pa.RecordBatch`` or ``pa.Table`` of the index's schema.

    Column by column, in the order of the schema, all numbers little-endian, are digested: the column's name; where it
    may be null, a byte a row, 1 for a value and 0 for null; then for numbers the values, 0 for null; for strings and
    bytes the lengths of the values that are not null as int32, then their bytes one after the other; for lists the
    lengths as int32, then the columns of their items in the same way.
    """
    digest = xxh3_128()
    for field, column in zip(rows.schema, rows.columns):
        _feed(digest, field, column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
    return str(digest.hexdigest())


def _feed(digest: Any, field: Any, column: Any) -> None:
    digest.update(field.name.encode())
    if field.nullable:
        digest.update(np.ascontiguousarray(column.is_valid().to_numpy(zero_copy_only=False), np.uint8))
    if pa.types.is_list(field.type):
        digest.update(np.ascontiguousarray(pc.list_value_length(column), np.int32))
        items = column.flatten()
        for position, inner in enumerate(field.type.value_type):
            _feed(digest, inner, items.field(position))
    elif pa.types.is_binary(field.type) or pa.types.is_string(field.type):
        _feed_bytes(digest, column)
    elif pa.types.is_fixed_size_binary(field.type):
        width = field.type.byte_width
        digest.update(np.full(len(column), width, np.int32))
        if len(column):
            digest.update(column.buffers()[1][column.offset * width : (column.offset + len(column)) * width])
    else:
        values = column.fill_null(0) if column.null_count else column
        digest.update(np.ascontiguousarray(values.to_numpy(zero_copy_only=False)))


def _feed_bytes(digest: Any, column: Any) -> None:
    values = column.drop_null() if column.null_count else column
    if len(values) == 0:
        return
    _, offsets, data = values.buffers()
    bounds = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    digest.update(np.diff(bounds))
    if data is not None:
        digest.update(data[int(bounds[0]) : int(bounds[-1])])
