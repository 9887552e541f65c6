"""Which messages of a run the broker acknowledged: numbers kept as ranges, few however many they are."""

from __future__ import annotations

from collections.abc import Iterable


class Acknowledged:
    """A set of message numbers (0, 1, … in the order of the source), kept as ranges ``[start, end)``."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._end_of: dict[int, int] = {}
        self._start_of: dict[int, int] = {}
        self._count = 0
        for start, end in ranges:
            self._put(start, end)
            self._count += end - start
        self._was = sorted(self._end_of.items())
        self._at = 0

    def add(self, number: int) -> None:
        """This one is acknowledged too; each number once."""
        start = self._start_of.pop(number, number)
        end = self._end_of.pop(number + 1, number + 1)
        self._put(start, end)
        self._count += 1

    def before(self, number: int) -> bool:
        """Whether an earlier run had `number` acknowledged; asked with numbers that only grow."""
        while self._at < len(self._was) and self._was[self._at][1] <= number:
            self._at += 1
        return self._at < len(self._was) and self._was[self._at][0] <= number

    def ranges(self) -> list[tuple[int, int]]:
        """All of them, in order, no two touching."""
        return sorted(self._end_of.items())

    def __len__(self) -> int:
        return self._count

    def _put(self, start: int, end: int) -> None:
        self._end_of[start] = end
        self._start_of[end] = start
