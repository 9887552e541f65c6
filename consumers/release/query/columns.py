"""A MySQL column as an Arrow one: both protocols give values as text, and what they are apart from it.

FLOAT comes with six digits, whatever its bits are: MySQL writes no more of it as text. ``CAST(x AS DOUBLE)`` has all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from stream.errors import Fatal

Value = str | bytes | None

_PLAIN = {
    "TINYINT": pa.int8(), "SMALLINT": pa.int16(), "MEDIUMINT": pa.int32(), "INT": pa.int32(), "INTEGER": pa.int32(),
    "BIGINT": pa.int64(), "BOOL": pa.int8(), "BOOLEAN": pa.int8(), "YEAR": pa.int16(),
    "FLOAT": pa.float32(), "DOUBLE": pa.float64(), "REAL": pa.float64(),
    "DATE": pa.date32(), "NEWDATE": pa.date32(), "DATETIME": pa.timestamp("us"), "TIMESTAMP": pa.timestamp("us"),
    "BIT": pa.uint64(), "NULL": pa.null(),
    "BINARY": pa.binary(), "VARBINARY": pa.binary(), "TINYBLOB": pa.binary(), "BLOB": pa.binary(),
    "MEDIUMBLOB": pa.binary(), "LONGBLOB": pa.binary(), "GEOMETRY": pa.binary(),
}  # fmt: skip
_UNSIGNED = {pa.int8(): pa.uint8(), pa.int16(): pa.uint16(), pa.int32(): pa.uint32(), pa.int64(): pa.uint64()}
_TYPE = re.compile(r"\s*([A-Z]+)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?(.*)", re.DOTALL)


def arrow_type(mysql: str) -> pa.DataType:
    """The Arrow type of a MySQL type as ``CREATE TABLE`` has it, e.g. ``BIGINT(20) UNSIGNED``.

    Text and TIME, ENUM, SET, JSON are strings; BIT is uint64; DECIMAL without digits is float64.
    """
    found = _TYPE.fullmatch(mysql.upper())
    if found is None:
        return pa.string()
    word, digits, scale, rest = found.groups()
    if word in ("DECIMAL", "NUMERIC", "NEWDECIMAL"):
        return _decimal(int(digits), int(scale or 0)) if digits else pa.float64()
    kind = _PLAIN.get(word, pa.string())
    return _UNSIGNED.get(kind, kind) if "UNSIGNED" in rest else kind


def once_each(names: Sequence[str]) -> list[str]:
    """Names of an answer's columns, each once: of two that are alike, as a join has them, the second is ``name_2``."""
    found: list[str] = []
    for name in names:
        other, number = name, 1
        while other in found or (number > 1 and other in names):
            number += 1
            other = f"{name}_{number}"
        found.append(other)
    return found


def array(name: str, values: Sequence[Value], kind: pa.DataType) -> pa.Array:
    """A column of `values` as they came; bytes where the column is binary.

    Raises
    ------
    Fatal
        ``query_answer``: a value is none of its column's type; says which.
    """
    try:
        if pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_null(kind):
            return pa.array(values, kind)
        if kind == pa.uint64() and any(isinstance(value, bytes) for value in values):
            return pa.array([None if value is None else _bits(value) for value in values], kind)
        if pa.types.is_temporal(kind):
            # A zero date is no day: MySQL has it where a date was neither given nor NULL.
            values = [None if isinstance(value, str) and value.startswith("0000-00-00") else value for value in values]
        return pa.array(values, pa.string()).cast(kind)
    except (pa.ArrowException, ValueError) as error:
        text = f"column {name} of the answer is no {kind}: {error}"
        raise Fatal("query_answer", text, "say CAST(… AS CHAR) in the query to see what it is") from error


def _decimal(digits: int, scale: int) -> pa.DataType:
    return pa.decimal128(digits, scale) if digits <= 38 else pa.decimal256(digits, scale)


def _bits(value: str | bytes) -> int:
    return int.from_bytes(value, "big") if isinstance(value, bytes) else int(value)
