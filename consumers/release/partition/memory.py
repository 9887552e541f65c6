"""Loads, stores and copies of the compiled writers, by address; whoever calls them keeps the arrays alive.

Beside those of `stream.codec.loads`, which have what reading packets needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

i64: Any = np.int64
u32: Any = np.uint32
u64: Any = np.uint64
"""NumPy's numbers as compiled code makes them: in the interpreter mypy would have them apart from ``int``."""

_BYTE, _HALF, _INT, _WORD = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)


def _place(builder: Any, args: Any, kind: Any) -> Any:
    """The address args[0] + args[1], of something of that kind."""
    return builder.inttoptr(builder.add(args[0], args[1]), kind.as_pointer())


def _signed(kind: Any) -> Callable[..., Any]:
    def load(typing_context: Any, address: Any, offset: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.sext(builder.load(_place(builder, args, kind), align=1), _WORD)

        return types.int64(types.int64, types.int64), generate

    return load


def _double(typing_context: Any, address: Any, offset: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_place(builder, args, ir.DoubleType()), align=1)

    return types.float64(types.int64, types.int64), generate


def _put_half(typing_context: Any, address: Any, offset: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(builder.trunc(args[2], _HALF), _place(builder, args, _HALF), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


def _put_word(typing_context: Any, address: Any, offset: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _place(builder, args, _WORD), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.uint64), generate


def _copy(typing_context: Any, target: Any, source: Any, count: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target_at, source_at = (builder.inttoptr(each, _BYTE.as_pointer()) for each in args[:2])
        cgutils.raw_memcpy(builder, target_at, source_at, args[2], 1)  # type: ignore[no-untyped-call]
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


def _high(typing_context: Any, left: Any, right: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        return builder.trunc(builder.lshr(product, wide(64)), _WORD)

    return types.uint64(types.uint64, types.uint64), generate


def _bits(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], _WORD)

    return types.uint64(types.float64), generate


def _short_bits(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(builder.bitcast(builder.fptrunc(args[0], ir.FloatType()), _INT), _WORD)

    return types.uint64(types.float64), generate


def _intrinsic(define: Callable[..., Any]) -> Any:
    return intrinsic(define)


int8_at = _intrinsic(_signed(_BYTE))
"""(address, bytes on) -> a signed byte."""
int16_at = _intrinsic(_signed(_HALF))
"""(address, bytes on) -> two bytes, signed."""
int32_at = _intrinsic(_signed(_INT))
"""(address, bytes on) -> four bytes, signed."""
double_at = _intrinsic(_double)
"""(address, bytes on) -> eight bytes as ``float64``."""
put_half = _intrinsic(_put_half)
"""(address, bytes on, value): set two bytes."""
put_word = _intrinsic(_put_word)
"""(address, bytes on, value): set eight bytes, the lowest first."""
copy = _intrinsic(_copy)
"""(target, source, bytes): copy what does not overlap."""
multiply_high = _intrinsic(_high)
"""The upper 64 bits of the product of two ``uint64``."""
bits_of = _intrinsic(_bits)
"""The bits of a ``float64``."""
short_bits_of = _intrinsic(_short_bits)
"""The bits of a ``float32`` that is handed over as ``float64``."""
