"""The lines of chunk files, written by compiled code: rows of columns as text, and copies of them for the overlap.

Fields are as MySQL's ``LOAD DATA`` reads them, escaped by a backslash and without quotes. NULL is ``\\N``, and so are
NaN and infinities. Of text, the delimiter, backslashes, ends of lines and NULs are escaped: a text ``\\N`` stays one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from consumers.release.partition import columns as kinds
from consumers.release.partition.compiling import Kernel
from consumers.release.partition.floats import put_double, put_integer, put_single, put_unsigned
from consumers.release.partition.memory import copy, double_at, i64, int8_at, int16_at, int32_at, put_half
from stream.codec.loads import address_of, byte_at, compiled, element, float_at, put_byte, word_at

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

ESCAPE, NEWLINE, RETURN = 92, 10, 13
NULL = 92 | 78 << 8
_ZERO, _ESCAPED_NEWLINE, _ESCAPED_RETURN = 48, 92 | 110 << 8, 92 | 114 << 8


class Places(NamedTuple):
    """Where lines go, `n` of them, in their order in the file.

    Parameters
    ----------
    row
        ``int64[n]``: the line's row.
    chunk, sub_chunk
        ``int32[n]``.
    flags
        ``int32[n]``: of a match table; empty of others.
    """

    row: Ints
    chunk: NDArray[np.int32]
    sub_chunk: NDArray[np.int32]
    flags: NDArray[np.int32] = np.zeros(0, np.int32)


@compiled
def put_character(out: int, p: int, character: int, delimiter: int) -> int:
    """Write one byte of a text, escaped where it must be; where it ends."""
    if character in (NEWLINE, RETURN):
        put_half(out, p, _ESCAPED_NEWLINE if character == NEWLINE else _ESCAPED_RETURN)
        return p + 2
    if character in (0, ESCAPE, delimiter):
        put_half(out, p, ESCAPE | (_ZERO if character == 0 else character) << 8)
        return p + 2
    put_byte(out, p, character)
    return p + 1


@compiled
def put_text(out: int, p: int, data: int, start: int, end: int, delimiter: int) -> int:
    """Write a text; where it ends."""
    for i in range(start, end):
        p = put_character(out, p, byte_at(data, i), delimiter)
    return p


@compiled
def put_tail(out: int, p: int, chunk: int, sub_chunk: int, flags: int, delimiter: int) -> int:
    """Write what partitioning appends to a line, and its end; where it ends. No chunk where that is negative."""
    if chunk >= 0:
        put_byte(out, p, delimiter)
        p = put_integer(out, p + 1, chunk)
        put_byte(out, p, delimiter)
        p = put_integer(out, p + 1, sub_chunk)
        if flags > 0:
            put_byte(out, p, delimiter)
            p = put_integer(out, p + 1, flags)
    put_byte(out, p, NEWLINE)
    return p + 1


@compiled
def put_number(out: int, p: int, kind: int, data: int, row: int) -> int:
    """Write a number of a column that is no double; where it ends."""
    if kind == kinds.FLOAT32:
        value = float_at(data, row * 4)
        if np.isfinite(value):
            return put_single(out, p, value)
        put_half(out, p, NULL)
        return p + 2
    if kind == kinds.INT64:
        return put_integer(out, p, word_at(data, row * 8))
    if kind == kinds.UINT64:
        return put_unsigned(out, p, word_at(data, row * 8))
    if kind == kinds.INT32:
        return put_integer(out, p, int32_at(data, row * 4))
    if kind == kinds.UINT32:
        return put_integer(out, p, int32_at(data, row * 4) & 0xFFFFFFFF)
    if kind == kinds.INT16:
        return put_integer(out, p, int16_at(data, row * 2))
    if kind == kinds.UINT16:
        return put_integer(out, p, int16_at(data, row * 2) & 0xFFFF)
    if kind == kinds.INT8:
        return put_integer(out, p, int8_at(data, row))
    return put_integer(out, p, byte_at(data, row))


@compiled
def put_value(out: int, p: int, column: int, row: int, delimiter: int) -> int:
    """Write a field of a column; where it ends."""
    kind, data, valid, first = element(column, 0), element(column, 1), element(column, 2), element(column, 3)
    at = first + row
    if valid != 0 and (byte_at(valid, at >> 3) >> (at & 7)) & 1 == 0:
        put_half(out, p, NULL)
        return p + 2
    if kind == kinds.FLOAT64:  # first: it is what most columns are
        value = double_at(data, at * 8)
        if np.isfinite(value):
            return put_double(out, p, value)
        put_half(out, p, NULL)
        return p + 2
    if kind == kinds.BOOLEAN:
        put_byte(out, p, _ZERO + ((byte_at(data, at >> 3) >> (at & 7)) & 1))
        return p + 1
    if kind == kinds.TEXT:
        offsets = element(column, 4)
        return put_text(out, p, data, word_at(offsets, at * 8), word_at(offsets, at * 8 + 8), delimiter)
    if kind == kinds.NOTHING:
        put_half(out, p, NULL)
        return p + 2
    return put_number(out, p, kind, data, at)


def _rows(stamp: int) -> Any:
    def rows(
        columns: Any, chunk: Any, sub_chunk: Any, flags: Any, delimiter: int, out: Any, starts: Any, body: Any
    ) -> int:
        at, p, count, width = address_of(out), 0, columns.shape[0], columns.shape[1] * 8
        table = address_of(columns)
        for i in range(len(chunk)):
            starts[i] = p
            for j in range(count):
                if j:
                    put_byte(at, p, delimiter)
                    p += 1
                p = put_value(at, p, table + j * width, i, delimiter)
            body[i] = p - starts[i]
            flag = i64(flags[i]) if len(flags) else 0
            p = put_tail(at, p, i64(chunk[i]), i64(sub_chunk[i]), flag, delimiter)
        starts[len(chunk)] = p
        return p if stamp else 0

    return rows


def _copies(stamp: int) -> Any:
    def copies(
        source: Any, starts: Any, body: Any, line: Any, chunk: Any, sub_chunk: Any, delimiter: int, out: Any, ends: Any
    ) -> int:
        at, lines, p = address_of(out), address_of(source), 0
        for i in range(len(line)):
            ends[i] = p
            length = body[line[i]]
            copy(at + p, lines + starts[line[i]], length)
            p = put_tail(at, p + length, i64(chunk[i]), i64(sub_chunk[i]), 0, delimiter)
        ends[len(line)] = p
        return p if stamp else 0

    return copies


_INTS, _SHORTS, _BYTES = nb.int64[::1], nb.int32[::1], nb.uint8[::1]
ROWS = Kernel(_rows, nb.int64(nb.int64[:, ::1], _SHORTS, _SHORTS, _SHORTS, nb.int64, _BYTES, _INTS, _INTS))
COPIES = Kernel(_copies, nb.int64(_BYTES, _INTS, _INTS, _INTS, _SHORTS, _SHORTS, nb.int64, _BYTES, _INTS))

TAIL = 24
"""Bytes that `put_tail` writes at most."""


class Lines(NamedTuple):
    """Lines in a buffer.

    Parameters
    ----------
    data
        ``uint8[…]``: the bytes.
    starts
        ``int64[n + 1]``: where each begins, and where the last ends.
    body
        ``int64[n]``: how long each is without what partitioning appended; empty of copies.
    """

    data: Bytes
    starts: Ints
    body: Ints


class Scratch:
    """Memory for lines that is used again and again: what the kernel gives anew it fills with zeros first."""

    def __init__(self) -> None:
        self._buffers = {"rows": np.empty(0, np.uint8), "copies": np.empty(0, np.uint8)}

    def take(self, name: str, size: int) -> Bytes:
        """At least so many bytes, until the same name is asked for again."""
        if len(self._buffers[name]) < size:
            self._buffers[name] = np.empty(size + size // 8, np.uint8)
        return self._buffers[name]


def write_rows(batch: pa.RecordBatch, places: Places, delimiter: str, scratch: Scratch) -> Lines:
    """The rows of a batch as lines, in the order of `places`.

    The rows are put in order first, column by column: reading all columns in a scattered order takes longer than
    writing the numbers does.
    """
    count = len(places.row)
    table = kinds.of_batch(kinds.in_order(batch, places.row))
    out = scratch.take("rows", table.longest(count) + count * TAIL)
    starts, body = np.empty(count + 1, np.int64), np.empty(count, np.int64)
    end = ROWS()(table.words, places.chunk, places.sub_chunk, places.flags, ord(delimiter), out, starts, body)
    return Lines(out[:end], starts, body)


def copy_lines(lines: Lines, line: Ints, places: Places, delimiter: str, scratch: Scratch) -> Lines:
    """Lines once more, with other places: `line` says which, in the order of `places`."""
    out = scratch.take("copies", int(lines.body[line].sum()) + len(line) * TAIL)
    starts = np.empty(len(line) + 1, np.int64)
    end = COPIES()(
        lines.data, lines.starts, lines.body, line, places.chunk, places.sub_chunk, ord(delimiter), out, starts
    )
    return Lines(out[:end], starts, np.zeros(0, np.int64))
