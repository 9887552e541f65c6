"""The rules of the packet check, one by one, with what fastavro makes of the same bytes."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import fastavro
import numpy as np
import pytest

from stream.codec import ops
from stream.codec.decode import decode_datum
from stream.codec.plan import Plan
from stream.codec.schema import WriterSchema
from stream.errors import Poison

ENUM = {"type": "enum", "name": "E", "symbols": ["A", "B", "C"]}
INTS = {"type": "array", "items": "int"}
PAIRS = {"type": "array", "items": {"type": "record", "name": "P", "fields": [{"name": "x", "type": "long"}]}}
LONG_MIN = b"\xff" * 9 + b"\x01"


def code_of(kind: Any, packet: bytes, path: str = "") -> str:
    """What kernel, kernel with a slot, and the strict reader say, which is to be the same: a code, or "" for taken."""
    root = {"type": "record", "name": "R", "fields": [{"name": "f", "type": kind}]}
    schema = WriterSchema.of(json.dumps(root))
    said = []
    for wanted in ((), ("f",)):
        for words in (10_000, 0):
            plan = Plan.of(schema, frozenset(wanted), max_words=words)
            assert (plan.program is None) == (words == 0)
            buffer = np.frombuffer(packet + b"\x00" * 16, np.uint8)
            status = plan.run(buffer, np.array([0]), np.array([len(packet)])).status[0]
            said.append(ops.REFUSALS[int(status)][0] if status else "")
    try:
        decode_datum(schema, packet)
        said.append("")
    except Poison as refused:
        said.append(refused.code)
    assert len(set(said)) == 1, said
    return said[0]


def fastavro_reads(kind: Any, packet: bytes) -> Any:
    return fastavro.schemaless_reader(io.BytesIO(packet), fastavro.parse_schema(kind), None)


STRICTER = [
    pytest.param("boolean", b"\x02", True, "bad_boolean", id="boolean of 2"),
    pytest.param(["null", "boolean"], b"\x02\xff", True, "bad_boolean", id="nullable boolean of 255"),
    pytest.param("int", b"\x80\x80\x80\x80\x20", 1 << 32, "int_range", id="int of 33 bits"),
    pytest.param("int", b"\xff\xff\xff\xff\xff\x7f", -(1 << 41), "varint", id="int of 40 bits"),
    pytest.param("int", b"\x80\x80\x80\x80\x80\x00", 0, "varint", id="int in six bytes"),
    pytest.param(["null", "int"], b"\x02\x80\x80\x80\x80\x20", 1 << 32, "int_range", id="nullable int of 33 bits"),
    pytest.param("long", b"\xff" * 9 + b"\x02", -(1 << 62), "varint", id="long of 65 bits"),
    pytest.param("long", b"\x80" * 10 + b"\x01", 32, "varint", id="long in eleven bytes"),
    pytest.param(ENUM, b"\x01", "C", "bad_enum", id="enum of -1"),
    pytest.param(["null", ENUM], b"\x02\x03", "B", "bad_enum", id="nullable enum of -2"),
    pytest.param(["null", "int"], b"\x01\x02", 1, "bad_union", id="union of -1"),
    pytest.param(["null", "int", "string"], b"\x03\x02", 1, "bad_union", id="union of -2"),
    pytest.param(["null", "int"], b"\x82\x00\x02", 1, "bad_union", id="union index in two bytes"),
    pytest.param(["null", "int", "string"], b"\x82\x00\x02", 1, "bad_union", id="index of three in two bytes"),
    pytest.param(INTS, b"\x01\x04\x02\x00", [1], "bad_block", id="block that is shorter than it says"),
    pytest.param(INTS, b"\x03\x02\x02\x04\x00", [1, 2], "bad_block", id="block that is longer than it says"),
    pytest.param(INTS, b"\x01\x01\x02\x00", [1], "bad_block", id="block of negative size"),
    pytest.param(PAIRS, b"\x01\xfe\x7f\x02\x00", [{"x": 1}], "bad_block", id="block that ends beyond the packet"),
    pytest.param("int", b"\x02\x00", 1, "trailing_bytes", id="a byte left over"),
]


@pytest.mark.parametrize(("kind", "packet", "value", "code"), STRICTER)
def test_a_stricter_rule_refuses_what_fastavro_takes(kind: Any, packet: bytes, value: Any, code: str) -> None:
    assert fastavro_reads(kind, packet) == value
    assert code_of(kind, packet) == code


REFUSED = [
    pytest.param("string", b"\x04\xc3", "truncated", id="string cut short"),
    pytest.param("string", b"\x01", "bad_length", id="string of negative length"),
    pytest.param("bytes", LONG_MIN, "bad_length", id="bytes of the most negative length"),
    pytest.param("bytes", b"\xfe" + b"\xff" * 8 + b"\x01", "truncated", id="bytes of the greatest length"),
    pytest.param("double", b"\x00" * 7, "truncated", id="double cut short"),
    pytest.param({"type": "fixed", "name": "F", "size": 2**31 - 1}, b"\x00" * 7, "truncated", id="fixed cut short"),
    pytest.param("long", b"\x80" * 9, "truncated", id="varint cut short"),
    pytest.param("boolean", b"", "truncated", id="nothing"),
    pytest.param(["null", "double"], b"", "truncated", id="no branch"),
    pytest.param(["null", "double"], b"\x04", "bad_union", id="branch beyond"),
    pytest.param(["null", "int", "string"], b"\x06", "bad_union", id="branch beyond three"),
    pytest.param(ENUM, b"\x06", "bad_enum", id="symbol beyond"),
    pytest.param(INTS, LONG_MIN + b"\x00", "bad_block", id="most negative count"),
    pytest.param(INTS, b"\xfe" + b"\xff" * 8 + b"\x01", "truncated", id="greatest count"),
    pytest.param({"type": "array", "items": "double"}, b"\x04" + b"\x00" * 15, "truncated", id="too few wide items"),
    pytest.param(INTS, b"\x02\x02", "truncated", id="no last block"),
    pytest.param({"type": "map", "values": "int"}, b"\x02\x02\xff\x02\x00", "bad_utf8", id="key that is not UTF-8"),
]


@pytest.mark.parametrize(("kind", "packet", "code"), REFUSED)
def test_what_both_refuse_has_its_code(kind: Any, packet: bytes, code: str) -> None:
    with pytest.raises((EOFError, IndexError, ValueError, OverflowError)):
        fastavro_reads(kind, packet)
    assert code_of(kind, packet) == code


TAKEN = [
    pytest.param("int", b"\x80\x80\x80\x80\x00", id="int in five bytes"),
    pytest.param("int", b"\xff\xff\xff\xff\x0f", id="least int"),
    pytest.param("int", b"\xfe\xff\xff\xff\x0f", id="greatest int"),
    pytest.param("long", LONG_MIN, id="least long"),
    pytest.param("long", b"\xfe" + b"\xff" * 8 + b"\x01", id="greatest long"),
    pytest.param("long", b"\x80" * 9 + b"\x00", id="long in ten bytes"),
    pytest.param("long", b"\x80" * 8 + b"\x01", id="long in nine bytes"),
    pytest.param("string", b"\x80\x00", id="length in two bytes"),
    pytest.param(ENUM, b"\x84\x00", id="enum in two bytes"),
    pytest.param(INTS, b"\x03\x04\x02\x04\x02\x06\x00", id="blocks with and without a size"),
    pytest.param(INTS, b"\x80\x00", id="empty array in two bytes"),
    pytest.param({"type": "fixed", "name": "F", "size": 0}, b"", id="fixed of no bytes"),
]


@pytest.mark.parametrize(("kind", "packet"), TAKEN)
def test_what_is_unusual_and_right_is_taken(kind: Any, packet: bytes) -> None:
    fastavro_reads(kind, packet)
    assert code_of(kind, packet) == ""


def sequences() -> list[bytes]:
    """Byte sequences around every edge of UTF-8."""
    leads = [b"", b"\x7f", b"\x80", b"\xbf", b"\xc0", b"\xc1", b"\xc2", b"\xdf", b"\xe0", b"\xe1", b"\xec", b"\xed"]
    leads += [b"\xee", b"\xef", b"\xf0", b"\xf1", b"\xf3", b"\xf4", b"\xf5", b"\xff"]
    edges = [b"\x00", b"\x7f", b"\x80", b"\x8f", b"\x90", b"\x9f", b"\xa0", b"\xbf", b"\xc0"]
    tails = [b"", *edges, *(a + b for a in edges for b in edges), *(a + b"\x80" + b for a in edges for b in edges)]
    return [lead + tail for lead in leads for tail in tails]


def test_strings_are_utf8_exactly_where_python_says_so() -> None:
    schema = WriterSchema.of('"string"')
    plan = Plan.of(schema, frozenset())
    found = sequences()
    for pad in (0, 5, 8, 13):
        packets = [struct.pack("B", 2 * (len(text) + pad)) + b"x" * pad + text for text in found]
        ends = np.cumsum([len(packet) for packet in packets])
        starts = ends - [len(packet) for packet in packets]
        status = plan.run(np.frombuffer(b"".join(packets), np.uint8), starts, ends).status
        right = [text.decode("utf-8", "replace").encode() == text for text in found]
        assert (status == 0).tolist() == right
        assert set(status[status != 0]) == {ops.BAD_UTF8}


@pytest.mark.parametrize("count", range(1, 10))
@pytest.mark.parametrize("kind", [["null", "boolean"], ["boolean", "null"], ["null", "float"], ["long", "null"]])
def test_a_run_of_nullable_fields_is_held_byte_by_byte(count: int, kind: list[str]) -> None:
    fields = [{"name": f"f{i}", "type": kind} for i in range(count)]
    fields += [{"name": "one", "type": "int"}, {"name": "none", "type": "int"}]
    schema = WriterSchema.of(json.dumps({"type": "record", "name": "R", "fields": fields}))
    value = {"boolean": True, "float": 0.0, "long": 3}[kind[0] if kind[0] != "null" else kind[1]]
    for nulls in {0, 1, 2**count - 1, 2 ** (count - 1)}:
        record = {f"f{i}": None if nulls >> i & 1 else value for i in range(count)}
        record |= {"one": 1, "none": 0}
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema.parsed, record)
        good = out.getvalue()
        changed = [good[:i] + bytes([byte]) + good[i + 1 :] for i in range(len(good)) for byte in (0, 1, 2, 3, 4, 0x80)]
        packets = [good, *changed, *(good[:i] for i in range(len(good)))]
        ends = np.cumsum([len(packet) for packet in packets])
        starts = ends - [len(packet) for packet in packets]
        buffer = np.frombuffer(b"".join(packets), np.uint8)
        fast = Plan.of(schema, frozenset()).run(buffer, starts, ends).status
        slow = Plan.of(schema, frozenset(), 0).run(buffer, starts, ends).status
        np.testing.assert_array_equal(fast, slow)
        assert fast[0] == 0
        assert fast[1:].any()


def test_a_union_of_more_than_64_branches_takes_two_byte_indexes() -> None:
    branches = [{"type": "fixed", "name": f"F{i}", "size": 1} for i in range(70)]
    assert code_of(branches, b"\x80\x01\xff") == ""
    assert code_of(branches, b"\x7e\xff") == ""
    assert code_of(branches, b"\x8c\x01\xff") == "bad_union"
    assert code_of(branches, b"\x82\x00\xff") == "bad_union"
    assert code_of(branches, b"\x80\x81\x00\xff") == "bad_union"


def test_a_huge_count_of_items_ends_at_once_and_takes_no_memory() -> None:
    kind = {"type": "array", "items": {"type": "array", "items": "boolean"}}
    packet = (b"\xfe\xff\xff\xff\x0f" + b"\x00" * 40) * 1000
    assert code_of(kind, packet) == "truncated"
