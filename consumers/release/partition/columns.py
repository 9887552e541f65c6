"""Arrow columns as compiled code reads them: a kind and addresses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream.errors import Wrong

NOTHING, BOOLEAN, TEXT = 0, 1, 2
INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FLOAT32, FLOAT64 = range(3, 13)

_KINDS = {
    pa.null(): NOTHING, pa.bool_(): BOOLEAN, pa.large_string(): TEXT, pa.large_binary(): TEXT,
    pa.int8(): INT8, pa.int16(): INT16, pa.int32(): INT32, pa.int64(): INT64,
    pa.uint8(): UINT8, pa.uint16(): UINT16, pa.uint32(): UINT32, pa.uint64(): UINT64,
    pa.float32(): FLOAT32, pa.float64(): FLOAT64,
}  # fmt: skip
_DTYPES = {
    pa.int8(): np.int8, pa.int16(): np.int16, pa.int32(): np.int32, pa.int64(): np.int64,
    pa.uint8(): np.uint8, pa.uint16(): np.uint16, pa.uint32(): np.uint32, pa.uint64(): np.uint64,
    pa.float32(): np.float32, pa.float64(): np.float64,
}  # fmt: skip
_VIEWS = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
_LONGEST = {
    NOTHING: 2, BOOLEAN: 2, INT8: 4, INT16: 6, INT32: 11, INT64: 20, UINT8: 3, UINT16: 5, UINT32: 10, UINT64: 20,
    FLOAT32: 18, FLOAT64: 25,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a batch.

    Parameters
    ----------
    words
        ``int64[columns, 5]``: kind, address of the data, of the validity bits (0 where nothing is missing), the first
        row's number there, address of the offsets of text.
    kept
        What owns the memory.
    """

    words: NDArray[np.int64]
    kept: tuple[pa.Array, ...]

    def longest(self, rows: int) -> int:
        """At least as many bytes as the fields of all rows take, with a delimiter each."""
        fixed = rows * sum(_LONGEST.get(int(kind), 2) + 1 for kind in self.words[:, 0])
        texts = [array for array, kind in zip(self.kept, self.words[:, 0]) if kind == TEXT]
        return int(fixed + sum(2 * (pc.sum(pc.binary_length(array)).as_py() or 0) for array in texts))


def of_batch(batch: pa.RecordBatch) -> Columns:
    """A batch's columns.

    Raises
    ------
    Wrong
        Code ``bad_column``: a column of a type that no field of a line can have.
    """
    arrays = [_plain(batch.schema.field(i), array) for i, array in enumerate(batch.columns)]
    words = np.zeros((len(arrays), 5), np.int64)
    for i, array in enumerate(arrays):
        words[i] = _words(array)
    return Columns(words, tuple(arrays))


def in_order(batch: pa.RecordBatch, rows: NDArray[np.int64]) -> pa.RecordBatch:
    """The rows of a batch in this order. Of texts in views Arrow takes none: they are copied first."""
    for i, kind in enumerate(batch.schema.types):
        if kind in _VIEWS:
            batch = batch.set_column(i, batch.schema.names[i], pc.cast(batch.column(i), _VIEWS[kind]))
    return batch.take(as_arrow(rows))


def as_arrow(values: NDArray[np.int64]) -> pa.Array:
    """Numbers as an array. Arrow's own ways from and to NumPy import pandas first: 0.4 s, and 40 MB."""
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def as_texts(values: Sequence[str]) -> pa.Array:
    """Texts as an array, likewise."""
    data = [value.encode() for value in values]
    offsets = np.cumsum([0, *map(len, data)]).astype(np.int64)
    return pa.Array.from_buffers(
        pa.large_string(), len(data), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(data))]
    )


def values_of(array: pa.Array) -> NDArray[Any]:
    """The values of an array of numbers, not copied; where they are null, whatever lies there."""
    dtype = _DTYPES[array.type]
    data = array.buffers()[1]
    if data is None:
        return np.zeros(len(array), dtype)
    return np.frombuffer(data, dtype, len(array), array.offset * np.dtype(dtype).itemsize)


def nulls_of(array: pa.Array) -> NDArray[np.bool_]:
    """``bool[n]``: where a value is missing."""
    valid = array.buffers()[0] if array.null_count else None
    return np.zeros(len(array), bool) if valid is None else ~_bits(valid, array)


def mask_of(array: pa.Array) -> NDArray[np.bool_]:
    """The values of an array of booleans of which none is missing."""
    return _bits(array.buffers()[1], array)


def _bits(data: pa.Buffer, array: pa.Array) -> NDArray[np.bool_]:
    first, last = array.offset, array.offset + len(array)
    return np.unpackbits(np.frombuffer(data, np.uint8), count=last, bitorder="little")[first:].astype(bool)


def _words(array: pa.Array) -> tuple[int, int, int, int, int]:
    kind = _KINDS[array.type]
    if kind == NOTHING:
        return kind, 0, 0, 0, 0
    buffers = array.buffers()
    valid = buffers[0].address if buffers[0] is not None and array.null_count else 0
    data = buffers[-1].address if buffers[-1] is not None else 0
    return kind, data, valid, array.offset, buffers[1].address if kind == TEXT else 0


def _plain(field: pa.Field, array: pa.Array) -> pa.Array:
    """An array of a kind that compiled code knows."""
    kind = array.type
    if kind in _KINDS:
        return array
    try:
        if pa.types.is_dictionary(kind):
            return _plain(field, array.dictionary_decode())
        if pa.types.is_timestamp(kind):
            array = _moments(array)
        return pc.cast(array, _target(kind))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError) as error:
        text = f"column {field.name} is of type {kind}, which no field of a chunk file can have"
        raise Wrong("bad_column", text, "leave it out of the description, or write it as columns of numbers") from error


def _moments(array: pa.Array) -> pa.Array:
    """Times without a zone, of microseconds at most: MySQL has no others, and warns of digits that it cuts."""
    kind = array.type
    if kind.tz:
        # An instant in UTC, as Arrow keeps it.
        array = pc.cast(array, pa.timestamp(kind.unit))
    if kind.unit == "ns":
        array = pc.cast(pc.floor_temporal(array, unit="microsecond"), pa.timestamp("us"))
    return array


def _target(kind: pa.DataType) -> Any:
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind) or kind == pa.binary_view():
        return pa.large_binary()
    if pa.types.is_nested(kind):
        raise KeyError(kind)
    return pa.large_string()
