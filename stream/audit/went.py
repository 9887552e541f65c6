"""Messages that the broker may have still and that are kept no more: given up, or let go of with their nights."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from stream.audit.stored import Place, Row

Bounds = tuple[int, int, int, int]
"""Stream, partition, start, end."""


@dataclass(frozen=True, slots=True)
class Went:
    """Offsets of which nothing is kept, and commits of which a part was retired and another part stays.

    Of such a commit nothing tells any more which of its messages went: only how many.

    Attributes
    ----------
    whole
        Ranges of which no packet stays.
    """

    whole: list[Bounds] = field(default_factory=list)
    _partly: defaultdict[Place, list[tuple[int, int, int]]] = field(default_factory=lambda: defaultdict(list))
    _messages: Counter[int] = field(default_factory=Counter)

    def part(self, commit: int, ranges: Iterable[Row], messages: int) -> None:
        """So many messages of a commit, which took `ranges`, were retired."""
        self._messages[commit] = messages
        for row in ranges:
            self._partly[row.stream, row.kafkaPartition].append((row.startOffset, row.endOffset, commit))

    def settle(self) -> None:
        """All commits are in: make ready for being asked."""
        for ranges in self._partly.values():
            ranges.sort()

    def takes(self, place: Place, offset: int) -> bool:
        """Whether a message may have gone; each is asked for once, since a commit has no more than were retired."""
        if any(one[:2] == place and one[2] <= offset < one[3] for one in self.whole):
            return True
        ranges = self._partly.get(place, [])
        at = bisect_right(ranges, (offset, 1 << 63, 0)) - 1
        if at < 0 or offset >= ranges[at][1] or not self._messages[ranges[at][2]]:
            return False
        self._messages[ranges[at][2]] -= 1
        return True
