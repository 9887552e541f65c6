"""An answer as people use it: Arrow with units, astropy, pandas. What is NULL stays missing in each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from consumers.release.table import Table as Described

if TYPE_CHECKING:
    import pandas
    from astropy.table import Table


def with_units(rows: pa.Table, described: Described) -> pa.Table:
    """`rows` whose columns of the same names as in `described` have its ``unit`` and ``description`` as metadata."""
    known = {column.name: column for column in described.columns}
    fields = []
    for field in rows.schema:
        if column := known.get(field.name):
            said = {"unit": column.unit, "description": column.description}
            field = field.with_metadata({name: text for name, text in said.items() if text})
        fields.append(field)
    return rows.cast(pa.schema(fields))


def to_astropy(rows: pa.Table) -> Table:
    """An astropy table: masked columns where NULL may be, units and descriptions where the columns have them.

    Times are `numpy.datetime64` (us, as the database has them), DECIMAL is float64, bytes are objects.
    """
    from astropy.table import MaskedColumn, Table

    made = Table()
    for field, column in zip(rows.schema, rows.columns, strict=True):
        said = field.metadata or {}
        made[field.name] = MaskedColumn(
            _values(column.combine_chunks()),
            mask=np.asarray(column.is_null().to_numpy(), np.bool_),
            unit=said[b"unit"].decode() if b"unit" in said else None,
            description=said.get(b"description", b"").decode(),
        )
    return made


def to_pandas(rows: pa.Table) -> pandas.DataFrame:
    """A pandas frame of pandas' own types that can miss a value: a BIGINT with NULLs keeps all of its digits."""
    import pandas as pd

    kinds: dict[pa.DataType, Any] = {
        pa.int8(): pd.Int8Dtype(), pa.int16(): pd.Int16Dtype(), pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(), pa.uint8(): pd.UInt8Dtype(), pa.uint16(): pd.UInt16Dtype(),
        pa.uint32(): pd.UInt32Dtype(), pa.uint64(): pd.UInt64Dtype(), pa.float32(): pd.Float32Dtype(),
        pa.float64(): pd.Float64Dtype(), pa.string(): pd.StringDtype(),
    }  # fmt: skip
    return rows.to_pandas(types_mapper=kinds.get)


def _values(column: pa.Array) -> Any:
    kind = column.type
    if pa.types.is_decimal(kind):
        return _values(column.cast(pa.float64()))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return column.fill_null(0).to_numpy(zero_copy_only=False)
    if pa.types.is_timestamp(kind):
        return column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False).astype("datetime64[us]")
    if pa.types.is_date(kind):
        return column.cast(pa.int32()).fill_null(0).to_numpy(zero_copy_only=False).astype("datetime64[D]")
    if pa.types.is_string(kind):
        return np.array(column.fill_null("").to_pylist(), np.str_)
    return np.array(column.to_pylist(), object)
