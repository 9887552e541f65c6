"""Which commits a rebuild takes, and in which order: contiguous in every partition, nothing beyond a gap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from stream.audit.catalogue import RETIRED, Catalogue
from stream.audit.notes import Note, Range
from stream.audit.stored import Place


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets [start, end) of a partition that no commit has, though one behind them has more."""

    stream: int
    partition: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Take:
    """A commit to take: its note, and of each of its ranges what is not yet covered."""

    note: Note
    ranges: tuple[Range, ...]


@dataclass(slots=True)
class Order:
    """Walks through the commits of a catalogue.

    Attributes
    ----------
    accepted
        Gaps that an operator has accepted.
    at
        By partition the offset after what was taken.
    """

    catalogue: Catalogue
    accepted: Sequence[Gap] = ()
    at: dict[Place, int] = field(default_factory=dict)

    def walk(self) -> Iterator[Take | Gap]:
        """Yield commits to take, and accepted gaps where they stand between them."""
        self.at = dict(self.catalogue.places())
        while True:
            step = self._step()
            if step is None:
                return
            yield step

    def gaps(self) -> list[Gap]:
        """After the walk: what stopped it. A gap may lie in one partition and stop others with it."""
        found = []
        for place, at in sorted(self.at.items()):
            low = self.catalogue.next_low(place, at)
            if low is not None and not self.catalogue.reaching(place, at):
                found.append(Gap(*place, at, low))
        return found

    def _step(self) -> Take | Gap | None:
        for place, at in sorted(self.at.items()):
            best = self._best(place, at)
            if best is not None:
                return self._taken(best)
        for gap in self.gaps():
            for word in self.accepted:
                mine = (word.stream, word.partition) == (gap.stream, gap.partition)
                if mine and word.start <= gap.start and gap.end <= word.end:
                    self.at[gap.stream, gap.partition] = gap.end
                    return gap
        return None

    def _best(self, place: Place, at: int) -> int | None:
        """Of the commits that go on from here, the one that most likely was published."""
        ranked = []
        for span in self.catalogue.reaching(place, at):
            spans = self.catalogue.spans(span.commit)
            if any(one.low > self.at[other] for other, one in spans.items()):
                continue
            sure, aside = self.catalogue.standing(span.commit)
            exact = all(one.low == self.at[other] for other, one in spans.items())
            followed = any(self.catalogue.begins_at(other, one.high) for other, one in spans.items())
            ranked.append(((sure, aside < RETIRED, exact, followed, -aside, span.high), span.commit))
        return max(ranked)[1] if ranked else None

    def _taken(self, commit: int) -> Take:
        self.catalogue.take(commit)
        note = self.catalogue.note(commit)
        ranges = []
        for one in note.ranges:
            start = max(one.start, self.at[one.stream, one.partition])
            if start < one.end:
                ranges.append(Range(one.stream, one.partition, start, one.end, one.records, one.tombstones))
                self.at[one.stream, one.partition] = one.end
        return Take(note, tuple(ranges))
