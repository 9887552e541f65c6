"""Alerts on their way in: which record, from which stream, and the columns read out of a batch of packets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Header = tuple[str, bytes | None]


@dataclass(frozen=True, slots=True)
class Stream:
    """One topic of one cluster, as it was created: a topic made again under its old name is another stream."""

    cluster: str
    topic: str
    topic_id: str


@dataclass(frozen=True, slots=True, order=True)
class RecordId:
    """One record for ever: the stream's small number (table ``streams``), the Kafka partition and the offset."""

    stream: int
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Records:
    """What a poll gave of one topic, column by column, in the order of arrival.

    Attributes
    ----------
    topic
        The topic's name.
    partition, offset
        ``int32[n]`` and ``int64[n]``.
    timestamp
        ``int64[n]``, milliseconds since 1970-01-01 UTC, -1 where the broker gave none.
    values
        The message bytes; None for a tombstone.
    keys, headers
        As the message had them.
    """

    topic: str
    partition: NDArray[np.int32]
    offset: NDArray[np.int64]
    timestamp: NDArray[np.int64]
    values: list[bytes | None]
    keys: list[bytes | None]
    headers: list[tuple[Header, ...]]

    @property
    def nbytes(self) -> int:
        """Bytes of the values: what bounded queues count."""
        return sum(len(value) for value in self.values if value is not None)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: NDArray[np.int64]) -> Records:
        """The same with `rows` only, in that order."""
        values, keys, headers = (
            [column[row] for row in rows.tolist()] for column in (self.values, self.keys, self.headers)
        )
        return Records(self.topic, self.partition[rows], self.offset[rows], self.timestamp[rows], values, keys, headers)


ColumnKind = Literal["float", "int", "text"]


@dataclass(frozen=True, slots=True)
class Column:
    """One field of `n` packets, as the packet has it: no unit changed, no value mapped.

    Attributes
    ----------
    kind
        ``float``: `values` is ``float64[n]``. ``int`` (also booleans and enum indexes): ``int64[n]``.
        ``text`` (strings and bytes): ``int64[n, 2]``, start and end in the batch's byte buffer.
    values
        As `kind` says; where `null` is set the value is 0.
    null
        ``bool[n]``: the packet has null there (or a parent that is null).
    symbols
        For an enum, its symbols by index; else empty.
    """

    kind: ColumnKind
    values: NDArray[np.float64] | NDArray[np.int64]
    null: NDArray[np.bool_]
    symbols: tuple[str, ...] = ()


Columns = Mapping[str, Column]
"""Columns by dotted field path (``diaSource.ra``); a path that the writer's schema lacks is not there."""


@dataclass(frozen=True, slots=True)
class Level1Column:
    """One column of Level-1 for `n` alerts: ``float64``, ``int64`` or an object array of str, and where it is NULL."""

    values: NDArray[np.float64] | NDArray[np.int64] | NDArray[np.object_]
    null: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Refusal:
    """One alert of a batch that cannot be taken: its row in the batch, a stable code and what is wrong."""

    row: int
    code: str
    reason: str
