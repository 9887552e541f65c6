"""The operations of a program and the ways a packet can be refused: numbers that program and kernel share."""

from __future__ import annotations

WIDTH = 0
NULLABLE_WIDTHS = 1
NULLABLE_BOOLEANS = 2
NULLABLE_INTS = 3
NULLABLE_LONGS = 4
NULLABLE_STRINGS = 5
NULLABLE_BYTES = 6
NULLABLE_ENUM = 7
BOOLEANS = 8
INTS = 9
LONGS = 10
STRINGS = 11
BYTES = 12
ENUM = 13
UNION = 14
JUMP = 15
BLOCKS = 16
ITEM = 17
WIDE_ITEMS = 18
END = 19
STORE_DOUBLE = 20
STORE_FLOAT = 21
STORE_LONG = 22
STORE_INT = 23
STORE_BOOLEAN = 24
STORE_ENUM = 25
STORE_FIXED = 26
STORE_STRING = 27
STORE_BYTES = 28

TRUNCATED = 1
TRAILING = 2
BAD_BOOLEAN = 3
BAD_UNION = 4
BAD_ENUM = 5
VARINT = 6
INT_RANGE = 7
BAD_LENGTH = 8
BAD_BLOCK = 9
BAD_UTF8 = 10

REFUSALS: dict[int, tuple[str, str]] = {
    TRUNCATED: ("truncated", "the packet ends inside its data"),
    TRAILING: ("trailing_bytes", "bytes are left over after the data"),
    BAD_BOOLEAN: ("bad_boolean", "a boolean is neither 0 nor 1"),
    BAD_UNION: ("bad_union", "a union names a branch that it does not have"),
    BAD_ENUM: ("bad_enum", "an enum names a symbol that it does not have"),
    VARINT: ("varint", "a number is longer than its type"),
    INT_RANGE: ("int_range", "an int does not fit into 32 bits"),
    BAD_LENGTH: ("bad_length", "a length is negative"),
    BAD_BLOCK: ("bad_block", "a block's count or size is not that of what it holds"),
    BAD_UTF8: ("bad_utf8", "a string is not UTF-8"),
}
"""By status: the stable code and what it says to a person."""
