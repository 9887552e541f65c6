"""The kernel against fastavro and against the strict reader, on made-up schemas of every type."""

from __future__ import annotations

import io
import math
from typing import Any

import avro_made
import fastavro
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stream.codec import ops
from stream.codec.avro_type import AvroType, Record, Union
from stream.codec.decode import run_slowly
from stream.codec.plan import Plan
from stream.codec.schema import WriterSchema
from stream.codec.slots import Outcome, Slot
from stream.errors import Poison

STRICTER = {
    ops.TRAILING,
    ops.BAD_BOOLEAN,
    ops.BAD_UNION,
    ops.BAD_ENUM,
    ops.VARINT,
    ops.INT_RANGE,
    ops.BAD_BLOCK,
}
"""The rules that fastavro does not have; each has a test in tests/unit/test_codec_strict.py."""


@st.composite
def packets(draw: st.DrawFn, depth: int = 3) -> tuple[WriterSchema, Any, bytes]:
    """A schema that passes the gate, data, and their encoding."""
    text = draw(avro_made.schemas(depth))
    try:
        schema = WriterSchema.of(avro_made.text_of(text))
    except Poison:
        assume(False)
    data = draw(avro_made.data_of(text))
    encoded = avro_made.encode(text, data, lambda most: draw(st.integers(0, most)))
    return schema, avro_made.plain(text, data), encoded


def run(plan: Plan, packet: bytes, before: bytes = b"", after: bytes = b"") -> Outcome:
    """Run a plan over one packet with other bytes around it."""
    buffer = np.frombuffer(before + packet + after, np.uint8)
    start = len(before)
    return plan.run(buffer, np.array([start]), np.array([start + len(packet)]))


def plan_of(schema: WriterSchema, **options: int) -> Plan:
    return Plan.of(schema, frozenset(leaves(schema.root)), **options)


def leaves(kind: AvroType, path: str = "") -> list[str]:
    """Dotted paths of everything, arrays and maps themselves too."""
    if isinstance(kind, Union):
        return [leaf for branch in kind.branches for leaf in leaves(branch, path)]
    if isinstance(kind, Record):
        return [leaf for name, inner in kind.fields for leaf in leaves(inner, f"{path}.{name}" if path else name)]
    return [path]


def value_of(slot: Slot, outcome: Outcome, buffer: bytes, i: int = 0) -> Any:
    """What a slot holds, as Python has it; text as bytes."""
    if outcome.null[slot.index, i]:
        assert not outcome.values[slot.row : slot.row + slot.rows, i].any()
        return None
    row = outcome.values[slot.row]
    if slot.kind == "float":
        return float(row.view(np.float64)[i])
    return buffer[row[i] : outcome.values[slot.row + 1, i]] if slot.kind == "text" else int(row[i])


def expected(slot: Slot, record: Any) -> Any:
    """The same from fastavro's record."""
    for part in slot.path.split("."):
        record = record.get(part) if isinstance(record, dict) else None
    if isinstance(record, str) and slot.symbols:
        return slot.symbols.index(record)
    if isinstance(record, str):
        return record.encode()
    return float(record) if record is not None and slot.kind == "float" else record


def same(left: Any, right: Any) -> bool:
    """Equal, NaN equal to itself."""
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def by_fastavro(schema: WriterSchema, packet: bytes) -> tuple[Any, bool]:
    """fastavro's record and whether it read to the end."""
    source = io.BytesIO(packet)
    record = fastavro.schemaless_reader(source, schema.parsed, None)
    return record, source.tell() == len(packet)


def held_equal(schema: WriterSchema, packet: bytes) -> int:
    """Hold the kernel against the strict reader and fastavro on one packet; its status."""
    plan = plan_of(schema)
    assert plan.program is not None
    fast = run(plan, packet, b"\xff" * 3, b"\x02" * 9)
    buffer = np.frombuffer(b"\xff" * 3 + packet + b"\x02" * 9, np.uint8)
    slow = run_slowly(schema.root, plan.slots, buffer, np.array([3]), np.array([3 + len(packet)]))
    assert fast.status[0] == slow.status[0]
    if fast.status[0] == 0:
        np.testing.assert_array_equal(fast.values, slow.values)
        np.testing.assert_array_equal(fast.null, slow.null)
        record, whole = by_fastavro(schema, packet)
        assert whole
        for slot in plan.slots:
            assert same(value_of(slot, fast, buffer.tobytes()), expected(slot, record)), slot
    else:
        try:
            _, whole = by_fastavro(schema, packet)
        except (EOFError, IndexError, ValueError, OverflowError, MemoryError):
            whole = False
        assert not whole or int(fast.status[0]) in STRICTER
    return int(fast.status[0])


@given(packets())
def test_what_was_encoded_is_taken_with_the_values_that_fastavro_gives(made: tuple[WriterSchema, Any, bytes]) -> None:
    schema, data, packet = made
    assert held_equal(schema, packet) == 0
    assert same(by_fastavro(schema, packet)[0], data)


@given(packets(), st.data())
def test_what_is_cut_short_is_refused(made: tuple[WriterSchema, Any, bytes], data: st.DataObject) -> None:
    schema, _, packet = made
    assume(packet)
    cut = data.draw(st.integers(0, len(packet) - 1))
    assert held_equal(schema, packet[:cut]) in (ops.TRUNCATED, ops.BAD_BLOCK)


@given(packets(), st.data())
def test_changed_bytes_are_taken_or_refused_as_the_others_do(
    made: tuple[WriterSchema, Any, bytes], data: st.DataObject
) -> None:
    schema, _, packet = made
    assume(packet)
    changed = bytearray(packet)
    for _ in range(data.draw(st.integers(1, 4))):
        byte = data.draw(st.sampled_from([0, 1, 2, 3, 4, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
        changed[data.draw(st.integers(0, len(changed) - 1))] = byte
    held_equal(schema, bytes(changed))


@given(packets(), st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused_as_the_others_do(made: tuple[WriterSchema, Any, bytes], packet: bytes) -> None:
    held_equal(made[0], packet)


@given(packets(), st.data())
def test_every_record_of_a_chain_is_found(made: tuple[WriterSchema, Any, bytes], data: st.DataObject) -> None:
    schema, _, packet = made
    assume(packet)
    count = data.draw(st.integers(1, 4))
    plan = plan_of(schema)
    starts = np.zeros(count, np.int64)
    outcome = plan.run(np.frombuffer(packet * count, np.uint8), starts, np.full(count, len(packet) * count), chain=True)
    assert not outcome.status.any()
    assert starts.tolist() == [i * len(packet) for i in range(count)]
    assert outcome.at.tolist() == [(i + 1) * len(packet) for i in range(count)]


@given(packets())
def test_a_program_that_would_be_too_long_gives_the_same_by_fastavro(made: tuple[WriterSchema, Any, bytes]) -> None:
    schema, _, packet = made
    plan, slow = plan_of(schema), plan_of(schema, max_words=1)
    assert slow.program is None
    fast_outcome, slow_outcome = run(plan, packet), run(slow, packet)
    assert slow.slots == plan.slots
    np.testing.assert_array_equal(fast_outcome.values, slow_outcome.values)
    np.testing.assert_array_equal(fast_outcome.null, slow_outcome.null)


@pytest.mark.long
@settings(max_examples=1500)
@given(packets(depth=6), st.data())
def test_deep_schemas_are_read_alike_whole_and_changed(
    made: tuple[WriterSchema, Any, bytes], data: st.DataObject
) -> None:
    schema, _, packet = made
    assert held_equal(schema, packet) == 0
    assume(packet)
    changed = bytearray(packet)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    held_equal(schema, bytes(changed))
