"""Which partitions are ours, which of them librdkafka reads, and up to where they were handed out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from confluent_kafka import Consumer, TopicPartition

from stream.transport.source import Partition


def partitions_of(given: Iterable[TopicPartition]) -> list[Partition]:
    """librdkafka's partitions as ours."""
    return [(each.topic, each.partition) for each in given]


class Assignment:
    """The partitions of one consumer.

    A partition is *owned* when the group gave it to us, and *placed* when librdkafka was told an offset and reads it.
    Placing again is unassigning and assigning, both incremental: a `seek` right after an assignment is refused, and
    librdkafka drops what it had prefetched for the earlier placing.
    """

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._placed: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._shut: set[Partition] = set()
        self.owned: set[Partition] = set()
        self.ends: dict[Partition, int] = {}
        self.moved: set[Partition] = set()
        """Placed, displaced or lost since this was last cleared."""

    def own(self, partitions: Collection[Partition]) -> None:
        """The group gave us these; none is read yet."""
        self.owned.update(partitions)
        self.moved.update(partitions)

    def place(self, offsets: Mapping[Partition, int]) -> None:
        """Read these from these offsets."""
        self.displace([each for each in offsets if each in self._placed])
        self._consumer.incremental_assign(
            [TopicPartition(topic, number, offset) for (topic, number), offset in offsets.items()]
        )
        self._placed.update(offsets)
        self.moved.update(offsets)
        if paused := (self._paused | self._shut).intersection(offsets):
            self._consumer.pause(_named(paused))

    def displace(self, partitions: Collection[Partition]) -> None:
        """Read these no more, though we may own them."""
        placed = [each for each in partitions if each in self._placed]
        self._consumer.incremental_unassign(_named(placed))
        for each in placed:
            del self._placed[each]
        self.forget_ends(partitions)
        self.moved.update(partitions)

    def lose(self, partitions: Collection[Partition]) -> None:
        """The group gave these to others."""
        self.resume(partitions)
        self._shut.difference_update(partitions)
        self.displace(partitions)
        self.owned.difference_update(partitions)

    def forget_ends(self, partitions: Iterable[Partition]) -> None:
        """These are not known to stand at their end any more."""
        for each in partitions:
            self.ends.pop(each, None)

    def position(self, partition: Partition) -> int | None:
        """The next offset wanted of a placed partition."""
        return self._placed.get(partition)

    def placed(self) -> frozenset[Partition]:
        """The partitions that librdkafka reads."""
        return frozenset(self._placed)

    def advance(self, partition: Partition, offset: int) -> None:
        """Everything before `offset` was handed out."""
        self.ends.pop(partition, None)
        self._placed[partition] = offset

    def pause(self, partitions: Collection[Partition]) -> None:
        """Fetch no more of these."""
        wanted = self.owned.intersection(partitions)
        self._paused.update(wanted)
        if placed := wanted.intersection(self._placed):
            self._consumer.pause(_named(placed))

    def resume(self, partitions: Collection[Partition]) -> None:
        """Fetch these again; those that never paused are left alone."""
        paused = self._paused.intersection(partitions)
        self._paused.difference_update(paused)
        if placed := paused.intersection(self._placed) - self._shut:
            self._consumer.resume(_named(placed))

    def shut(self, partitions: Collection[Partition]) -> None:
        """Place these where they are, and fetch them again only once all is opened."""
        places = {each: self._placed[each] for each in partitions if each in self._placed}
        self._shut.update(places)
        self.place(places)

    def open(self) -> None:
        """Fetch again what was shut, other than what is paused."""
        shut, self._shut = self._shut, set()
        if placed := shut.intersection(self._placed) - self._paused:
            self._consumer.resume(_named(placed))


def _named(partitions: Iterable[Partition]) -> list[TopicPartition]:
    return [TopicPartition(topic, number) for topic, number in sorted(partitions)]
