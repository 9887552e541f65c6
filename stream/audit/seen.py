"""Published rows of segments on their way to be held against the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xxhash import xxh3_128

from stream.alert import Header, Level1Column

Record = tuple[int, int, int]
"""Stream number, partition and offset."""

Decoded = tuple[tuple[Any, ...], tuple[Any, ...]]
"""Fields, and their values: slots of a decoder, or names."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One published index row.

    Attributes
    ----------
    night
        That of its segment.
    index
        Its row in the index by column.
    decoded
        What fastavro decoded of its packet: the fields that Level-1 comes from; of a quarantined record all, for the
        value its length. None where nothing was decoded.
    """

    commit: int
    segment: int
    kind: str
    night: int
    record: Record
    index: Mapping[str, Any]
    decoded: Decoded | None = None

    @property
    def part(self) -> int:
        """Which record of its message it is."""
        return int(self.index["part"])

    @property
    def place(self) -> tuple[int, int, int]:
        """Where its packet lies: segment, block offset, slot."""
        return self.segment, self.index["blockOffset"], self.index["slot"]

    def text(self) -> str:
        """Which record it is and where, for people."""
        more = f" part {self.part}" if self.part else ""
        return (
            f"{record_text(self.record)}{more} in segment {self.segment}, block {self.place[1]}, slot {self.place[2]}"
        )


def record_text(record: Sequence[int]) -> str:
    """A RecordId for people: stream/partition/offset."""
    return "record " + "/".join(map(str, record))


def rows_of(columns: Mapping[str, Level1Column]) -> list[dict[str, Any]]:
    """Level-1 columns as one dictionary a row, None for null."""
    lists = []
    for column in columns.values():
        values = column.values.tolist()
        for row in column.null.nonzero()[0].tolist():
            values[row] = None
        lists.append(values)
    return [dict(zip(columns, row)) for row in zip(*lists, strict=True)]


def rest_digest(key: bytes | None, headers: Sequence[Header]) -> bytes:
    """A digest of what a message has beside its value: key and headers, with their order and what is absent."""
    digest = xxh3_128()
    for piece in (key, *(piece for name, value in headers for piece in (name.encode(), value))):
        digest.update(b"-" if piece is None else b"%d:" % len(piece) + piece)
    return bytes(digest.digest())
