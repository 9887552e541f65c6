"""A source whose polls a test writes down: each step says what happens inside one `poll` and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from stream.alert import Records, Stream
from stream.errors import Held, Transient
from stream.transport.source import OnAssign, OnLeave, Partition, PartitionTrouble

Step = Callable[[], list[Records] | None]


def records(topic: str, *places: tuple[int, int], value: bytes = b"x") -> Records:
    """One record of `value` at each (partition, offset)."""
    n = len(places)
    partition, offset = (np.array([place[axis] for place in places], np.int64) for axis in (0, 1))
    return Records(topic, partition.astype(np.int32), offset, offset * 0, [value] * n, [None] * n, [()] * n)


@dataclass(slots=True)
class ScriptedSource:
    """Keeps the books that `KafkaSource` keeps; once the steps are done it calls `done`.

    Attributes
    ----------
    placed, paused, owned
        As the calls left them.
    bounds
        The log of each partition, (0, 0) where it is not told.
    silent
        Partitions without a leader.
    absent
        Partitions that their topic has no more.
    told
        Troubles for the next `troubles`.
    """

    steps: list[Step] = field(default_factory=list)
    done: Callable[[], None] = lambda: None
    owned: set[Partition] = field(default_factory=set)
    placed: dict[Partition, int] = field(default_factory=dict)
    paused: set[Partition] = field(default_factory=set)
    at_end: dict[Partition, int] = field(default_factory=dict)
    bounds: dict[Partition, tuple[int, int]] = field(default_factory=dict)
    silent: set[Partition] = field(default_factory=set)
    absent: set[Partition] = field(default_factory=set)
    told: list[PartitionTrouble] = field(default_factory=list)
    gone: Exception | None = None
    joins: bool = False
    sought: list[tuple[Partition, int]] = field(default_factory=list)
    _assign: OnAssign = lambda _: {}
    _revoke: OnLeave = lambda _: None

    def subscribe(self, topics: Sequence[str], on_assign: OnAssign, on_revoke: OnLeave, on_lost: OnLeave) -> None:
        self._assign, self._revoke = on_assign, on_revoke

    def give(self, *parts: Partition) -> None:
        """The group gives these, inside a poll."""
        self.owned.update(parts)
        self.placed.update(self._assign(parts))

    def take_away(self, *parts: Partition) -> None:
        """The group revokes these."""
        self._revoke(parts)
        for part in parts:
            self.owned.discard(part)
            self.paused.discard(part)
            self.stop(part)

    def stop(self, part: Partition, code: str = "", missing: tuple[int, int] | None = None) -> None:
        """The partition is read no more; with `code` it is in trouble."""
        position = self.placed.pop(part, -1)
        self.at_end.pop(part, None)
        if code:
            self.told.append(PartitionTrouble(*part, code, code, position, missing))  # type: ignore[arg-type]

    def poll(self, max_records: int, timeout_s: float, max_bytes: int = 0) -> list[Records]:
        if not self.steps:
            self.done()
            return []
        given = self.steps.pop(0)() or []
        for one in given:
            for partition, offset in zip(one.partition.tolist(), one.offset.tolist(), strict=True):
                if (one.topic, partition) in self.placed:
                    self.placed[one.topic, partition] = offset + 1
        return given

    def ends(self) -> dict[Partition, int]:
        return dict(self.at_end)

    def position(self, topic: str, partition: int) -> int:
        return self.placed[topic, partition]

    def watermarks(self, topic: str, partition: int, timeout_s: float = 5.0) -> tuple[int, int]:
        if (topic, partition) in self.silent:
            raise Transient("broker_away", f"{topic}[{partition}] has no leader")
        if (topic, partition) in self.absent:
            raise Held("topic_gone", f"{topic}[{partition}] is not there")
        return self.bounds.get((topic, partition), (0, 0))

    def partitions(self, topic: str) -> int:
        return sum(known == topic for known, _ in self.bounds)

    def troubles(self) -> list[PartitionTrouble]:
        found, self.told = self.told, []
        return found

    def seek(self, topic: str, partition: int, offset: int) -> None:
        self.sought.append(((topic, partition), offset))
        self.placed[topic, partition] = offset
        self.at_end.pop((topic, partition), None)

    def pause(self, partitions: Collection[Partition]) -> None:
        self.paused.update(self.owned.intersection(partitions))

    def unpause(self, partitions: Collection[Partition]) -> None:
        self.paused.difference_update(partitions)

    def assigned(self) -> frozenset[Partition]:
        return frozenset(self.owned)

    def reading(self) -> frozenset[Partition]:
        return frozenset(self.placed)

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        return None

    def stream_of(self, topic: str) -> Stream:
        if self.gone is not None:
            raise self.gone
        return Stream("cluster", topic, "id")

    def joining(self) -> bool:
        return self.joins

    def away(self) -> str | None:
        return None

    def close(self) -> None:
        return None
