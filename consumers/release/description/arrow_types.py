"""What column of the database a column of a catalogue becomes."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from consumers.release.description.types import mysql_type

LONGEST_CHAR, LONGEST_VARCHAR = 255, 16_383
"""Characters: MySQL's of a CHAR, and of a VARCHAR whatever the character set; longer text is LONGTEXT."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A type: felis' word, MySQL's, the length of text, and what is to be said about it."""

    datatype: str
    mysql: str
    length: int | None = None
    note: str = ""


def kind_of(arrow: pa.DataType, length: int, *, fixed: bool) -> Kind | None:
    """The type that holds all values of an Arrow type; None where there is none.

    Parameters
    ----------
    arrow
        Its type in the catalogue.
    length
        Most bytes of its text in UTF-8: as many characters as a table of latin1 has for it.
    fixed
        Whether the catalogue has text of fixed width: it becomes CHAR, which keeps MyISAM's rows fixed.
    """
    whole = _whole(arrow)
    if whole is not None:
        return whole
    if pa.types.is_string(arrow) or pa.types.is_large_string(arrow) or pa.types.is_string_view(arrow):
        return _text(max(1, length), fixed)
    if pa.types.is_timestamp(arrow):
        if arrow.unit == "s":
            return Kind("timestamp", "DATETIME")
        note = "nanoseconds are cut to microseconds" if arrow.unit == "ns" else ""
        return Kind("timestamp", "DATETIME(6)", note=note)
    if pa.types.is_date(arrow):
        return Kind("timestamp", "DATE")
    if pa.types.is_decimal(arrow) and arrow.precision <= 65 and 0 <= arrow.scale <= min(30, arrow.precision):
        return Kind("double", f"DECIMAL({arrow.precision},{arrow.scale})")
    if pa.types.is_null(arrow):
        return Kind("double", "DOUBLE", note="it has no value in these files, so that its type is not known")
    return None


def _whole(arrow: pa.DataType) -> Kind | None:
    """The types of numbers: an unsigned one becomes the next longer, so that felis' own words do."""
    words = {
        pa.bool_(): "boolean",
        pa.int8(): "byte",
        pa.uint8(): "short",
        pa.int16(): "short",
        pa.uint16(): "int",
        pa.int32(): "int",
        pa.uint32(): "long",
        pa.int64(): "long",
        pa.float16(): "float",
        pa.float32(): "float",
        pa.float64(): "double",
    }
    if arrow == pa.uint64():
        return Kind("long", "BIGINT UNSIGNED")
    return Kind(words[arrow], mysql_type(words[arrow])) if arrow in words else None


def _text(length: int, fixed: bool) -> Kind:
    if length > LONGEST_VARCHAR:
        return Kind("text", mysql_type("text"))
    datatype = "char" if fixed and length <= LONGEST_CHAR else "string"
    return Kind(datatype, mysql_type(datatype, length), length)
