"""Floating-point numbers as the shortest text that reads back as the same bits.

The method is R. Giulietti's ("The Schubfach way to render doubles", 2021): one multiplication by a stored power of ten
gives the number and the borders of its rounding interval in units of the last digit; the shortest number inside wins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumers.release.partition.memory import bits_of, i64, multiply_high, put_half, put_word, short_bits_of, u32, u64
from stream.codec.loads import byte_at, compiled, put_byte

LOWEST, HIGHEST = -292, 324
"""Powers of ten that doubles need."""
LARGEST_SINGLE = 0x7F7FFFFF
"""Bits of the largest ``float32``."""
LONGEST_REAL, LONGEST_INTEGER = 25, 20
"""Bytes of text at most."""
_ZERO, _POINT, _MINUS, _EXPONENT = 48, 46, 45, 101


def _power(exponent: int) -> int:
    """The first 128 bits of a power of ten, rounded up."""
    if exponent >= 0:
        whole: int = 10**exponent
        shift = whole.bit_length() - 128
        return -(-whole >> shift) if shift > 0 else whole << -shift
    below: int = 10**-exponent
    shift = 127 + below.bit_length()
    quotient: int = -(-(1 << shift) // below)
    return quotient if quotient.bit_length() <= 128 else -(-(1 << (shift - 1)) // below)


def _powers() -> NDArray[np.uint64]:
    mask = (1 << 64) - 1
    return np.array([(p >> 64, p & mask) for p in map(_power, range(LOWEST, HIGHEST + 1))], dtype=np.uint64)


POWERS = _powers()
TENS = np.array([10**i for i in range(20)], dtype=np.uint64)
EIGHT: Any = np.uint64(100_000_000)
PAIRS = np.array([(48 + i // 10) | (48 + i % 10) << 8 for i in range(100)], dtype=np.int64)


@compiled
def scaled(high: int, low: int, factor: int) -> int:
    """The upper 64 bits of a 192-bit product, its lowest bit set where anything is below (rounding to odd)."""
    middle = high * factor
    upper = multiply_high(high, factor)
    total = middle + multiply_high(low, factor)
    if total < middle:
        upper += u64(1)
    if total > u64(1):
        upper |= u64(1)
    return upper  # type: ignore[no-any-return]


@compiled
def shortest(significand: int, exponent: int, irregular: bool) -> tuple[int, int]:
    """The shortest decimal ``digits * 10**k`` that rounds to ``significand * 2**exponent``."""
    one, two, four = u64(1), u64(2), u64(4)
    odd = significand & one
    k = (exponent * 1262611 - (524031 if irregular else 0)) >> 22
    shift = u64(exponent + ((-k * 1741647) >> 19) + 1)
    high, low = POWERS[-k - LOWEST, 0], POWERS[-k - LOWEST, 1]
    middle = significand * four
    below = scaled(high, low, (middle - (one if irregular else two)) << shift) + odd
    exact = scaled(high, low, middle << shift)
    above = scaled(high, low, (middle + two) << shift) - odd
    digits = exact // four
    if digits >= u64(10):
        tens = digits // u64(10)
        down, up = below <= u64(40) * tens, u64(40) * tens + u64(40) <= above
        if down != up:
            return tens + (one if up else u64(0)), k + 1
    down, up = below <= four * digits, four * digits + four <= above
    if down == up:
        half = four * digits + two
        up = exact > half or (exact == half and (digits & one) == one)
    return digits + (one if up else u64(0)), k


@compiled
def length_of(value: int) -> int:
    """Decimal digits of a ``uint64``; those of doubles, fifteen to seventeen, are told apart without a branch."""
    if value >= TENS[14]:
        count: int = 15 + i64(value >= TENS[15]) + i64(value >= TENS[16])
        while 17 <= count < 20 and value >= TENS[count]:
            count += 1
        return count
    count = 1
    while value >= TENS[count]:
        count += 1
    return count


@compiled
def eight(value: int) -> int:
    """The eight digits of a number below 10**8 as the bytes of a word, the first lowest; all in one go."""
    upper = value // u64(10_000)
    fours = upper | (value - upper * u64(10_000)) << u64(32)
    hundreds = (fours * u64(10_486)) >> u64(20) & u64(0x0000007F0000007F)
    twos = hundreds | (fours - hundreds * u64(100)) << u64(16)
    tens = (twos * u64(103)) >> u64(10) & u64(0x000F000F000F000F)
    return tens | (twos - tens * u64(10)) << u64(8) | u64(0x3030303030303030)  # type: ignore[no-any-return]


@compiled
def put_digits(out: int, p: int, value: int, count: int) -> None:
    """Write the last `count` digits of a ``uint64`` at p."""
    at = p + count
    while at - p >= 8:
        rest = value // EIGHT
        put_word(out, at - 8, eight(value - rest * EIGHT))
        value = rest
        at -= 8
    small = u32(value)
    while at - p >= 2:
        put_half(out, at - 2, PAIRS[small % u32(100)])
        small //= u32(100)
        at -= 2
    if at > p:
        put_byte(out, p, _ZERO + i64(small % u32(10)))


@compiled
def put_integer(out: int, p: int, value: int) -> int:
    """Write an ``int64``; where it ends."""
    magnitude = u64(value)
    if value < 0:
        put_byte(out, p, _MINUS)
        p += 1
        magnitude = u64(0) - magnitude
    count = length_of(magnitude)
    put_digits(out, p, magnitude, count)
    return p + count


@compiled
def put_unsigned(out: int, p: int, value: int) -> int:
    """Write an ``int64`` whose bits are a ``uint64``; where it ends."""
    count = length_of(u64(value))
    put_digits(out, p, u64(value), count)
    return p + count


@compiled
def put_pointed(out: int, p: int, digits: int, count: int, point: int) -> int:
    """Write up to 17 digits with a point behind one to seven of them, in whole words and without a branch; the end."""
    digits *= TENS[17 - count]
    upper = digits // (EIGHT * u64(10))
    first, rest = eight(upper), digits - upper * (EIGHT * u64(10))
    last = rest // u64(10)
    put_word(out, p + 1, first)
    put_word(out, p + 9, eight(last))
    put_byte(out, p + 17, _ZERO + i64(rest - last * u64(10)))
    bits = u64(8 * point)
    before = (u64(1) << bits) - u64(1)
    after = first << u64(8) & ~(before << u64(8) | u64(0xFF))
    put_word(out, p, first & before | u64(_POINT) << bits | after)
    return p + 1 + count


@compiled
def put_decimal(out: int, p: int, digits: int, k: int) -> int:
    """Write ``digits * 10**k`` the shorter way, with the point where it is or with an exponent; where it ends."""
    ten, hundred = u64(10), u64(100)
    while digits % hundred == u64(0):
        digits //= hundred
        k += 2
    if digits % ten == u64(0):
        digits //= ten
        k += 1
    count = length_of(digits)
    point = count + k
    if -5 < point <= 0:
        put_half(out, p, _ZERO | _POINT << 8)
        for i in range(-point):
            put_byte(out, p + 2 + i, _ZERO)
        put_digits(out, p + 2 - point, digits, count)
        return p + 2 - point + count
    if k < 0 and 0 < point < 8:
        return put_pointed(out, p, digits, count, point)
    if 0 < point <= 17:
        if k >= 0:
            put_digits(out, p, digits, count)
            for i in range(k):
                put_byte(out, p + count + i, _ZERO)
            return p + point
        put_digits(out, p + 1, digits, count)
        for i in range(point):
            put_byte(out, p + i, byte_at(out, p + 1 + i))
        put_byte(out, p + point, _POINT)
        return p + 1 + count
    put_digits(out, p + 1, digits, count)
    put_byte(out, p, byte_at(out, p + 1))
    if count > 1:
        put_byte(out, p + 1, _POINT)
        p += count
    put_byte(out, p + 1, _EXPONENT)
    return put_integer(out, p + 2, point - 1)


@compiled
def put_double(out: int, p: int, value: float) -> int:
    """Write a finite ``float64``; where it ends."""
    if bits_of(value) >> u64(63) != u64(0):
        put_byte(out, p, _MINUS)
        p += 1
        value = -value
    if value < 9007199254740992.0 and value == np.floor(value):
        return put_integer(out, p, i64(value))
    bits = bits_of(value)
    fraction, exponent = bits & u64(0xFFFFFFFFFFFFF), i64(bits >> u64(52))
    if exponent == 0:
        digits, k = shortest(fraction, -1074, False)
    else:
        irregular = fraction == u64(0) and exponent > 1
        digits, k = shortest(fraction | u64(1 << 52), exponent - 1075, irregular)
    return put_decimal(out, p, digits, k)


@compiled
def put_single(out: int, p: int, value: float) -> int:
    """Write a finite ``float32``, handed over as ``float64``; where it ends.

    Of the largest, 3.4028235e38 is above it as a double, and MySQL refuses it for a FLOAT; 3.4028234e38 reads back.
    """
    if bits_of(value) >> u64(63) != u64(0):
        put_byte(out, p, _MINUS)
        p += 1
        value = -value
    if value < 16777216.0 and value == np.floor(value):
        return put_integer(out, p, i64(value))
    bits = short_bits_of(value)
    if bits == u64(LARGEST_SINGLE):
        return put_decimal(out, p, u64(34028234), 31)
    fraction, exponent = bits & u64(0x7FFFFF), i64(bits >> u64(23))
    if exponent == 0:
        digits, k = shortest(fraction, -149, False)
    else:
        irregular = fraction == u64(0) and exponent > 1
        digits, k = shortest(fraction | u64(1 << 23), exponent - 150, irregular)
    return put_decimal(out, p, digits, k)
