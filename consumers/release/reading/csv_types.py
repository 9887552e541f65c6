"""The type of a CSV column: the narrowest that all of its values are written in, of those that LOAD DATA takes so."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

_NAME = r"^[+-]?0(\d+$|[xX])"
"""A name and no number: it would lose its zeros, or is in a notation that MySQL does not read."""
_MOMENT = r"^\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d(\.\d{1,6})?)?$"


class Guess:
    """What is known of a column; `see` every value of it."""

    def __init__(self) -> None:
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

    def see(self, values: pa.Array) -> None:
        """Take in more values of the column, as text; null where one is missing."""
        if values.null_count == len(values):
            return
        self._seen = True
        self._longest = max(self._longest, pc.max(pc.binary_length(values)).as_py())
        self._ascii = self._ascii and pc.all(pc.string_is_ascii(values)).as_py()
        while not _are(values, self._kinds[0]):
            self._kinds.pop(0)


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
