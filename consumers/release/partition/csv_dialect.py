"""How CSV files are written, and how compiled code is told so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumers.release.reading.csv_types import MISSING

Ints = NDArray[np.int64]

ESCAPED = np.arange(256, dtype=np.int64)
for _letter, _meant in {"0": 0, "b": 8, "n": 10, "r": 13, "t": 9, "Z": 26}.items():
    ESCAPED[ord(_letter)] = _meant
"""What a byte means behind an escape."""
NO_NUMBERS = (*MISSING, "inf", "Inf", "INF", "Infinity", "infinity", "INFINITY")
"""What spells no number in a column of numbers, besides a sign."""


@dataclass(frozen=True, slots=True)
class CsvDialect:
    """How a CSV file is written, and how its lines are to be.

    Parameters
    ----------
    delimiter, quote, escape
        One character each; no quote and no escape where empty.
    nulls
        Spellings of NULL in any column, as bytes of an unquoted field.
    header
        Whether the first line has the names of the columns.
    target
        The delimiter of chunk files.
    """

    delimiter: str = ","
    quote: str = '"'
    escape: str = "\\"
    nulls: tuple[str, ...] = ("\\N",)
    header: bool = False
    target: str = ","

    @property
    def words(self) -> Ints:
        """The dialect as compiled code reads it."""
        return np.array([_code(each) for each in (self.delimiter, self.quote, self.escape, self.target)], np.int64)

    @property
    def spellings(self) -> Ints:
        """What spells NULL: 256 first bytes, a count, then for each whether in numbers alone, its length, its bytes."""
        listed = [(0, each.encode()) for each in self.nulls] + [(1, each.encode()) for each in NO_NUMBERS]
        firsts = np.zeros(256, np.int64)
        firsts[[each[0] for _, each in listed if each]] = 1
        words = [word for numbers, each in listed for word in (numbers, len(each), *each)]
        return np.concatenate((firsts, np.array([len(listed), *words], np.int64)))


def _code(character: str) -> int:
    return ord(character) if character else -1
