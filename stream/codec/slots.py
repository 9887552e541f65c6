"""Which of the wanted fields a schema has, of what kind each is, and which rows of a batch's values it fills."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.alert import Column, ColumnKind, Columns
from stream.codec.avro_type import AvroType, Enum, Fixed, Primitive, Record, Union, is_null

_KINDS: Mapping[str, ColumnKind] = {
    "boolean": "int",
    "int": "int",
    "long": "int",
    "float": "float",
    "double": "float",
    "bytes": "text",
    "string": "text",
}


@dataclass(frozen=True, slots=True)
class Slot:
    """A wanted field: its kind, its number among the slots, and the first of its rows (`text` has two: start, end)."""

    path: str
    kind: ColumnKind
    index: int
    row: int
    symbols: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows that it fills."""
        return 2 if self.kind == "text" else 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run over `n` packets gave.

    Attributes
    ----------
    values
        ``int64[rows, n]``; floats as the bits of ``float64``.
    null
        ``bool[slots, n]``.
    status
        ``int64[n]``: 0, or why the packet is refused (`stream.codec.ops`).
    at
        ``int64[n]``: where the packet ends, or the byte at which it is refused, in the buffer.
    word
        ``int64[n]``: the operation that refused it.
    """

    values: NDArray[np.int64]
    null: NDArray[np.bool_]
    status: NDArray[np.int64]
    at: NDArray[np.int64]
    word: NDArray[np.int64]

    @classmethod
    def empty(cls, slots: tuple[Slot, ...], n: int) -> Outcome:
        """Nothing run yet: every value 0 and null."""
        rows = sum(slot.rows for slot in slots)
        return cls(
            np.zeros((rows, n), np.int64),
            np.ones((len(slots), n), np.bool_),
            *(np.zeros(n, np.int64) for _ in range(3)),
        )


def find_slots(root: AvroType, wanted: Collection[str]) -> dict[str, Slot]:
    """Give each wanted field that the schema has its slot, by path.

    A field of several types has the kind that holds them all: a union of int and double is ``float``. One that mixes
    text with numbers, or an enum with anything but null, has no kind, and no slot.
    """
    slots: dict[str, Slot] = {}
    row = 0
    for path in sorted(set(wanted)):
        leaves = _leaves(root, path.split("."))
        kind, symbols = _kind(leaves)
        if kind is not None:
            slots[path] = Slot(path, kind, len(slots), row, symbols)
            row += slots[path].rows
    return slots


def _leaves(kind: AvroType, parts: list[str]) -> list[AvroType]:
    if isinstance(kind, Union):
        return [leaf for branch in kind.branches for leaf in _leaves(branch, parts)]
    if isinstance(kind, Record) and parts:
        return [leaf for name, inner in kind.fields if name == parts[0] for leaf in _leaves(inner, parts[1:])]
    return [] if parts or is_null(kind) else [kind]


def _kind(leaves: list[AvroType]) -> tuple[ColumnKind | None, tuple[str, ...]]:
    if len(leaves) == 1 and isinstance(leaves[0], Enum):
        return "int", leaves[0].symbols
    kinds: set[ColumnKind | None] = set()
    for leaf in leaves:
        if isinstance(leaf, Fixed):
            kinds.add("text")
        else:
            kinds.add(_KINDS[leaf.name] if isinstance(leaf, Primitive) else None)
    if kinds == {"int", "float"}:
        return "float", ()
    return (kinds.pop(), ()) if len(kinds) == 1 else (None, ())


def to_columns(slots: tuple[Slot, ...], outcome: Outcome, keep: NDArray[np.int64] | None) -> Columns:
    """The columns of the packets numbered by `keep`, or of all where it is None."""
    columns: dict[str, Column] = {}
    for slot in slots:
        rows, null = outcome.values[slot.row : slot.row + slot.rows], outcome.null[slot.index]
        if keep is not None:
            rows, null = rows[:, keep], null[keep]
        values: NDArray[np.float64] | NDArray[np.int64]
        if slot.kind == "text":
            values = np.ascontiguousarray(rows.T)
        else:
            values = rows[0].view(np.float64) if slot.kind == "float" else rows[0]
        columns[slot.path] = Column(slot.kind, values, null, slot.symbols)
    return columns
