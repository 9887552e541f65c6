"""The kernel: one compiled function that runs any program over the packets of a batch, without the GIL."""

from __future__ import annotations

import contextlib
import threading
import zlib
from pathlib import Path
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from stream.codec import handlers, loads, ops
from stream.codec.handlers import (
    block,
    boolean,
    branch,
    enum,
    fail,
    nullable_booleans,
    nullable_widths,
    present,
    read_int,
    read_length,
    read_long,
    skip_run,
    string,
    wide_items,
)
from stream.codec.loads import (
    address_of,
    byte_at,
    compiled,
    element,
    float_at,
    put_byte,
    put_element,
    put_real,
    word_at,
)
from stream.codec.program import Program
from stream.codec.slots import Outcome

SOURCES = sum(zlib.crc32(Path(str(module.__file__)).read_bytes()) for module in (handlers, loads, ops))
"""Compiled into the kernel: Numba's cache looks at this file alone, and must not outlive a change of the others."""

SIGNATURE = nb.int64(
    nb.types.Array(nb.uint8, 1, "C", readonly=True),
    nb.int64[::1],
    nb.int64[::1],
    nb.boolean,
    nb.int64[::1],
    nb.int64[::1],
    nb.int64[:, ::1],
    nb.boolean[:, ::1],
    nb.int64[::1],
    nb.int64[::1],
    nb.int64[::1],
)


@compiled
def store_number(buffer: int, p: int, end: int, words: int, pc: int, values: int, null: int, i: int, n: int) -> int:
    """Put a number, boolean or enum index into its slot."""
    code, at = element(words, pc), element(words, pc + 1) * n + i
    if code == ops.STORE_DOUBLE or code == ops.STORE_FLOAT:
        after = p + 8 if code == ops.STORE_DOUBLE else p + 4
        if after > end:
            return fail(p, ops.TRUNCATED)
        if code == ops.STORE_DOUBLE:
            put_element(values, at, word_at(buffer, p))
        else:
            put_real(values, at, float_at(buffer, p))
    else:
        value, after = 0, p
        if code == ops.STORE_LONG:
            value, after = read_long(buffer, p, end)
        elif code == ops.STORE_BOOLEAN:
            after = boolean(buffer, p, end)
            value = byte_at(buffer, p) if after > 0 else 0
        else:
            value, after = read_int(buffer, p, end)
            if code == ops.STORE_ENUM and after > 0 and not 0 <= value < element(words, pc + 3):
                after = fail(p, ops.BAD_ENUM)
        if after < 0:
            return after
        if code != ops.STORE_ENUM and element(words, pc + 3) == 1:
            put_real(values, at, float(value))
        else:
            put_element(values, at, value)
    put_byte(null, element(words, pc + 2) * n + i, 0)
    return after


@compiled
def store_text(buffer: int, p: int, end: int, words: int, pc: int, values: int, null: int, i: int, n: int) -> int:
    """Put where a string, bytes or a fixed begins and ends into its slot."""
    code, at = element(words, pc), element(words, pc + 1) * n + i
    start, length = p, element(words, pc + 3)
    if code == ops.STORE_FIXED:
        if length > end - p:
            return fail(p, ops.TRUNCATED)
    else:
        length, start = read_length(buffer, p, end)
        checked = string(buffer, p, end) if code == ops.STORE_STRING else start
        if checked < 0:
            return checked
    put_element(values, at, start)
    put_element(values, at + n, start + length)
    put_byte(null, element(words, pc + 2) * n + i, 0)
    return int(start + length)


@compiled
def packet(
    buffer: int, p: int, end: int, words: int, stack: int, values: int, null: int, i: int, n: int, word: int
) -> int:
    """Run the program over one packet: where it ends, or its refusal; `word` gets the operation."""
    pc, top = 0, -1
    while True:
        code = element(words, pc)
        a, b = element(words, pc + 1), element(words, pc + 2)
        last, pc = pc, pc + 4
        if code == ops.NULLABLE_WIDTHS:
            p = nullable_widths(buffer, p, end, words, last)
            pc += 1 + a
        elif code == ops.NULLABLE_BOOLEANS:
            p = nullable_booleans(buffer, p, end, a, b)
        elif code == ops.WIDTH:
            p = p + a if a <= end - p else fail(p, ops.TRUNCATED)
        elif code == ops.ITEM:
            if element(stack, 2 * top) == 0:
                p = block(buffer, p, end, stack, top)
            left = element(stack, 2 * top)
            if left == 0:
                top -= 1
            else:
                put_element(stack, 2 * top, left - 1)
                pc = a
        elif code == ops.BLOCKS:
            top += 1
            put_element(stack, 2 * top, 0)
            put_element(stack, 2 * top + 1, -1)
            pc = a
        elif code == ops.UNION:
            index, p = branch(buffer, p, end, a)
            pc = element(words, pc + index)
        elif code == ops.JUMP:
            pc = a
        elif code == ops.ENUM:
            p = enum(buffer, p, end, a)
        elif code == ops.NULLABLE_ENUM:
            there = present(buffer, p, end, b)
            p = there if there < 0 else (enum(buffer, p + 1, end, a) if there else p + 1)
        elif code == ops.WIDE_ITEMS:
            p = wide_items(buffer, p, end, stack, top + 1, a)
        elif code < ops.END:
            p = skip_run(buffer, p, end, code, a, b)
        elif code >= ops.STORE_FIXED:
            p = store_text(buffer, p, end, words, last, values, null, i, n)
        elif code > ops.END:
            p = store_number(buffer, p, end, words, last, values, null, i, n)
        else:
            put_element(word, i, last)
            return p
        if p < 0:
            put_element(word, i, last)
            return p


def run(
    buffer: Any,
    starts: Any,
    ends: Any,
    chain: bool,
    words: Any,
    stack: Any,
    values: Any,
    null: Any,
    status: Any,
    at: Any,
    word: Any,
) -> int:
    """Run the program over every packet; see `run_program`. After a refusal in a chain nothing more is done."""
    n = starts.shape[0]
    for i in range(n):
        p = packet(
            address_of(buffer),
            starts[i],
            ends[i],
            address_of(words),
            address_of(stack),
            address_of(values),
            address_of(null),
            i,
            n,
            address_of(word),
        )
        if chain and i + 1 < n and p >= 0:
            starts[i + 1] = p
        elif p >= 0 and p != ends[i]:
            p = fail(p, ops.TRAILING)
        status[i] = -p & 15 if p < 0 else 0
        at[i] = -p >> 4 if p < 0 else p
        if chain and p < 0:
            break
    return SOURCES


_lock = threading.Lock()
_ready: list[Any] = []


def open_kernel() -> Any:
    """The compiled kernel: from Numba's cache (environment ``NUMBA_CACHE_DIR``), or compiled, which takes seconds.

    The daemon calls this before it joins its group. Where no folder can be written, it is compiled each time.
    """
    with _lock:
        if not _ready:
            _ready.append(_load())
        return _ready[0]


def _load() -> Any:
    try:
        return _cached()
    except (RuntimeError, OSError):
        # No folder can be written, or its disk is full.
        return _compiled(SIGNATURE)
    except Exception:
        # Numba syncs nothing, so that a power cut leaves files cut short; unpickling them raises whatever it likes.
        with contextlib.suppress(OSError):
            _compiled(cache=True)._cache.flush()
            return _cached()
        return _compiled(SIGNATURE)


def _cached() -> Any:
    kernel = _compiled(SIGNATURE, cache=True)
    if _stamp(kernel) != SOURCES:
        kernel._cache.flush()
        kernel = _compiled(SIGNATURE, cache=True)
    return kernel


def _compiled(*signature: Any, **options: bool) -> Any:
    """The kernel under Numba's decorator: compiled, where a signature is given, or loaded."""
    compile_: Any = nb.njit
    return compile_(*signature, nogil=True, error_model="numpy", **options)(run)


def _stamp(kernel: Any) -> int:
    none, flat = np.zeros(0, np.int64), np.zeros((0, 0), np.int64)
    null = np.zeros((0, 0), np.bool_)
    nothing = np.zeros(0, np.uint8)
    return int(kernel(nothing, none, none, False, none, none, flat, null, none, none, none))


def run_program(
    program: Program,
    buffer: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    *,
    chain: bool = False,
) -> Outcome:
    """Check packets to their last byte and read the wanted fields.

    Parameters
    ----------
    program
        What to run.
    buffer
        The bytes.
    starts, ends
        ``int64[n]``: packet i is ``buffer[starts[i]:ends[i]]``, within the buffer.
    chain
        Each packet begins where the one before ends; all of `ends` are one end, `starts` beyond the first are set here.
    """
    outcome = Outcome.empty(program.slots, len(starts))
    stack = np.zeros(2 * (program.depth + 1), np.int64)
    open_kernel()(
        buffer,
        starts,
        ends,
        chain,
        program.words,
        stack,
        outcome.values,
        outcome.null,
        outcome.status,
        outcome.at,
        outcome.word,
    )
    return outcome
