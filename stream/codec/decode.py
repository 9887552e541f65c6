"""The slow way to read a packet: plain Python that keeps every rule of the kernel, then fastavro for the values.

For schemas whose program would be too long, for single records that a person or another program wants whole, and for
tests to hold the kernel against: it shares no code with the kernel.
"""

from __future__ import annotations

import io
from typing import Any

import fastavro
import numpy as np
from numpy.typing import NDArray

from stream.codec import ops
from stream.codec.avro_type import Array, AvroType, Enum, Fixed, Map, Primitive, Record, Union, is_null
from stream.codec.schema import WriterSchema
from stream.codec.slots import Outcome, Slot
from stream.errors import Poison

Found = dict[str, tuple[AvroType, int, int]]
"""By path: the type of the value that is there, and where it begins and ends."""


class Broken(Exception):
    """The packet is refused at a byte, for one of the reasons in `stream.codec.ops`."""

    def __init__(self, status: int, at: int) -> None:
        super().__init__(status, at)
        self.status = status
        self.at = at


class StrictReader:
    """Walks the bytes of one packet type by type.

    Parameters
    ----------
    data
        The bytes.
    end
        Where the packet ends.
    wanted
        Paths whose places are to be noted in `found`.
    """

    def __init__(self, data: bytes | memoryview, end: int, wanted: frozenset[str] = frozenset()) -> None:
        self._data = data
        self._end = end
        self._wanted = wanted
        self.found: Found = {}

    def walk(self, kind: AvroType, p: int, path: str | None = "") -> int:
        """Where the value at `p` ends; a path of None is inside an array or a map."""
        start = p
        if isinstance(kind, Record):
            for name, inner in kind.fields:
                p = self.walk(inner, p, None if path is None else f"{path}.{name}" if path else name)
            return p
        if isinstance(kind, Union):
            return self._union(kind, p, path)
        if isinstance(kind, Array | Map):
            return self._blocks(kind, p)
        p = self._leaf(kind, p)
        if path is not None and path in self._wanted and not is_null(kind):
            self.found[path] = (kind, start, p)
        return p

    def _leaf(self, kind: Primitive | Fixed | Enum, p: int) -> int:
        if isinstance(kind, Fixed):
            return self._skip(p, kind.size)
        if isinstance(kind, Enum):
            index, after = self._int(p)
            if not 0 <= index < len(kind.symbols):
                raise Broken(ops.BAD_ENUM, p)
            return after
        match kind.name:
            case "null":
                return p
            case "boolean":
                if self._byte(p) > 1:
                    raise Broken(ops.BAD_BOOLEAN, p)
                return p + 1
            case "int":
                return self._int(p)[1]
            case "long":
                return self._long(p)[1]
            case "float" | "double":
                return self._skip(p, 4 if kind.name == "float" else 8)
            case "bytes":
                return self._length(p)[1]
            case "string":
                return self._string(p)

    def _byte(self, p: int) -> int:
        if p >= self._end:
            raise Broken(ops.TRUNCATED, p)
        return self._data[p]

    def _skip(self, p: int, size: int) -> int:
        if size > self._end - p:
            raise Broken(ops.TRUNCATED, p)
        return p + size

    def _long(self, p: int) -> tuple[int, int]:
        value = 0
        for i in range(10):
            byte = self._byte(p + i)
            value |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                if value >> 64:
                    break
                return (value >> 1) ^ -(value & 1), p + i + 1
        raise Broken(ops.VARINT, p)

    def _int(self, p: int) -> tuple[int, int]:
        value, after = self._long(p)
        if after - p > 5:
            raise Broken(ops.VARINT, p)
        if not -(2**31) <= value < 2**31:
            raise Broken(ops.INT_RANGE, p)
        return value, after

    def _length(self, p: int) -> tuple[int, int]:
        """Where what has a length before it begins and ends."""
        length, start = self._long(p)
        if length < 0:
            raise Broken(ops.BAD_LENGTH, p)
        return start, self._skip(start, length)

    def _string(self, p: int) -> int:
        start, stop = self._length(p)
        try:
            str(self._data[start:stop], "utf-8")
        except UnicodeDecodeError as error:
            raise Broken(ops.BAD_UTF8, start + error.start) from error
        return stop

    def _union(self, kind: Union, p: int, path: str | None) -> int:
        if len(kind.branches) <= 64 and self._byte(p) >= 0x80:
            raise Broken(ops.BAD_UNION, p)
        index, after = self._long(p)
        if not 0 <= index < len(kind.branches) or after - p > (1 if index < 64 else 2):
            raise Broken(ops.BAD_UNION, p)
        return self.walk(kind.branches[index], after, path)

    def _blocks(self, kind: Array | Map, p: int) -> int:
        while True:
            begin, stop = p, -1
            count, p = self._long(p)
            if count == 0:
                return p
            if count < 0:
                size, p = self._long(p)
                count, stop = -count, p + size
                if not p <= stop <= self._end:
                    raise Broken(ops.BAD_BLOCK, begin)
            if count >= 2**63:
                raise Broken(ops.BAD_BLOCK, begin)
            if count > self._end - p:
                raise Broken(ops.TRUNCATED, begin)
            for _ in range(count):
                if isinstance(kind, Map):
                    p = self._string(p)
                p = self.walk(kind.values if isinstance(kind, Map) else kind.items, p, None)
            if stop >= 0 and p != stop:
                raise Broken(ops.BAD_BLOCK, p)


def check_datum(schema: WriterSchema, datum: bytes) -> None:
    """Hold one datum against every rule of the packet check.

    Raises
    ------
    Poison
        With the code of the rule, e.g. ``truncated``.
    """
    try:
        end = StrictReader(datum, len(datum)).walk(schema.root, 0)
        if end != len(datum):
            raise Broken(ops.TRAILING, end)
    except Broken as broken:
        code, words = ops.REFUSALS[broken.status]
        raise Poison(code, f"{words}, at byte {broken.at} of {len(datum)}") from broken


def decode_datum(schema: WriterSchema, datum: bytes) -> Any:
    """Decode one datum whole, by fastavro, with the stricter rules of the packet check.

    Logical types are not applied: a timestamp is the number that the packet has.

    Raises
    ------
    Poison
        As `check_datum`.
    """
    check_datum(schema, datum)
    return fastavro.schemaless_reader(io.BytesIO(datum), schema.parsed, None)


def run_slowly(
    root: AvroType,
    slots: tuple[Slot, ...],
    buffer: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    *,
    chain: bool = False,
) -> Outcome:
    """What `stream.codec.kernel.run_program` does, for schemas whose program would be too long for it."""
    outcome = Outcome.empty(slots, len(starts))
    data = buffer.data
    wanted = frozenset(slot.path for slot in slots)
    for i in range(len(starts)):
        end = int(ends[i])
        reader = StrictReader(data, end, wanted)
        try:
            p = reader.walk(root, int(starts[i]))
            if chain and i + 1 < len(starts):
                starts[i + 1] = p
            elif p != end:
                raise Broken(ops.TRAILING, p)
        except Broken as broken:
            outcome.status[i], outcome.at[i] = broken.status, broken.at
            if chain:
                break
        else:
            outcome.at[i] = p
            for slot in slots:
                if slot.path in reader.found:
                    _fill(slot, reader.found[slot.path], data, outcome, i)
    return outcome


def _fill(slot: Slot, found: tuple[AvroType, int, int], data: memoryview, outcome: Outcome, i: int) -> None:
    kind, start, end = found
    outcome.null[slot.index, i] = False
    if slot.kind == "text":
        if isinstance(kind, Primitive):
            start = StrictReader(data, end)._length(start)[0]
        outcome.values[slot.row, i], outcome.values[slot.row + 1, i] = start, end
        return
    name = kind.name if isinstance(kind, Primitive) else "int"
    value: Any = fastavro.schemaless_reader(io.BytesIO(data[start:end]), name, None)
    row = outcome.values[slot.row]
    if slot.kind == "float":
        row.view(np.float64)[i] = value
    else:
        row[i] = value
