"""The flat program that is made once from a writer schema and the wanted fields, for the kernel to run.

A program is one array of ``int64``: operations of four words (code and three operands), some followed by a table. Runs
of fields that need no more than a look at their bytes become one operation, so that a record of a hundred fields takes
about twenty steps.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream.codec import ops
from stream.codec.avro_type import Array, AvroType, Enum, Fixed, Map, Primitive, Record, Union, is_null
from stream.codec.slots import Slot, find_slots

MAX_WORDS = 32_768
"""Words (of 8 bytes) of the largest program that the kernel is given; fastavro reads what needs a longer one."""

_WIDTH = {"float": 4, "double": 8}
_RUNS = {"boolean": ops.BOOLEANS, "int": ops.INTS, "long": ops.LONGS, "string": ops.STRINGS, "bytes": ops.BYTES}
_NULLABLE_RUNS = {
    "boolean": ops.NULLABLE_BOOLEANS,
    "int": ops.NULLABLE_INTS,
    "long": ops.NULLABLE_LONGS,
    "string": ops.NULLABLE_STRINGS,
    "bytes": ops.NULLABLE_BYTES,
}
_STORE = {
    "boolean": ops.STORE_BOOLEAN,
    "int": ops.STORE_INT,
    "long": ops.STORE_LONG,
    "float": ops.STORE_FLOAT,
    "double": ops.STORE_DOUBLE,
    "string": ops.STORE_STRING,
    "bytes": ops.STORE_BYTES,
}


@dataclass(frozen=True, slots=True)
class Program:
    """What the kernel runs.

    Attributes
    ----------
    words
        ``int64``: the operations.
    depth
        Arrays and maps inside one another: how high the kernel's stack grows.
    slots
        The wanted fields that the schema has, in the order of the rows that they fill.
    rows
        Rows of ``int64`` per packet that the slots fill.
    where
        The path of the (first) field of the operation at a word, for reasons that a person reads.
    """

    words: NDArray[np.int64]
    depth: int
    slots: tuple[Slot, ...]
    rows: int
    where: dict[int, str]


class TooLong(Exception):
    """The program would pass `MAX_WORDS`."""


def compile_program(root: AvroType, wanted: Collection[str], *, max_words: int = MAX_WORDS) -> Program:
    """Make the program of a schema.

    Parameters
    ----------
    root
        The resolved type.
    wanted
        Dotted paths; those that the schema lacks, or that lie inside an array or a map, get no slot.
    max_words
        The size that is not to be passed.

    Raises
    ------
    TooLong
        The program would be longer.
    """
    slots = find_slots(root, wanted)
    compiler = _Compiler(slots, max_words)
    compiler.type(root, "")
    words = compiler.close()
    return Program(
        words=np.array(words, dtype=np.int64),
        depth=compiler.depth,
        slots=tuple(slots.values()),
        rows=sum(slot.rows for slot in slots.values()),
        where=compiler.where,
    )


@dataclass(slots=True)
class _Run:
    """Operations of one kind that wait to be written as one."""

    code: int
    yes: int = 0
    count: int = 0
    lead: int = 0
    steps: list[int] = field(default_factory=list)
    path: str = ""


class _Compiler:
    def __init__(self, slots: dict[str, Slot], max_words: int) -> None:
        self._slots = slots
        self._max = max_words
        self._words: list[int] = []
        self._run: _Run | None = None
        self._level = 0
        self.depth = 0
        self.where: dict[int, str] = {}

    def close(self) -> list[int]:
        self._operation(ops.END, "")
        return self._words

    def type(self, kind: AvroType, path: str, *, inside: bool = False) -> None:
        """Write the operations of a type; `inside` an array or a map no slot is filled."""
        slot = None if inside else self._slots.get(path)
        if isinstance(kind, Record):
            for name, inner in kind.fields:
                self.type(inner, f"{path}.{name}" if path else name, inside=inside)
        elif isinstance(kind, Union):
            self._union(kind, path, inside)
        elif isinstance(kind, Array | Map):
            self._blocks(kind, path)
        elif slot is not None and not is_null(kind):
            self._store(kind, slot)
        else:
            self._skip(kind, path)

    def _skip(self, kind: AvroType, path: str) -> None:
        if isinstance(kind, Enum):
            self._operation(ops.ENUM, path, len(kind.symbols))
        elif isinstance(kind, Fixed):
            self._width(kind.size, path)
        elif isinstance(kind, Primitive) and kind.name in _WIDTH:
            self._width(_WIDTH[kind.name], path)
        elif isinstance(kind, Primitive) and kind.name in _RUNS:
            self._more(_RUNS[kind.name], 0, path).count += 1

    def _width(self, width: int, path: str) -> None:
        if self._run is not None and self._run.code == ops.NULLABLE_WIDTHS:
            self._run.steps[-1] += width
            self._run.steps[-2] += width
        else:
            self._more(ops.WIDTH, 0, path).lead += width

    def _union(self, kind: Union, path: str, inside: bool) -> None:
        null_at = kind.null_at
        other = kind.branches[1 - null_at] if null_at >= 0 else None
        stored = path in self._slots and not inside
        if other is None or stored or not self._nullable(other, 2 * (1 - null_at), path):
            self._branches(kind, path, inside)

    def _nullable(self, other: AvroType, yes: int, path: str) -> bool:
        """Write null-or-that as one operation where there is one for it; `yes` is the branch byte of that."""
        if isinstance(other, Enum) and len(other.symbols) <= 64:
            self._operation(ops.NULLABLE_ENUM, path, len(other.symbols), yes)
            return True
        width = other.size if isinstance(other, Fixed) else -1
        if isinstance(other, Primitive):
            if other.name in _NULLABLE_RUNS:
                self._more(_NULLABLE_RUNS[other.name], yes, path).count += 1
                return True
            width = _WIDTH[other.name]
        if width < 0:
            return False
        lead = self._run.lead if self._run is not None and self._run.code == ops.WIDTH else 0
        if lead and self._run is not None:
            path, self._run = self._run.path, None
        run = self._more(ops.NULLABLE_WIDTHS, yes, path)
        run.lead += lead
        run.steps += [1 + width, 1]
        return True

    def _branches(self, kind: Union, path: str, inside: bool) -> None:
        at = self._operation(ops.UNION, path, len(kind.branches), table=[0] * len(kind.branches))
        jumps = []
        others = [i for i, branch in enumerate(kind.branches) if not is_null(branch)]
        for i in others:
            self._words[at + 4 + i] = self._here()
            self.type(kind.branches[i], path, inside=inside)
            if i != others[-1]:
                jumps.append(self._operation(ops.JUMP, path))
        after = self._here()
        for jump in jumps:
            self._words[jump + 1] = after
        for i, branch in enumerate(kind.branches):
            if is_null(branch):
                self._words[at + 4 + i] = after

    def _blocks(self, kind: Array | Map, path: str) -> None:
        item = kind.items if isinstance(kind, Array) else kind.values
        width = _fixed_width(item) if isinstance(kind, Array) else 0
        if width:
            self._operation(ops.WIDE_ITEMS, path, width)
            return
        self._level += 1
        self.depth = max(self.depth, self._level)
        begin = self._operation(ops.BLOCKS, path)
        body = self._here()
        if isinstance(kind, Map):
            self._more(ops.STRINGS, 0, path).count += 1
        self.type(item, path, inside=True)
        loop = self._operation(ops.ITEM, path, body)
        self._words[begin + 1] = loop
        self._level -= 1

    def _store(self, kind: AvroType, slot: Slot) -> None:
        if isinstance(kind, Primitive):
            self._operation(_STORE[kind.name], slot.path, slot.row, slot.index, slot.kind == "float")
        elif isinstance(kind, Fixed):
            self._operation(ops.STORE_FIXED, slot.path, slot.row, slot.index, kind.size)
        elif isinstance(kind, Enum):
            self._operation(ops.STORE_ENUM, slot.path, slot.row, slot.index, len(kind.symbols))

    def _more(self, code: int, yes: int, path: str) -> _Run:
        if self._run is None or self._run.code != code or self._run.yes != yes:
            self._flush()
            self._run = _Run(code, yes, path=path)
        return self._run

    def _flush(self) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        if run.code == ops.WIDTH:
            self._write(ops.WIDTH, run.path, [run.lead, 0, 0])
        elif run.code == ops.NULLABLE_WIDTHS:
            most = run.lead + sum(run.steps[::2])
            self._write(run.code, run.path, [len(run.steps), run.yes, most, run.lead, *run.steps])
        else:
            self._write(run.code, run.path, [run.count, run.yes, 0])

    def _operation(self, code: int, path: str, a: int = 0, b: int = 0, c: int = 0, *, table: Sequence[int] = ()) -> int:
        self._flush()
        return self._write(code, path, [a, b, c, *table])

    def _write(self, code: int, path: str, operands: Sequence[int]) -> int:
        at = len(self._words)
        self._words += [code, *operands]
        self.where[at] = path
        if len(self._words) > self._max:
            raise TooLong
        return at

    def _here(self) -> int:
        self._flush()
        return len(self._words)


def _fixed_width(kind: AvroType) -> int:
    """Bytes of a type that is always that long and of which any bytes will do; 0 for any other."""
    if isinstance(kind, Fixed):
        return kind.size
    if isinstance(kind, Primitive):
        return _WIDTH.get(kind.name, 0)
    if isinstance(kind, Record):
        widths = [_fixed_width(inner) if not is_null(inner) else 0 for _, inner in kind.fields]
        known = all(width or is_null(inner) for width, (_, inner) in zip(widths, kind.fields, strict=True))
        return sum(widths) if known else 0
    return 0
