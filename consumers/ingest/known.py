"""What a refused message says of itself: the ids that its alerts give, where the packet could be read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.alert import Level1Column
from stream.tables.limits import limits

_IDS = ("visit", "detector", "diaSourceId")


@dataclass(frozen=True, slots=True)
class Known:
    """What the alerts of one message say, each None where none of them says it, or they say different things.

    Attributes
    ----------
    visit, detector, dia_source_id
        What table ``quarantine`` can hold of them.
    """

    visit: int | None = None
    detector: int | None = None
    dia_source_id: int | None = None


def known_of(
    columns: Mapping[str, Level1Column], message: NDArray[np.int64], rows: NDArray[np.int64]
) -> dict[int, Known]:
    """By message what is known of it, from the alerts `rows` (``int64[k]``) of Level-1's `columns`."""
    cells = zip(*(_ids(name, columns[name], rows) for name in _IDS), strict=True)
    found: defaultdict[int, list[tuple[int | None, ...]]] = defaultdict(list)
    for number, ids in zip(message[rows].tolist(), cells, strict=True):
        found[number].append(ids)
    return {number: Known(*(_agreed(each) for each in zip(*ids, strict=True))) for number, ids in found.items()}


def _ids(name: str, column: Level1Column, rows: NDArray[np.int64]) -> list[int | None]:
    limit, values = limits("quarantine")[name], column.values[rows].tolist()
    if limit.least is None or limit.most is None:
        raise TypeError(f"{name} of quarantine is no integer")
    bounds = range(limit.least, limit.most + 1)
    absent = column.null[rows].tolist()
    return [None if null or value not in bounds else value for value, null in zip(values, absent, strict=True)]


def _agreed(values: Iterable[int | None]) -> int | None:
    """The one value that alerts give; None where they give none, or several."""
    given = {value for value in values if value is not None}
    return given.pop() if len(given) == 1 else None
