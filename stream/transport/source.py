"""Where alerts come from: a group's share of a topic's partitions, read from offsets that the caller gives."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from stream.alert import Records, Stream

Partition = tuple[str, int]
"""A topic's name and the number of one of its partitions."""

OnAssign = Callable[[Sequence[Partition]], Mapping[Partition, int]]
"""Given partitions that are now ours, the offset of the first record wanted from each.

A partition that is left out is owned and not read until `Source.seek` gives it an offset.
"""

OnLeave = Callable[[Sequence[Partition]], None]
"""Given partitions that go to somebody else once the call returns (revoked), or that have gone already (lost)."""

TroubleCode = Literal[
    "offsets_expired",
    "ledger_ahead",
    "topic_gone",
    "topic_recreated",
    "not_authorized",
    "bad_batch",
    "partition_failed",
]


@dataclass(frozen=True, slots=True)
class PartitionTrouble:
    """Why a partition is no longer read; the others go on, and `Source.seek` starts it again.

    Attributes
    ----------
    topic, partition
        Which; the partition is -1 where the whole topic is in trouble and none of it is assigned.
    code
        Stable slug, one section of the runbook each.
    detail
        What was found, for people.
    position
        The offset of the next record wanted, -1 where none was given yet.
    missing
        The exact range ``[start, end)`` of offsets that the log does not have (any more), where it could be told:
        for ``offsets_expired`` those lost in front of the log's start, for ``ledger_ahead`` those between the log's
        end and the position.
    """

    topic: str
    partition: int
    code: TroubleCode
    detail: str
    position: int = -1
    missing: tuple[int, int] | None = None


class Source(Protocol):
    """A reader of partitions. One thread, the owner, makes every call; the callbacks run inside `poll` and `close`."""

    def subscribe(self, topics: Sequence[str], on_assign: OnAssign, on_revoke: OnLeave, on_lost: OnLeave) -> None:
        """Join the group and read the share that it gives, from the offsets that `on_assign` returns.

        Raises
        ------
        stream.errors.Transient
            ``broker_away``.
        stream.errors.Held
            ``topic_gone``: a topic does not exist.
        """
        ...

    def poll(self, max_records: int, timeout_s: float, max_bytes: int = ...) -> list[Records]:
        """What has arrived, one `Records` a topic; empty once `timeout_s` (seconds) passed with nothing.

        Returns as soon as something is there. What is returned has moved the position.
        """
        ...

    def ends(self) -> dict[Partition, int]:
        """The partitions whose every record so far was polled, and the offset of each one's end."""
        ...

    def position(self, topic: str, partition: int) -> int:
        """The offset after the last record polled, or after the holes at the log's end (transaction markers)."""
        ...

    def watermarks(self, topic: str, partition: int, timeout_s: float = ...) -> tuple[int, int]:
        """Offset of the first record kept and of the next one to be written, asked of the broker."""
        ...

    def partitions(self, topic: str) -> int:
        """How many partitions the topic has, asked of the broker; errors as `stream_of`."""
        ...

    def troubles(self) -> list[PartitionTrouble]:
        """Partitions that stopped since this was last asked. Each is said once."""
        ...

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """Read an assigned partition from `offset` on: the next poll has nothing of it from before."""
        ...

    def pause(self, partitions: Collection[Partition]) -> None:
        """Stop fetching. What was prefetched is thrown away and fetched again: not for a hiccup."""
        ...

    def unpause(self, partitions: Collection[Partition]) -> None:
        """Fetch again."""
        ...

    def assigned(self) -> frozenset[Partition]:
        """The partitions that are ours now, those in trouble included."""
        ...

    def reading(self) -> frozenset[Partition]:
        """Those of the assigned partitions that have a position: not stopped by trouble, not waiting for `seek`."""
        ...

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Tell Kafka where we are, for lag tools. Advisory: returns at once and raises nothing."""
        ...

    def stream_of(self, topic: str) -> Stream:
        """The topic as it was created: cluster id and topic id, asked of the broker.

        Raises
        ------
        stream.errors.Transient
            ``broker_away``.
        stream.errors.Held
            ``topic_gone``.
        """
        ...

    def away(self) -> str | None:
        """Why the broker cannot be reached just now; None while it can."""
        ...

    def joining(self) -> bool:
        """Whether the group is being joined anew: what is ours is about to come, and nothing stands at its end."""
        ...

    def close(self) -> None:
        """Leave the group (a static member keeps its place for the session's length)."""
        ...
