"""What the kernel does at each operation. `buffer`, `words` and `stack` are addresses.

Every handler takes the position `p` and gives the next one, or, where the packet is refused, a negative number that
holds the byte and the reason (`fail`).
"""

from __future__ import annotations

from stream.codec import ops
from stream.codec.loads import byte_at, compiled, element, put_element, trailing_zeros, word_at

HIGH_BITS = -0x7F7F7F7F7F7F7F80
BOOLEAN_MASK = -0x0100010001000101
BRANCHES = 0x0001000100010001
MAX_INT = 2**31


@compiled
def fail(p: int, status: int) -> int:
    """The negative number of a refusal at byte `p`."""
    return -((p << 4) | status)


@compiled
def long_varint(buffer: int, p: int, end: int) -> tuple[int, int]:
    value = 0
    for i in range(10):
        if p + i >= end:
            return 0, fail(p, ops.TRUNCATED)
        byte = byte_at(buffer, p + i)
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            if i == 9 and byte > 1:
                break
            return ((value >> 1) & 0x7FFFFFFFFFFFFFFF) ^ -(value & 1), p + i + 1
    return 0, fail(p, ops.VARINT)


@compiled
def read_long(buffer: int, p: int, end: int) -> tuple[int, int]:
    if p < end:
        byte = byte_at(buffer, p)
        if byte < 0x80:
            return (byte >> 1) ^ -(byte & 1), p + 1
    return long_varint(buffer, p, end)


@compiled
def read_int(buffer: int, p: int, end: int) -> tuple[int, int]:
    value, after = read_long(buffer, p, end)
    if after - p > 5:
        return 0, fail(p, ops.VARINT)
    if after > 0 and not -MAX_INT <= value < MAX_INT:
        return 0, fail(p, ops.INT_RANGE)
    return value, after


@compiled
def read_length(buffer: int, p: int, end: int) -> tuple[int, int]:
    length, after = read_long(buffer, p, end)
    if after < 0:
        return 0, after
    if length < 0:
        return 0, fail(p, ops.BAD_LENGTH)
    if length > end - after:
        return 0, fail(p, ops.TRUNCATED)
    return length, after


@compiled
def skip_long(buffer: int, p: int, end: int) -> int:
    if p + 8 <= end:
        stops = ~word_at(buffer, p) & HIGH_BITS
        if stops != 0:
            return int(p + (trailing_zeros(stops) >> 3) + 1)
    return long_varint(buffer, p, end)[1]


@compiled
def check_utf8(buffer: int, p: int, stop: int) -> int:
    while p < stop:
        if p + 8 <= stop and word_at(buffer, p) & HIGH_BITS == 0:
            p += 8
            continue
        lead = byte_at(buffer, p)
        if lead < 0x80:
            p += 1
            continue
        more, low, high = 1, 0x80, 0xBF
        if lead >= 0xF0:
            more = 3
            low, high = 0x90 if lead == 0xF0 else low, 0x8F if lead == 0xF4 else high
        elif lead >= 0xE0:
            more = 2
            low, high = 0xA0 if lead == 0xE0 else low, 0x9F if lead == 0xED else high
        if lead < 0xC2 or lead > 0xF4 or p + more >= stop:
            return fail(p, ops.BAD_UTF8)
        for i in range(1, more + 1):
            byte = byte_at(buffer, p + i)
            if byte < low or byte > high:
                return fail(p, ops.BAD_UTF8)
            low, high = 0x80, 0xBF
        p += more + 1
    return p


@compiled
def string(buffer: int, p: int, end: int) -> int:
    length, p = read_length(buffer, p, end)
    return check_utf8(buffer, p, p + length) if p > 0 else p


@compiled
def chunk(buffer: int, p: int, end: int) -> int:
    length, p = read_length(buffer, p, end)
    return p + length


@compiled
def boolean(buffer: int, p: int, end: int) -> int:
    if p >= end:
        return fail(p, ops.TRUNCATED)
    return p + 1 if byte_at(buffer, p) < 2 else fail(p, ops.BAD_BOOLEAN)


@compiled
def enum(buffer: int, p: int, end: int, symbols: int) -> int:
    index, after = read_int(buffer, p, end)
    return after if after < 0 or 0 <= index < symbols else fail(p, ops.BAD_ENUM)


@compiled
def branch(buffer: int, p: int, end: int, branches: int) -> tuple[int, int]:
    """A union's branch, its index in no more bytes than it takes."""
    if branches <= 64 and p < end and byte_at(buffer, p) >= 0x80:
        return 0, fail(p, ops.BAD_UNION)
    index, after = read_long(buffer, p, end)
    if after > 0 and (not 0 <= index < branches or after - p > 2 or (after - p == 2 and index < 64)):
        return 0, fail(p, ops.BAD_UNION)
    return index, after


@compiled
def present(buffer: int, p: int, end: int, yes: int) -> int:
    """1 where the branch byte says that the value is there, 0 where null, negative where it is neither."""
    if p >= end:
        return fail(p, ops.TRUNCATED)
    byte = byte_at(buffer, p)
    if byte == yes:
        return 1
    return 0 if byte == 2 - yes else fail(p, ops.BAD_UNION)


@compiled
def nullable_widths(buffer: int, p: int, end: int, words: int, pc: int) -> int:
    yes, safe = element(words, pc + 2), p + element(words, pc + 3) <= end
    no, step, stop = 2 - yes, pc + 5, pc + 5 + element(words, pc + 1)
    p += element(words, pc + 4)
    while step < stop:
        if not safe and p >= end:
            return fail(end, ops.TRUNCATED)
        byte = byte_at(buffer, p)
        if byte == yes:
            p += element(words, step)
        elif byte == no:
            p += element(words, step + 1)
        else:
            return fail(p, ops.BAD_UNION)
        step += 2
    return p if p <= end else fail(end, ops.TRUNCATED)


@compiled
def nullable_booleans(buffer: int, p: int, end: int, count: int, yes: int) -> int:
    while count > 0:
        if count >= 4 and p + 8 <= end and word_at(buffer, p) & BOOLEAN_MASK == yes * BRANCHES:
            p += 8
            count -= 4
            continue
        there = present(buffer, p, end, yes)
        if there < 0:
            return there
        p = boolean(buffer, p + 1, end) if there else p + 1
        if p < 0:
            return p
        count -= 1
    return p


@compiled
def skip_run(buffer: int, p: int, end: int, code: int, count: int, yes: int) -> int:
    """Skip fields of one type of variable length, each nullable where `code` says so."""
    for _ in range(count):
        if code <= ops.NULLABLE_BYTES:
            there = present(buffer, p, end, yes)
            if there < 0:
                return there
            p += 1
            if there == 0:
                continue
        if code == ops.LONGS or code == ops.NULLABLE_LONGS:
            p = skip_long(buffer, p, end)
        elif code == ops.INTS or code == ops.NULLABLE_INTS:
            p = read_int(buffer, p, end)[1]
        elif code == ops.STRINGS or code == ops.NULLABLE_STRINGS:
            p = string(buffer, p, end)
        elif code == ops.BYTES or code == ops.NULLABLE_BYTES:
            p = chunk(buffer, p, end)
        else:
            p = boolean(buffer, p, end)
        if p < 0:
            return p
    return p


@compiled
def block(buffer: int, p: int, end: int, stack: int, top: int) -> int:
    """Close the block that is done and read the next one's count; 0 on the stack where none follows."""
    stop = element(stack, 2 * top + 1)
    if stop >= 0 and p != stop:
        return fail(p, ops.BAD_BLOCK)
    begin, stop = p, -1
    count, p = read_long(buffer, p, end)
    if p > 0 and count < 0:
        size, p = read_long(buffer, p, end)
        if p > 0 and not 0 <= size <= end - p:
            return fail(begin, ops.BAD_BLOCK)
        count, stop = -count, p + size
    if p < 0:
        return p
    if count < 0:
        return fail(begin, ops.BAD_BLOCK)
    if count > end - p:
        return fail(begin, ops.TRUNCATED)
    put_element(stack, 2 * top, count)
    put_element(stack, 2 * top + 1, stop)
    return p


@compiled
def wide_items(buffer: int, p: int, end: int, stack: int, top: int, width: int) -> int:
    """Skip an array whose items are all `width` bytes."""
    put_element(stack, 2 * top + 1, -1)
    while True:
        p = block(buffer, p, end, stack, top)
        if p < 0:
            return p
        count = element(stack, 2 * top)
        if count == 0:
            return p
        if count > (end - p) // width:
            return fail(p, ops.TRUNCATED)
        p += count * width
