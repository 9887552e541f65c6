"""What verify derives from a packet is what the packet check reads, whatever shape the writer schema has."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import Any, cast

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from xxhash import xxh3_128_digest

from stream.alert import RecordId
from stream.alertdb.header import RAW_SCHEMA
from stream.audit.blocks import DataFile, Inflated
from stream.audit.derive import Decoder, _column, message_fields
from stream.audit.findings import Findings
from stream.audit.notes import Damaged, shared_note
from stream.audit.packets import Packets
from stream.audit.schema import bare, fingerprint_of
from stream.audit.scratch import Scratch
from stream.codec.plan import Plan
from stream.codec.schema import WriterSchema
from stream.codec.slots import to_columns
from stream.level1.packet import Packet, Place
from stream.survey import load_survey

MICROS = {"type": "long", "logicalType": "timestamp-micros"}
FAR = 2**62
"""No time that Python has."""


def record(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": key, "type": kind} for key, kind in fields.items()]}


def numbers(namespace: str, kind: str) -> dict[str, Any]:
    return record("Numbers", value=kind) | {"namespace": namespace}


BAND = {"type": "enum", "name": "band", "symbols": ["u", "g", "r"]}
SHAPES: dict[str, tuple[Any, list[Any]]] = {
    "integers and floats": (record("a", x=["int", "double", "null"]), [{"x": 1}, {"x": 3.7}, {"x": None}]),
    "booleans and floats": (record("a", x=["boolean", "float"]), [{"x": True}, {"x": 0.5}]),
    "text and numbers": (record("a", x=["string", "long"], y="int"), [{"x": "z", "y": 1}, {"x": 7, "y": 2}]),
    "text and bytes": (record("a", x=["null", "string", "bytes"]), [{"x": "z"}, {"x": b"\xff"}, {"x": None}]),
    "a fixed": (record("a", x={"type": "fixed", "name": "f", "size": 3}), [{"x": b"abc"}]),
    "an enum": (record("a", x=BAND, y=["null", "band"]), [{"x": "g", "y": "r"}, {"x": "u", "y": None}]),
    "an enum and text": (record("a", x=[BAND, "string"]), [{"x": "g"}]),
    "records of other fields": (
        record("a", s=["null", record("B", ra="double"), record("C", dec="double", ra=["null", "int"])]),
        [{"s": {"ra": 1.5}}, {"s": {"dec": 2.5, "ra": 3}}, {"s": {"dec": 2.5, "ra": None}}, {"s": None}],
    ),
    "names alike in two namespaces": (
        record("a", p=numbers("p", "long"), q=numbers("q", "string"), s="p.Numbers", t=["null", "q.Numbers"]),
        [{"p": {"value": 1}, "q": {"value": "z"}, "s": {"value": 2}, "t": {"value": "y"}}],
    ),
    "a path that ends at a record": (record("a", x=record("B", y="int")), [{"x": {"y": 4}}]),
    "a path that goes on behind a number": (record("a", s="int"), [{"s": 4}]),
    "a path into a map": (record("a", s={"type": "map", "values": "double"}), [{"s": {"ra": 1.0}}]),
    "a union of packets": ([record("A", x="int"), record("B", y="int")], [{"x": 1}, {"y": 2}]),
    "a time that Python has not": (record("a", x=MICROS), [{"x": FAR}]),
    "a default that does not fit": (
        {"type": "record", "name": "a", "fields": [{"name": "x", "type": "long", "default": "x"}]},
        [{"x": 1}],
    ),
}
PATHS = frozenset(("x", "y", "x.y", "p.value", "q.value", "s.value", "t.value", "s.ra", "s.dec"))


def encoded(schema: Any, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(bare(schema), named_schemas={}), value)
    return out.getvalue()


@pytest.mark.parametrize("shape", SHAPES)
def test_columns_are_those_of_the_packet_check(shape: str) -> None:
    schema, values = SHAPES[shape]
    datums, text = [encoded(schema, value) for value in values], json.dumps(schema)
    # A program of no words: the packet check's slow way, which shares nothing with fastavro but values.
    plan = Plan.of(WriterSchema.of(text), PATHS, max_words=0)
    ends = np.cumsum([len(datum) for datum in datums])
    buffer = np.frombuffer(b"".join(datums), np.uint8)
    outcome = plan.run(buffer, np.array([0, *ends[:-1]]), ends)
    assert not outcome.status.any()
    decoder, texts = Decoder(text, PATHS), bytearray()
    rows = [decoder.datum(datum) for datum in datums]
    derived = {s.path: _column(s.kind, [row[k] for row in rows], texts) for k, s in enumerate(decoder.slots)}
    checked = to_columns(plan.slots, outcome, None)
    assert derived.keys() == checked.keys()
    for path, column in checked.items():
        assert derived[path].null.tolist() == column.null.tolist(), path
        assert seen(derived[path], bytes(texts)) == seen(column, buffer.tobytes()), path


def seen(column: Any, texts: bytes) -> list[Any]:
    values = column.values.tolist()
    if column.symbols:
        values = [column.symbols[value].encode() for value in values]
    elif column.kind == "text":
        values = [texts[start:end] for start, end in values]
    return [None if null else value for value, null in zip(values, column.null.tolist(), strict=True)]


def container(schema: Any, values: list[Any], codec: str = "null", sync_interval: int = 16_000) -> bytes:
    """A container whose header has the schema as it is, also where fastavro would refuse to write it."""
    out, plain = io.BytesIO(), bare(schema)
    fastavro.writer(out, plain, values, codec=codec, sync_interval=sync_interval)
    text = fastavro.reader(io.BytesIO(out.getvalue())).metadata["avro.schema"].encode()  # type: ignore[attr-defined]
    real = json.dumps(schema).encode()
    return out.getvalue().replace(length(text) + text, length(real) + real, 1)


def length(text: bytes) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", len(text))
    return out.getvalue()


RAW = record("a", x=MICROS) | {"fields": [{"name": "x", "type": MICROS, "default": "x"}, {"name": "z", "type": "int"}]}
VALUES = [{"x": FAR + n, "z": n} for n in range(5)]


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2"])
@pytest.mark.parametrize("sync_interval", [1, 16_000])
def test_records_of_a_container_are_read_without_their_logical_types_and_defaults(
    codec: str, sync_interval: int
) -> None:
    message = container(RAW, VALUES, codec, sync_interval)
    slots, rows = message_fields(message, frozenset(["x"]))
    assert ([slot.path for slot in slots], rows) == (["x"], [(value["x"],) for value in VALUES])
    place = Place(1, 20260305, "first", RecordId(1, 0, 0), 3, 1, 0, 0)
    assert Packet(place, "raw", RAW_SCHEMA, None, message).decode() == VALUES[3]


def test_a_packet_of_the_archive_is_decoded_whatever_its_defaults() -> None:
    place = Place(1, 20260305, "first", RecordId(1, 0, 0), 0, 1, 0, 0)
    packet = Packet(place, "wire", json.dumps(RAW), 7, encoded(RAW, VALUES[0]))
    assert packet.decode() == VALUES[0]
    assert len(fingerprint_of(json.dumps(RAW))) == 64
    for text in ('{"type": "record", "name": "a", "fields": [{"namu": "x", "type": "int"}]}', '"nothing"', "{"):
        with pytest.raises(Damaged):
            fingerprint_of(text)


@pytest.mark.parametrize("message", [b"", b"Obj\x01", b"nothing", container(RAW, VALUES)[:-1]])
def test_what_is_no_container_is_damaged(message: bytes) -> None:
    with pytest.raises(Damaged):
        message_fields(message, frozenset(["x"]))


@pytest.mark.parametrize("survey", ["ztf", None])
@pytest.mark.parametrize("parts", [[0, 1], [0], [0, 1, 2], [0, 2], [1]])
def test_the_index_must_have_a_row_for_each_record_of_a_message(parts: list[int], survey: str | None) -> None:
    message = container(RAW, VALUES[:2])
    datum = length(message) + message
    index = [
        {
            **{"stream": 1, "partition": 0, "offset": 5, "part": part, "blockOffset": 100, "slot": 0},
            **{"datumStart": 0, "datumSize": len(datum), "digest": xxh3_128_digest(message)},
        }
        for part in parts
    ]
    head = SimpleNamespace(kind="raw", schema=RAW_SCHEMA, prefix=b"", night=20260305)
    source = SimpleNamespace(head=head, blocks=lambda note: [Inflated(100, 1, datum)])
    row: Any = SimpleNamespace(segment=9, dataName="data", indexName="index")
    note = shared_note(json.dumps({"commit": 1, "ranges": [], "parts": []}))
    findings = Findings()
    with Scratch() as scratch:
        used = load_survey(survey) if survey else None
        packets = Packets(cast(DataFile, source), row, scratch, findings, used, {})
        packets.commit(pa.Table.from_pylist(index), note)
    assert set(findings.found) == (set() if parts == [0, 1] else {(5, "index_damaged")})
