"""Gathering: polled records become batches that close on bytes or on age."""

from __future__ import annotations

from consumers.ingest.batches import Assigned, Polled, RawBatch, age_s
from stream.alert import Records
from stream.transport.source import Partition

_WORTH = 5


class Gathering:
    """The open batch, and where in each partition the next one starts.

    A batch's range starts where the one before ended, or at the ledger's place after an assignment or a reset; it ends
    at the consumer's position, so that holes in the offsets belong to the batch that passes them.
    """

    def __init__(self, most_bytes: int, most_age_s: float) -> None:
        self._most_bytes = most_bytes
        self._most_age_s = most_age_s
        self.generation = 0
        self._next: dict[Partition, int] = {}
        self._records: list[Records] = []
        self._ends: dict[Partition, int] = {}
        self._nbytes = self._held = 0
        self._since: float | None = None

    def assign(self, news: Assigned) -> None:
        """Partitions start, or start again, at the ledger's place; news from before the last reset are none."""
        if news.generation == self.generation:
            self._next.update(news.start)

    def unassign(self, parts: frozenset[Partition]) -> None:
        """Partitions are gone; the caller has closed the batch before."""
        for part in parts:
            self._next.pop(part, None)

    def reset(self, generation: int) -> int:
        """Forget everything that is open, and every place; gives the bytes in flight that were dropped."""
        dropped = self._held
        self.generation = generation
        self._next.clear()
        self._clear()
        return dropped

    def add(self, polled: Polled) -> bool:
        """Take in what was polled; False where it is of an earlier generation or of partitions that are gone."""
        if polled.generation != self.generation or any(part not in self._next for part in polled.position):
            return False
        self._records.extend(polled.records)
        for part, end in polled.position.items():
            if end > self._ends.get(part, self._next[part]):
                self._ends[part] = end
        self._nbytes += polled.nbytes
        self._held += polled.held
        if self._since is None and self._ends:
            self._since = polled.at
        return True

    @property
    def empty(self) -> bool:
        """Whether nothing is open."""
        return not self._ends

    @property
    def full(self) -> bool:
        """Whether the open batch has all the bytes that one may have."""
        return self._held >= self._most_bytes

    @property
    def worthy(self) -> bool:
        """Whether the open batch has a fifth of what one may have: worth a commit where nothing else is under way."""
        return self._held >= self._most_bytes // _WORTH

    def age_s(self, now: float) -> float:
        """As `batches.age_s`, of the open batch."""
        return age_s(self._records, now)

    @property
    def since(self) -> float | None:
        """When the oldest record of the open batch was polled, monotonic seconds; None where nothing is open."""
        return self._since

    def left(self, now: float) -> float | None:
        """Seconds until the open batch must close; None where there is none, 0 where it is due."""
        if self._since is None:
            return None
        if self.full:
            return 0.0
        return max(0.0, self._since + self._most_age_s - now)

    def close(self) -> RawBatch | None:
        """The open batch, closed; None where nothing is open."""
        if not self._ends:
            return None
        bounds = {part: (self._next[part], end) for part, end in self._ends.items()}
        records, at = tuple(self._records), self._since or 0.0
        batch = RawBatch(self.generation, records, bounds, self._nbytes, at, held=self._held)
        self._next.update(self._ends)
        self._clear()
        return batch

    def _clear(self) -> None:
        self._records, self._ends, self._since = [], {}, None
        self._nbytes = self._held = 0
