"""Where a CSV file can be cut: between its records, wherever newlines stand inside quotes or behind an escape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from consumers.release.partition.compiling import Kernel
from consumers.release.partition.csv_dialect import CsvDialect
from consumers.release.partition.writing import NEWLINE


def _border(stamp: int) -> Any:
    def border(buffer: Any, words: Any, state: Any) -> int:
        """Where the last record ends; the state is: quoted, escaped, at a field's start, after a quote."""
        quote, escape, delimiter, last = words[1], words[2], words[0], -1
        quoted, escaped, fresh, closed = state[0], state[1], state[2], state[3]
        for i in range(len(buffer)):
            character = buffer[i]
            if escaped:
                escaped, fresh, closed = 0, 0, 0
            elif character == escape:
                escaped, fresh, closed = 1, 0, 0
            elif character == quote:
                opens = quoted == 0 and (fresh != 0 or closed != 0)
                closed = quoted
                quoted = 1 if opens else 0
                fresh = 0
            else:
                closed = 0
                if character == NEWLINE and quoted == 0:
                    last = i + 1
                fresh = 1 if (character in (delimiter, NEWLINE)) and quoted == 0 else 0
        state[0], state[1], state[2], state[3] = quoted, escaped, fresh, closed
        return last if stamp else 0

    return border


BORDER = Kernel(_border, nb.int64(nb.uint8[::1], nb.int64[::1], nb.int64[::1]))


def borders(read: Callable[[int, int], NDArray[np.uint8]], dialect: CsvDialect, size: int, every: int) -> list[int]:
    """Offsets at which records begin, about `every` bytes apart, of a file of `size` bytes.

    Parameters
    ----------
    read
        ``read(offset, bytes)`` gives a ``uint8`` array.
    """
    found, state, block = [], np.array([0, 0, 1, 0], np.int64), min(every, 8 << 20)
    wanted = every
    for offset in range(0, size, block):
        end = BORDER()(read(offset, block), dialect.words, state)
        if end >= 0 and wanted <= offset + end < size:
            found.append(offset + end)
            wanted = offset + end + every
    return found
