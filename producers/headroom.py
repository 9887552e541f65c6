"""Holding back: no more than so many bytes of a partition unread, where the broker would throw the oldest away."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

Gate = Callable[[int], int]
"""The offset up to which a reader is done with a partition, e.g. its place in the ledger."""


@dataclass(slots=True)
class _Lane:
    unread: int = 0
    delivered: deque[tuple[int, int]] = field(default_factory=deque)


class Headroom:
    """Picks the partition for each message and says when none has room.

    Parameters
    ----------
    limit
        Bytes of a partition that may lie unread, messages on their way included; a larger message goes alone.
    partitions
        How many the topic has.
    gate
        Asked for each partition whenever there is no room.
    """

    def __init__(self, limit: int, partitions: int, gate: Gate) -> None:
        self._limit = limit
        self._gate = gate
        self._lanes = [_Lane() for _ in range(partitions)]

    def take(self, size: int) -> int | None:
        """A partition with room for `size` bytes, the emptiest; None where there is none just now."""
        emptiest = min(range(len(self._lanes)), key=lambda number: self._lanes[number].unread)
        if self._fits(emptiest, size):
            return self._charge(emptiest, size)
        for number in range(len(self._lanes)):
            self._release(number)
        emptiest = min(range(len(self._lanes)), key=lambda number: self._lanes[number].unread)
        return self._charge(emptiest, size) if self._fits(emptiest, size) else None

    def delivered(self, partition: int, offset: int, size: int) -> None:
        """A message that was taken room for was written at `offset`."""
        self._lanes[partition].delivered.append((offset, size))

    def failed(self, partition: int, size: int) -> None:
        """A message that was taken room for was not written."""
        self._lanes[partition].unread -= size

    def _fits(self, number: int, size: int) -> bool:
        unread = self._lanes[number].unread
        return unread + size <= self._limit or unread == 0

    def _charge(self, number: int, size: int) -> int:
        self._lanes[number].unread += size
        return number

    def _release(self, number: int) -> None:
        lane = self._lanes[number]
        read = self._gate(number)
        while lane.delivered and lane.delivered[0][0] < read:
            lane.unread -= lane.delivered.popleft()[1]
