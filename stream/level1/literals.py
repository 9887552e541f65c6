"""SQL text of many rows, made column by column: 4 µs a row of 38 columns where binding each value takes 60.

Every literal is made of digits, of hex digits, or is NULL: no text of a packet ever stands in a statement as it came,
so that nothing needs escaping.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_HEX = np.frombuffer(b"0123456789ABCDEF", np.uint8)
_OPEN, _COMMA, _CLOSE = (pa.scalar(text, pa.large_string()) for text in ("(", ",", "),"))
_EXPONENT, _NOTHING = (pa.scalar(text, pa.large_string()) for text in ("e0", ""))


def tuples(columns: Sequence[pa.Array]) -> pa.LargeStringArray:
    """One text a row: ``(v1,v2,...),``.

    Parameters
    ----------
    columns
        Of equal length: integers, float64 (finite or null), string, or fixed-size binary.
    """
    inner = pc.binary_join_element_wise(
        *(_literals(column) for column in columns), _COMMA, null_handling="replace", null_replacement="NULL"
    )
    return pc.binary_join_element_wise(_OPEN, inner, _CLOSE, _NOTHING)


def statements(head: str, rows: pa.LargeStringArray, tail: str, max_bytes: int) -> Iterator[str]:
    """Multi-row statements ``head (row),(row) tail`` of at most `max_bytes` each (a single longer row goes alone).

    `rows` are as `tuples` makes them: as they lie one after the other in memory they are the text of VALUES.
    """
    _, offsets, text = rows.buffers()
    ends = np.frombuffer(offsets, np.int64)[rows.offset : rows.offset + len(rows) + 1]
    room = max_bytes - len(head) - len(tail) - 2
    start = 0
    while start < len(rows):
        stop = max(start + 1, int(np.searchsorted(ends, ends[start] + room, side="right")) - 1)
        values = bytes(memoryview(text)[ends[start] : ends[stop] - 1]).decode("ascii")
        yield f"{head} {values} {tail}"
        start = stop


def _literals(column: pa.Array) -> pa.LargeStringArray:
    kind = column.type
    if pa.types.is_integer(kind):
        return pc.cast(column, pa.large_string())
    if pa.types.is_floating(kind):
        return _doubles(column)
    if pa.types.is_string(kind):
        return _texts(column)
    if pa.types.is_fixed_size_binary(kind):
        return _binaries(column)
    raise TypeError(f"no literal for {kind}")


def _doubles(column: pa.Array) -> pa.LargeStringArray:
    """Shortest digits that give the same double, with an exponent: without one MariaDB reads a DECIMAL first."""
    digits = pc.cast(column, pa.large_string())
    return pc.if_else(pc.match_substring(digits, "e"), digits, pc.binary_join_element_wise(digits, _EXPONENT, _NOTHING))


def _texts(column: pa.Array) -> pa.LargeStringArray:
    if column.null_count == len(column):
        return pa.nulls(len(column), pa.large_string())
    coded = column.dictionary_encode()
    known = [f"_utf8mb4 x'{text.encode().hex()}'" for text in coded.dictionary.to_pylist()]
    return pc.take(pa.array(known, pa.large_string()), coded.indices)


def _binaries(column: pa.Array) -> pa.LargeStringArray:
    width, n = column.type.byte_width, len(column)
    raw = np.frombuffer(column.buffers()[1], np.uint8)[column.offset * width :][: n * width].reshape(n, width)
    text: NDArray[np.uint8] = np.empty((n, 2 * width + 3), np.uint8)
    text[:, :2] = np.frombuffer(b"x'", np.uint8)
    text[:, 2:-1:2] = _HEX[raw >> 4]
    text[:, 3:-1:2] = _HEX[raw & 15]
    text[:, -1] = ord("'")
    offsets = np.arange(n + 1, dtype=np.int64) * text.shape[1]
    made = pa.LargeStringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(text))
    return pc.if_else(column.is_valid(), made, pa.scalar(None, pa.large_string())) if column.null_count else made
