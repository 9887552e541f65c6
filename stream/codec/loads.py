"""Loads and stores of the kernel, by address: unaligned, uncounted, and without NumPy's look for negative indexes.

An array that is handed from one compiled function to the next has its references counted, atomically, at every call;
an address has not. Whoever calls these has checked that the bytes are there and keeps the array alive. All are
little-endian, as is every machine that Numba serves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

F = TypeVar("F", bound=Callable[..., Any])

_BYTE = ir.IntType(8)
_WORD = ir.IntType(64)
_INT = types.int64
_REAL = types.float64


def compiled(function: F) -> F:
    """Let compiled code call the function, and have it inlined there."""
    made: F = register_jitable(function)
    return made


def _intrinsic(define: Callable[..., Any]) -> Any:
    return intrinsic(define)


def _place(builder: Any, args: Any, kind: Any, width: int) -> Any:
    offset = builder.mul(args[1], _WORD(width)) if width > 1 else args[1]
    return builder.inttoptr(builder.add(args[0], offset), kind.as_pointer())


def _address_of(typing_context: Any, array: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        proxy: Any = cgutils.create_struct_proxy
        return builder.ptrtoint(proxy(signature.args[0])(context, builder, args[0]).data, _WORD)

    return _INT(array), generate


def _byte_at(typing_context: Any, address: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(builder.load(_place(builder, args, _BYTE, 1)), _WORD)

    return _INT(_INT, _INT), generate


def _word_at(typing_context: Any, address: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_place(builder, args, _WORD, 1), align=1)

    return _INT(_INT, _INT), generate


def _float_at(typing_context: Any, address: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fpext(builder.load(_place(builder, args, ir.FloatType(), 1), align=1), ir.DoubleType())

    return _REAL(_INT, _INT), generate


def _element(typing_context: Any, address: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_place(builder, args, _WORD, 8))

    return _INT(_INT, _INT), generate


def _put_element(typing_context: Any, address: Any, index: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _place(builder, args, _WORD, 8))
        return context.get_dummy_value()

    return types.void(_INT, _INT, _INT), generate


def _put_real(typing_context: Any, address: Any, index: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _place(builder, args, ir.DoubleType(), 8))
        return context.get_dummy_value()

    return types.void(_INT, _INT, _REAL), generate


def _put_byte(typing_context: Any, address: Any, index: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(builder.trunc(args[2], _BYTE), _place(builder, args, _BYTE, 1))
        return context.get_dummy_value()

    return types.void(_INT, _INT, _INT), generate


def _trailing_zeros(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(0))

    return _INT(_INT), generate


address_of = _intrinsic(_address_of)
"""(array) -> the address of its first element."""
byte_at = _intrinsic(_byte_at)
"""(address, bytes on) -> the byte."""
word_at = _intrinsic(_word_at)
"""(address, bytes on) -> the eight bytes from there as ``int64``."""
float_at = _intrinsic(_float_at)
"""(address, bytes on) -> the four bytes from there, a ``float32``, as ``float64``."""
element = _intrinsic(_element)
"""(address, elements on) -> an element of an ``int64`` array."""
put_element = _intrinsic(_put_element)
"""(address, elements on, value): set an element of an ``int64`` array."""
put_real = _intrinsic(_put_real)
"""(address, elements on, value): set an element of a ``float64`` array."""
put_byte = _intrinsic(_put_byte)
"""(address, bytes on, value): set a byte."""
trailing_zeros = _intrinsic(_trailing_zeros)
"""Zero bits below the lowest set one."""
