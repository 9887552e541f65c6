"""What the gate refuses before anything is compiled, and what a schema that passes is."""

from __future__ import annotations

import hashlib
import io
import json
import time
from typing import Any

import fastavro
import pytest
from fastavro.schema import to_parsing_canonical_form

from stream.codec.schema import WriterSchema
from stream.errors import Poison


def record(kind: Any, name: str = "R") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": "f", "type": kind}]}


def nested(depth: int) -> Any:
    kind: Any = "int"
    for i in range(depth):
        kind = record(kind, f"R{i}")
    return kind


def doubling(levels: int, leaf: Any) -> dict[str, Any]:
    """A record that stands twice in a record that stands twice …"""
    kind: Any = {"type": "record", "name": "L", "fields": leaf}
    for i in range(levels):
        name = kind["name"]
        kind = {
            "type": "record",
            "name": f"R{i}",
            "fields": [{"name": "a", "type": kind}, {"name": "b", "type": name}],
        }
    return kind


NULLS = [{"name": f"n{i}", "type": "null"} for i in range(70)]

REFUSED = {
    "a record in itself": (record(["null", "R"]), "contains itself"),
    "an array of itself": (record({"type": "array", "items": "R"}), "contains itself"),
    "itself by a longer way": (record(record({"type": "map", "values": "R"}, "S")), "contains itself"),
    "an array of null": ({"type": "array", "items": "null"}, "no bytes"),
    "an array of records of nulls": ({"type": "array", "items": record("null")}, "no bytes"),
    "an array of empty records": (
        {"type": "array", "items": {"type": "record", "name": "E", "fields": []}},
        "no bytes",
    ),
    "an array of fixed of no bytes": (
        {"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}},
        "no bytes",
    ),
    "a map of null": ({"type": "map", "values": "null"}, "no bytes"),
    "items of many nulls": (
        {"type": "array", "items": {"type": "record", "name": "I", "fields": [{"name": "x", "type": "int"}, *NULLS]}},
        "64 types that take no bytes",
    ),
    "a branch of many nulls as an item": (
        {"type": "array", "items": ["null", {"type": "record", "name": "I", "fields": NULLS}]},
        "64 types that take no bytes",
    ),
    "33 records in one another": (nested(33), "nested more than 32"),
    "too many fields": (
        {"type": "record", "name": "R", "fields": [{"name": f"f{i}", "type": "int"} for i in range(4097)]},
        "more than 4096",
    ),
    "too many branches": ([{"type": "fixed", "name": f"F{i}", "size": 1} for i in range(4097)], "more than 4096"),
    "fields that double": (doubling(20, [{"name": "x", "type": "int"}]), "written out"),
    "empty records that double": (doubling(30, []), "written out"),
    "a fixed that is too long": ({"type": "fixed", "name": "F", "size": 2**31}, "size"),
    "a fixed of negative size": ({"type": "fixed", "name": "F", "size": -1}, "size"),
    "a fixed of a fraction": ({"type": "fixed", "name": "F", "size": 1.5}, "size"),
    "a fixed of true": ({"type": "fixed", "name": "F", "size": True}, "size"),
    "an unknown type": (record("lnog"), "no such type"),
    "a type of a type": ({"type": {"type": "int"}}, "no such type"),
    "an empty union": (record([]), "empty"),
    "a union in a union": (record(["null", ["int"]]), "directly in a union"),
    "a name that is none": (record("int", "a b"), "not a name"),
    "no name": ({"type": "record", "fields": []}, "no name"),
    "one name twice": (record(record("int", "R")), "defined twice"),
    "one field twice": (
        {"type": "record", "name": "R", "fields": [{"name": "f", "type": "int"}, {"name": "f", "type": "int"}]},
        "two fields of one name",
    ),
    "a field of no type": ({"type": "record", "name": "R", "fields": [{"name": "f"}]}, "no type"),
    "fields that are no list": ({"type": "record", "name": "R", "fields": {}}, "not a list"),
    "symbols that are no names": ({"type": "enum", "name": "E", "symbols": ["a", "1"]}, "not a name"),
    "no symbols": ({"type": "enum", "name": "E"}, "no list"),
    "an array of nothing": ({"type": "array"}, "without items"),
    "a number": (7, "int"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_gate_refuses(case: str) -> None:
    schema, reason = REFUSED[case]
    with pytest.raises(Poison, match=reason) as refused:
        WriterSchema.of(json.dumps(schema))
    assert refused.value.code == "schema_refused"


HOSTILE = {
    "brackets": "[" * 1_000_000,
    "objects": '{"type":' * 100_000 + '"int"',
    "quotes": '"' * 2_000_001,
    "escapes": '"' + "\\" * 1_000_001,
    "an open string": '{"a":"' + '\\"' * 1_000_000,
    "a long string": '"' + "a" * (4 * 1024 * 1024) + '"',
    "a long number": "9" * 100_000,
    "a name that no file can hold": '"\ud800"',
    "a huge default": '{"type":"record","name":"R","fields":[{"name":"f","type":"double","default":1'
    + "0" * 400
    + "}]}",
    "nothing": "",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_text_is_judged_at_once_without_deep_recursion(case: str) -> None:
    begun = time.perf_counter()
    with pytest.raises(Poison) as refused:
        WriterSchema.of(HOSTILE[case])
    assert refused.value.code == "schema_refused"
    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize("depth", [1, 32])
def test_what_is_as_deep_as_allowed_passes(depth: int) -> None:
    WriterSchema.of(json.dumps(nested(depth)))


def test_nulls_beside_other_branches_of_items_are_not_held_against_them() -> None:
    fields = [{"name": f"f{i}", "type": ["null", "int"]} for i in range(200)]
    WriterSchema.of(json.dumps({"type": "array", "items": {"type": "record", "name": "I", "fields": fields}}))


def test_what_fastavro_is_handed_has_no_marks_of_its_own_and_no_logical_types() -> None:
    marked = {**record({"type": "long", "logicalType": "timestamp-micros"}), "__fastavro_parsed": True}
    parsed = WriterSchema.of(json.dumps({**marked, "__named_schemas": {"R": "int"}})).parsed
    assert parsed["fields"] == [{"name": "f", "type": "long"}]


def test_the_fingerprint_is_that_of_the_canonical_form_and_leaves_out_what_does_not_matter() -> None:
    plain = {"type": "record", "name": "a.R", "fields": [{"name": "f", "type": {"type": "long"}}]}
    dressed = {
        "doc": "said",
        "namespace": "a",
        "fields": [
            {"default": 3, "type": {"type": "long", "logicalType": "timestamp-micros"}, "name": "f", "doc": "x"}
        ],
        "name": "R",
        "type": "record",
        "confluent:version": 7,
    }
    one, other = WriterSchema.of(json.dumps(plain), 1), WriterSchema.of(json.dumps(dressed, indent=3), 2)
    assert one.fingerprint == other.fingerprint
    assert one.fingerprint == hashlib.sha256(to_parsing_canonical_form(plain).encode()).hexdigest()
    assert other.text == json.dumps(dressed, indent=3)
    assert WriterSchema.of(json.dumps(record("int"))).fingerprint != one.fingerprint


def test_the_rabin_fingerprint_is_that_of_the_avro_specification() -> None:
    assert WriterSchema.of('"int"').rabin() == (0x7275D51A3F395C8F).to_bytes(8, "little")


LONG = {"type": "long", "logicalType": "timestamp-micros"}
UNFIT = {
    "a default of another type": {"name": "f", "type": LONG, "default": "x"},
    "a default of no branch": {"name": "f", "type": ["null", LONG], "default": "x"},
    "a default further in": {"name": "f", "type": record({"type": "array", "items": record("int", "S")}), "default": 1},
    "aliases that are no list": {"name": "f", "type": LONG, "aliases": 7},
    "a decimal of no precision": {"name": "f", "type": {"type": "bytes", "logicalType": "decimal", "precision": -1}},
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_no_reader_needs_is_taken_and_a_file_with_the_schema_can_be_read_all_the_same(case: str) -> None:
    fields = [{"name": "first", "type": "int", "default": 3, "doc": "said"}, UNFIT[case]]
    came = {"type": "record", "name": "a.Top", "fields": fields}
    schema = WriterSchema.of(json.dumps(came), 5)
    assert schema.fingerprint == WriterSchema.of(schema.text).fingerprint
    assert WriterSchema.of(schema.text, 5) == schema
    assert ("said" in schema.text) == ("default" in case)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, {"type": "map", "values": "bytes"}, {"avro.schema": schema.text.encode()})
    assert list(fastavro.reader(io.BytesIO(b"Obj\x01" + out.getvalue() + b"s" * 16))) == []


def test_a_namespace_of_null_is_none_as_for_fastavro() -> None:
    inner = {"type": "record", "name": "S", "namespace": None, "fields": [{"name": "x", "type": "int"}]}
    schema = {"type": "record", "name": "a.R", "fields": [{"name": "f", "type": inner}]}
    expected = hashlib.sha256(to_parsing_canonical_form(schema).encode()).hexdigest()
    assert WriterSchema.of(json.dumps(schema)).fingerprint == expected
    with pytest.raises(Poison, match="no name"):
        WriterSchema.of(json.dumps({**inner, "namespace": 0}))


def test_what_is_said_of_a_schema_is_bounded_whatever_its_names_are() -> None:
    name = "x" * 1_000_000
    with pytest.raises(Poison, match="x…") as refused:
        WriterSchema.of(json.dumps(record(["null", name], name)))
    assert len(str(refused.value)) < 600
