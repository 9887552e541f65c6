"""The type of a CSV column: the narrowest that all of its values are written in, of those that LOAD DATA takes so."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

MISSING = ("", "NULL", "null", "None", "nan", "NaN", "NAN")
"""What is missing in a column of numbers or times, and in one of texts a text, as Qserv's partitioner has it."""
_NAME = r"^[+-]?0(\d+$|[xX])"
"""A name and no number: it would lose its zeros, or is in a notation that MySQL does not read."""
_MOMENT = r"^\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d(\.\d{1,6})?)?$"


class Guess:
    """What is known of a column; `see` every value of it."""

    def __init__(self) -> None:
        self._words: set[str] = set()
        self._kinds = [pa.int64(), pa.uint64(), pa.float64(), pa.timestamp("us"), pa.string()]
        self._seen = False
        self._longest = 0
        self._ascii = True

    @property
    def type(self) -> pa.DataType:
        """Whole numbers, else real ones, else moments as MySQL writes them, else text; null where nothing was seen."""
        return self._kinds[0] if self._seen else pa.null()

    @property
    def length(self) -> int:
        """The most bytes of a value."""
        return self._longest

    @property
    def ascii(self) -> bool:
        """Whether all values are ASCII."""
        return self._ascii

    @property
    def words(self) -> list[str]:
        """Of a column of texts, those that would be missing in one of numbers, but for empty ones."""
        return sorted(self._words - {""}) if self.type == pa.string() else []

    def see(self, values: pa.Array) -> None:
        """Take in more values of the column, as text; null where one is missing."""
        if values.null_count == len(values):
            return
        self._longest = max(self._longest, pc.max(pc.binary_length(values)).as_py())
        self._ascii = self._ascii and pc.all(pc.string_is_ascii(values)).as_py()
        missing = is_missing(values)
        if pc.any(missing).as_py():
            self._words.update(pc.unique(values.filter(missing)).to_pylist())
            values = values.filter(pc.invert(missing))
        if values.null_count == len(values):
            return
        self._seen = True
        while not _are(values, self._kinds[0]):
            self._kinds.pop(0)


def is_missing(values: pa.Array) -> pa.Array:
    """Which texts are missing in a column of numbers or times."""
    return pc.is_in(values, pa.array(MISSING, values.type))


def as_kind(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Texts of a column as values of its type."""
    if kind == pa.string():
        return values
    if kind == pa.null():
        return pa.nulls(len(values))
    return pc.cast(pc.if_else(is_missing(values), None, values), kind)


def _are(values: pa.Array, kind: pa.DataType) -> bool:
    if kind == pa.string():
        return True
    if pa.types.is_timestamp(kind):
        return bool(pc.all(pc.match_substring_regex(values, _MOMENT)).as_py())
    if pc.any(pc.match_substring_regex(values, _NAME)).as_py():
        return False
    try:
        pc.cast(values, kind)
    except pa.ArrowInvalid:
        return False
    return True
