"""Level-1 rows as Arrow and astropy tables whose columns carry units and descriptions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from sqlalchemy import BIGINT, BLOB, DOUBLE, INTEGER, SMALLINT

from stream.tables.limits import limits
from stream.tables.model import notes, table

if TYPE_CHECKING:
    from astropy.table import Table


@cache
def schema(name: str = "level1") -> pa.Schema:
    """Arrow schema of table `name`; a field's metadata has ``unit`` (IVOA, where it has one) and ``description``."""
    fields = []
    for column in table(name).columns:
        note = notes(name)[column.name]
        said = {"description": note.description} | ({"unit": note.unit} if note.unit else {})
        fields.append(pa.field(column.name, _type(name, column), nullable=bool(column.nullable), metadata=said))
    return pa.schema(fields)


def to_arrow(rows: Sequence[Sequence[Any]], name: str = "level1") -> pa.Table:
    """Rows with every column of table `name`, in its order."""
    made = schema(name)
    if not rows:
        return made.empty_table()
    return pa.Table.from_arrays(
        [pa.array(values, field.type) for values, field in zip(zip(*rows, strict=True), made, strict=True)],
        schema=made,
    )


def to_astropy(rows: pa.Table) -> Table:
    """An astropy table of `rows`: masked where NULL, with units and descriptions."""
    from astropy.table import MaskedColumn, Table

    made = Table()
    for field, column in zip(rows.schema, rows.columns, strict=True):
        said = field.metadata or {}
        null = np.array(column.is_null().to_numpy(), np.bool_)
        made[field.name] = MaskedColumn(
            _plain(column.combine_chunks()),
            mask=null,
            unit=said[b"unit"].decode() if b"unit" in said else None,
            description=said.get(b"description", b"").decode(),
        )
    return made


def _plain(column: pa.Array) -> Any:
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return column.fill_null(0).to_numpy(zero_copy_only=False)
    if pa.types.is_fixed_size_binary(kind):
        return np.array(column.to_pylist(), object)
    return np.array(column.fill_null("").to_pylist(), np.str_)


def _type(name: str, column: Any) -> pa.DataType:
    match column.type:
        case DOUBLE():
            return pa.float64()
        case BLOB():
            return pa.binary(column.type.length)
        case BIGINT() if limits(name)[column.name].least == 0:
            return pa.uint32()
        case BIGINT():
            return pa.int64()
        case INTEGER():
            return pa.int32()
        case SMALLINT():
            return pa.int16()
    return pa.string()
