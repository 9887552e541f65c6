"""An Avro type, every name resolved: what the gate, the program and the strict reader walk.

A named type that is used twice is one object with two parents; there are no cycles, since the gate refuses recursion
while it builds the tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PrimitiveName = Literal["null", "boolean", "int", "long", "float", "double", "bytes", "string"]


@dataclass(frozen=True, slots=True, eq=False)
class Primitive:
    """One of the eight primitive types."""

    name: PrimitiveName


@dataclass(frozen=True, slots=True, eq=False)
class Fixed:
    """A fixed number of bytes."""

    size: int


@dataclass(frozen=True, slots=True, eq=False)
class Enum:
    """An index into `symbols`."""

    symbols: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """Named fields, one after the other."""

    fields: tuple[tuple[str, AvroType], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Array:
    """Blocks of items."""

    items: AvroType


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """Blocks of string keys with values."""

    values: AvroType


@dataclass(frozen=True, slots=True, eq=False)
class Union:
    """A branch index, then that branch."""

    branches: tuple[AvroType, ...]

    @property
    def null_at(self) -> int:
        """The null branch of a union of null and one other type; -1 where the union is not of that shape."""
        if len(self.branches) != 2:
            return -1
        nulls = [i for i, branch in enumerate(self.branches) if is_null(branch)]
        return nulls[0] if len(nulls) == 1 else -1


AvroType = Primitive | Fixed | Enum | Record | Array | Map | Union


def is_null(kind: AvroType) -> bool:
    """Whether the type is null itself."""
    return isinstance(kind, Primitive) and kind.name == "null"


def children(kind: AvroType) -> tuple[AvroType, ...]:
    """The types directly inside."""
    if isinstance(kind, Record):
        return tuple(field for _, field in kind.fields)
    if isinstance(kind, Array):
        return (kind.items,)
    if isinstance(kind, Map):
        return (kind.values,)
    return kind.branches if isinstance(kind, Union) else ()
