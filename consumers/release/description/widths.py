"""Bytes that a column takes in a row of a MyISAM table, as MariaDB 10.11 counts them."""

from __future__ import annotations

import re

_TYPE = re.compile(r"(\w+)\s*(?:\(([\d\s,]+)\))?(?:\s+(?:UNSIGNED|SIGNED|ZEROFILL))*")
_BLOBS = {"TINY": 9, "": 10, "MEDIUM": 11, "LONG": 12}
_WIDTHS = {
    "BOOLEAN": 1, "BOOL": 1, "TINYINT": 1, "SMALLINT": 2, "MEDIUMINT": 3, "INT": 4, "INTEGER": 4, "BIGINT": 8,
    "FLOAT": 4, "DOUBLE": 8, "REAL": 8, "DATE": 3, "YEAR": 1,
}  # fmt: skip
_MOMENTS = {"DATETIME": 5, "TIMESTAMP": 4, "TIME": 3}
_DIGITS = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
"""Bytes of the digits of a DECIMAL that do not fill nine."""


def bits(mysql: str) -> int:
    """Bits that a value takes beside its bytes: those of a BIT that fill no byte stand with the NULLs."""
    kind = re.fullmatch(r"\s*BIT\s*(?:\(\s*(\d+)\s*\))?\s*", mysql.upper())
    return int(kind[1] or 1) % 8 if kind else 0


def width(mysql: str, character_bytes: int) -> int | None:
    """Bytes of a value.

    Parameters
    ----------
    mysql
        The MySQL type.
    character_bytes
        Most bytes of a character.

    Returns
    -------
    int | None
        None of a type whose size is not known here.
    """
    kind = _TYPE.fullmatch(mysql.upper().strip())
    if kind is None:
        return None
    word = kind[1]
    given = [int(each) for each in kind[2].split(",")] if kind[2] else []
    if word in _WIDTHS:
        return _WIDTHS[word]
    if word in _MOMENTS:
        return _MOMENTS[word] + (sum(given) + 1) // 2
    if word in ("DECIMAL", "NUMERIC", "DEC"):
        digits, decimals = (*given, 10, 0)[:2] if not given else (*given, 0)[:2]
        return sum(part // 9 * 4 + _DIGITS[part % 9] for part in (digits - decimals, decimals))
    if word == "BIT":
        return (given or [1])[0] // 8
    text = re.fullmatch(r"(N)?(VAR)?(CHAR|BINARY)", word)
    if text:
        each = 1 if text[3] == "BINARY" else 3 if text[1] else character_bytes
        long = (given or [1])[0] * each
        return long + (0 if not text[2] else 1 if long < 256 else 2)
    blob = re.fullmatch(r"(TINY|MEDIUM|LONG|)(?:BLOB|TEXT)", word)
    if blob:
        return _BLOBS[blob[1]]
    return None
