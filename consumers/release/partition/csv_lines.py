"""Records of CSV files by their bytes: where they begin, where a field lies, and as lines of a chunk file.

A field that needs no change passes through as the bytes given. It is changed where it spells NULL, and where the file
may have quotes, another escape or another delimiter: then it is decoded, and written as chunk files have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from consumers.release.partition.compiling import Kernel
from consumers.release.partition.csv_dialect import ESCAPED, CsvDialect
from consumers.release.partition.memory import copy, i64, put_half
from consumers.release.partition.writing import (
    ESCAPE,
    NEWLINE,
    NULL,
    RETURN,
    TAIL,
    Lines,
    Places,
    Scratch,
    put_character,
    put_tail,
)
from stream.codec.loads import address_of, byte_at, compiled, element, put_byte, put_element

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]


@compiled
def field_end(data: int, p: int, end: int, delimiter: int, quote: int, escape: int) -> int:
    """Where the field at p ends: at its delimiter, its newline, or `end`; behind that where a quote is left open."""
    quoted = quote >= 0 and p < end and byte_at(data, p) == quote
    if quoted:
        p += 1
    while p < end:
        character = byte_at(data, p)
        if character == escape:
            p += 2
            continue
        if quoted:
            if character == quote:
                if p + 1 < end and byte_at(data, p + 1) == quote:
                    p += 1
                else:
                    quoted = False
        elif character in (delimiter, NEWLINE):
            return p
        p += 1
    return end + 1 if quoted else end


@compiled
def is_escaped(data: int, start: int, p: int, escape: int) -> bool:
    """Whether the byte at p stands behind an escape that is none itself."""
    count = 0
    while p - count - 1 >= start and byte_at(data, p - count - 1) == escape:
        count += 1
    return count % 2 == 1


@compiled
def is_listed(data: int, start: int, end: int, spellings: int, numbers: bool) -> bool:
    """Whether the bytes are one of the spellings (see `CsvDialect.spellings`)."""
    if start < end and element(spellings, byte_at(data, start)) == 0:
        return False
    p = 257
    for _ in range(element(spellings, 256)):
        length = element(spellings, p + 1)
        if length == end - start and (numbers or element(spellings, p) == 0):
            same = True
            for i in range(length):
                if element(spellings, p + 2 + i) != byte_at(data, start + i):
                    same = False
                    break
            if same:
                return True
        p += 2 + length
    return False


@compiled
def spells_null(data: int, start: int, end: int, spellings: int, numbers: bool) -> bool:
    """Whether the bytes spell NULL, or a number that is none, with or without a sign."""
    if is_listed(data, start, end, spellings, numbers):
        return True
    if not numbers or end - start < 3:
        return False
    sign = byte_at(data, start)
    return (sign == 43 or sign == 45) and is_listed(data, start + 1, end, spellings, True)


@compiled
def put_decoded(out: int, p: int, character: int, delimiter: int) -> int:
    """Write a byte of a field that was decoded; Qserv's partitioner leaves a NUL as it is."""
    if character == 0:
        put_byte(out, p, 0)
        return p + 1
    return put_character(out, p, character, delimiter)


@compiled
def put_quoted(
    out: int, p: int, data: int, start: int, end: int, delimiter: int, quote: int, escape: int, meant: int
) -> int:
    """Write a field as a text of the other dialect; where it ends."""
    quoted = quote >= 0 and start < end and byte_at(data, start) == quote
    if quoted:
        start += 1
    while start < end:
        character = byte_at(data, start)
        if character == escape and start + 1 < end:
            start += 1
            p = put_decoded(out, p, element(meant, byte_at(data, start)), delimiter)
        elif quoted and character == quote:
            if start + 1 < end and byte_at(data, start + 1) == quote:
                start += 1
                p = put_decoded(out, p, quote, delimiter)
            else:
                quoted = False
        else:
            p = put_decoded(out, p, character, delimiter)
        start += 1
    return p


@compiled
def put_field(
    out: int, p: int, data: int, start: int, end: int, numbers: bool, words: int, spellings: int, meant: int
) -> int:
    """Write one field; where it ends."""
    if spells_null(data, start, end, spellings, numbers):
        put_half(out, p, NULL)
        return p + 2
    quote, escape, delimiter = element(words, 1), element(words, 2), element(words, 3)
    quoted = quote >= 0 and start < end and byte_at(data, start) == quote
    if quoted and numbers and spells_null(data, start + 1, end - 1, spellings, numbers):
        put_half(out, p, NULL)
        return p + 2
    if quote < 0 and escape == ESCAPE and element(words, 0) == delimiter:
        copy(out + p, data + start, end - start)
        return p + end - start
    return put_quoted(out, p, data, start, end, delimiter, quote, escape, meant)


def _records(stamp: int) -> Any:
    def records(
        buffer: Any, end: int, words: Any, wanted: Any, count: int, last: bool, starts: Any, ends: Any, at: Any
    ) -> int:
        """Find records: how many; starts[n] is where the rest begins, at[n, 2 i] and at[n, 2 i + 1] a wanted field."""
        data, p, n = address_of(buffer), 0, 0
        delimiter, quote, escape = words[0], words[1], words[2]
        while p < end and n < len(starts) - 1 and stamp:
            starts[n], fields, q = p, 0, p
            while True:
                stop = field_end(data, q, end, delimiter, quote, escape)
                for i in range(len(wanted)):
                    if wanted[i] == fields:
                        at[n, 2 * i], at[n, 2 * i + 1] = q, stop
                fields += 1
                if stop >= end or byte_at(data, stop) == NEWLINE:
                    break
                q = stop + 1
            if stop > end or (stop == end and not last):
                break
            stop = min(stop, end)
            after = stop + 1
            if stop > p and byte_at(data, stop - 1) == RETURN and not is_escaped(data, p, stop - 1, escape):
                stop -= 1
                for i in range(len(wanted)):
                    at[n, 2 * i + 1] = min(at[n, 2 * i + 1], stop)
            if stop > p or count == 1:
                ends[n] = stop if fields == count else -stop - 1
                n += 1
            p = after
        starts[n] = min(p, end)
        return n

    return records


def _fields(stamp: int) -> Any:
    def fields(
        buffer: Any, begins: Any, stops: Any, row: Any, chunk: Any, sub_chunk: Any, flags: Any, words: Any,
        numbers: Any, order: Any, spellings: Any, meant: Any, bounds: Any, out: Any, starts: Any, body: Any,
    ) -> int:  # fmt: skip
        data, at, p = address_of(buffer), address_of(out), 0
        options, nulls, escapes, table = address_of(words), address_of(spellings), address_of(meant), address_of(bounds)
        delimiter, quote, escape, target = words[0], words[1], words[2], words[3]
        for i in range(len(row)):
            starts[i] = p
            q, end = begins[row[i]], stops[row[i]]
            for j in range(len(bounds) // 2):
                stop = field_end(data, q, end, delimiter, quote, escape)
                put_element(table, 2 * j, q)
                put_element(table, 2 * j + 1, min(stop, end))
                q = stop + 1
            for j in range(len(order)):
                if j:
                    put_byte(at, p, target)
                    p += 1
                k = order[j]
                p = put_field(
                    at, p, data, element(table, 2 * k), element(table, 2 * k + 1), numbers[j], options, nulls, escapes
                )
            body[i] = p - starts[i]
            flag = i64(flags[i]) if len(flags) else 0
            p = put_tail(at, p, i64(chunk[i]), i64(sub_chunk[i]), flag, target)
        starts[len(row)] = p
        return p if stamp else 0

    return fields


_INTS, _SHORTS, _BYTES = nb.int64[::1], nb.int32[::1], nb.uint8[::1]
RECORDS = Kernel(
    _records,
    nb.int64(_BYTES, nb.int64, _INTS, _INTS, nb.int64, nb.boolean, _INTS, _INTS, nb.int64[:, ::1]),
)
FIELDS = Kernel(
    _fields,
    nb.int64(
        _BYTES, _INTS, _INTS, _INTS, _SHORTS, _SHORTS, _SHORTS, _INTS, nb.boolean[::1], _INTS, _INTS, _INTS, _INTS,
        _BYTES, _INTS, _INTS,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Records:
    """Records in a buffer.

    Parameters
    ----------
    data
        The bytes, as they are in the file.
    starts, ends
        ``int64[n]``: where each lies, without its newline.
    whole
        ``bool[n]``: whether it has as many fields as there are columns.
    at
        ``int64[n, 2 wanted]``: where each wanted field begins and ends.
    used
        Bytes of whole records; what follows is the beginning of the next.
    """

    data: Bytes
    starts: Ints
    ends: Ints
    whole: NDArray[np.bool_]
    at: Ints
    used: int


def find_records(data: Bytes, dialect: CsvDialect, columns: int, wanted: Ints, *, last: bool, most: int) -> Records:
    """At most `most` records of the bytes; `last` where no more bytes follow, so that a newline may lack."""
    starts, ends = np.empty(most + 1, np.int64), np.empty(most, np.int64)
    at = np.zeros((most, 2 * len(wanted)), np.int64)
    n = RECORDS()(data, len(data), dialect.words, wanted, columns, last, starts, ends, at)
    whole = ends[:n] >= 0
    stops = np.where(whole, ends[:n], -ends[:n] - 1)
    return Records(data, starts[:n], stops, whole, at[:n], int(starts[n]))


def write_records(
    records: Records,
    places: Places,
    dialect: CsvDialect,
    order: Ints,
    numbers: NDArray[np.bool_],
    scratch: Scratch,
) -> Lines:
    """Records as lines, in the order of `places`.

    Parameters
    ----------
    order
        ``int64[columns]``: which field of the file each column is.
    numbers
        ``bool[columns]``: whether it holds numbers.
    """
    lengths = records.ends - records.starts
    count, size = len(places.row), int(lengths[places.row].sum())
    out = scratch.take("rows", 2 * size + count * (TAIL + 3 * len(order)))
    starts, body = np.empty(count + 1, np.int64), np.empty(count, np.int64)
    bounds = np.empty(2 * (int(order.max()) + 1), np.int64)
    end = FIELDS()(
        records.data, records.starts, records.ends, places.row, places.chunk, places.sub_chunk, places.flags,
        dialect.words, numbers, order, dialect.spellings, ESCAPED, bounds, out, starts, body,
    )  # fmt: skip
    return Lines(out[:end], starts, body)
