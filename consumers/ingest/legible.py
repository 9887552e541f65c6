"""What a refused message says of itself: ids and the night that its alerts give, where the packet could be read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.alert import Level1Column
from stream.survey import Survey
from stream.tables.limits import limits
from stream.visit import is_night

_IDS = ("visit", "detector", "diaSourceId")
_Time = tuple[int, float]
"""A night (YYYYMMDD), and the time that it is of (MJD TAI, days)."""
_Said = tuple[tuple[int | None, ...], _Time | None]


@dataclass(frozen=True, slots=True)
class Legible:
    """What the alerts of one message say, each None where none of them says it, or they say different things.

    Attributes
    ----------
    visit, detector, dia_source_id
        What table ``quarantine`` can hold of them.
    night, midpoint
        YYYYMMDD, and a time in it (MJD TAI, days): of times within the survey's `valid_mjd` alone.
    """

    visit: int | None = None
    detector: int | None = None
    dia_source_id: int | None = None
    night: int | None = None
    midpoint: float | None = None


def fitting(name: str) -> range:
    """What table ``quarantine`` can hold in the integer column `name`."""
    limit = limits("quarantine")[name]
    if limit.least is None or limit.most is None:
        raise TypeError(f"{name} of quarantine is no integer")
    return range(limit.least, limit.most + 1)


def legible_of(
    columns: Mapping[str, Level1Column], message: NDArray[np.int64], rows: NDArray[np.int64], survey: Survey
) -> dict[int, Legible]:
    """By message what it says of itself: from the alerts `rows` (``int64[k]``) of Level-1's `columns`."""
    if not len(rows):
        return {}
    ids = zip(*(_ids(name, columns[name], rows) for name in _IDS), strict=True)
    times = _times(columns["midpointMjdTai"], rows, survey)
    found: defaultdict[int, list[_Said]] = defaultdict(list)
    for number, own, time in zip(message[rows].tolist(), ids, times, strict=True):
        found[number].append((own, time))
    return {number: _together(said) for number, said in found.items()}


def _together(said: Sequence[_Said]) -> Legible:
    ids = (_agreed(each) for each in zip(*(own for own, _ in said), strict=True))
    times = [time for _, time in said if time is not None]
    night = _agreed(night for night, _ in times)
    return Legible(*ids, *(None, None) if night is None else times[0])


def _ids(name: str, column: Level1Column, rows: NDArray[np.int64]) -> list[int | None]:
    bounds, values, absent = fitting(name), column.values[rows].tolist(), column.null[rows].tolist()
    return [None if null or value not in bounds else value for value, null in zip(values, absent, strict=True)]


def _times(column: Level1Column, rows: NDArray[np.int64], survey: Survey) -> list[_Time | None]:
    low, high = survey.rules.valid_mjd
    times = column.values[rows].astype(np.float64)
    there = ~column.null[rows] & (times >= low) & (times <= high)
    nights = survey.night_of(np.where(there, times, low)).tolist()
    cells = zip(there.tolist(), nights, times.tolist(), strict=True)
    return [(night, time) if told and is_night(night) else None for told, night, time in cells]


def _agreed(values: Iterable[int | None]) -> int | None:
    """The one value that alerts give; None where they give none, or several."""
    given = {value for value in values if value is not None}
    return given.pop() if len(given) == 1 else None
