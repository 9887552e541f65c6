"""Batches of messages: every framing, what is refused and why, what waits, and what gives the message back."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import fastavro
import numpy as np
import pytest
import zstandard

from stream.codec.container import MAX_RECORDS
from stream.codec.decoder import Checked, Decoder, Group
from stream.codec.encode import encode_datum, encode_wire
from stream.codec.lookup import SchemaAway, SchemaUnknown
from stream.codec.program import TooLong, compile_program
from stream.codec.schema import WriterSchema
from stream.errors import Poison

KIND = {"type": "enum", "name": "Kind", "symbols": ["good", "bad"]}
INNER = [
    {"name": "id", "type": "long"},
    {"name": "ra", "type": ["null", "double"]},
    {"name": "flux", "type": ["null", "float"]},
    {"name": "band", "type": ["null", "string"]},
    {"name": "kind", "type": ["null", KIND]},
    {"name": "n", "type": ["int", "null"]},
    {"name": "ok", "type": ["null", "boolean"]},
    {"name": "tag", "type": {"type": "fixed", "name": "Tag", "size": 3}},
    {"name": "any", "type": ["null", "int", "double"]},
    {"name": "mixed", "type": ["string", "int"]},
    {"name": "blob", "type": "bytes"},
]
OUTER = {
    "type": "record",
    "name": "Packet",
    "fields": [
        {"name": "source", "type": ["null", {"type": "record", "name": "Source", "fields": INNER}]},
        {"name": "history", "type": {"type": "array", "items": "Source"}},
        {"name": "label", "type": "string"},
    ],
}
PACKET = WriterSchema.of(json.dumps(OUTER), 7)
PATHS = ["label", "source", "history.id", "nothing", *(f"source.{field['name']}" for field in INNER)]
SOURCE = {
    "id": 1 << 60,
    "ra": 10.5,
    "flux": 0.1,
    "band": "gö",
    "kind": "bad",
    "n": -5,
    "ok": True,
    "tag": b"abc",
    "any": 4,
    "mixed": "m",
    "blob": b"\xff\x00",
}
FULL = {"source": SOURCE, "history": [SOURCE, SOURCE], "label": "first"}
BARE = {"source": None, "history": [], "label": ""}
NULLS = {**SOURCE, "ra": None, "flux": None, "band": None, "kind": None, "n": None, "ok": None, "any": 2.5}


class Schemas:
    """Schemas in memory; some ids are away, unknown or refused."""

    def __init__(self) -> None:
        self.known: dict[int, WriterSchema | Exception] = {
            7: PACKET,
            8: WriterSchema.of(json.dumps(OUTER), 8),
            9: WriterSchema.of(
                '{"type": "record", "name": "Other", "fields": [{"name": "label", "type": "string"}]}', 9
            ),
            20: SchemaAway("down"),
            21: SchemaUnknown(21, "here"),
            22: Poison("schema_refused", "recursive"),
        }

    def get(self, schema_id: int) -> WriterSchema:
        found = self.known.get(schema_id, SchemaUnknown(schema_id, "here"))
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def decoder() -> Decoder:
    return Decoder(Schemas(), PATHS)


def container(*records: Any, codec: str = "null", sync_interval: int = 16000, schema: Any = OUTER) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(schema), records, codec=codec, sync_interval=sync_interval)
    return out.getvalue()


def only(checked: Checked) -> Group:
    assert not checked.refused
    assert not checked.waiting
    (group,) = checked.groups
    return group


def read(group: Group, path: str) -> list[Any]:
    """A column as Python has it."""
    column = group.columns[path]
    found: list[Any] = []
    for value, null in zip(column.values.tolist(), column.null.tolist(), strict=True):
        if null:
            assert value == ([0, 0] if column.kind == "text" else 0)
            found.append(None)
        elif column.kind == "text":
            found.append(group.buffer[slice(*value)].tobytes())
        else:
            found.append(column.symbols[value] if column.symbols else value)
    return found


def test_wire_messages_give_every_kind_of_column(decoder: Decoder) -> None:
    records = [FULL, BARE, {**FULL, "source": NULLS}]
    group = only(decoder.check([encode_wire(PACKET, record) for record in records]))
    assert group.kind == "wire"
    assert group.message.tolist() == [0, 1, 2]
    assert read(group, "label") == [b"first", b"", b"first"]
    assert read(group, "source.id") == [1 << 60, None, 1 << 60]
    assert read(group, "source.ra") == [10.5, None, None]
    assert read(group, "source.flux") == [float(np.float32(0.1)), None, None]
    assert read(group, "source.band") == ["gö".encode(), None, None]
    assert read(group, "source.kind") == ["bad", None, None]
    assert read(group, "source.n") == [-5, None, None]
    assert read(group, "source.ok") == [1, None, None]
    assert read(group, "source.tag") == [b"abc", None, b"abc"]
    assert read(group, "source.any") == [4.0, None, 2.5]
    assert read(group, "source.blob") == [b"\xff\x00", None, b"\xff\x00"]
    assert group.columns["source.ra"].kind == "float"
    assert group.columns["source.ra"].values.dtype == np.float64


def test_what_the_schema_lacks_or_has_in_no_one_kind_is_not_among_the_columns(decoder: Decoder) -> None:
    columns = only(decoder.check([encode_wire(PACKET, FULL)])).columns
    assert not {"nothing", "history.id", "source", "source.mixed"} & set(columns)


def test_schemas_are_grouped_by_id_in_one_batch(decoder: Decoder) -> None:
    other = Schemas().get(9)
    values = [encode_wire(PACKET, FULL), encode_wire(other, {"label": "x"}), encode_wire(PACKET, BARE)]
    values.append(b"\x00\x00\x00\x00\x08" + values[0][5:])
    checked = decoder.check(values)
    assert {group.schema.id: group.message.tolist() for group in checked.groups} == {7: [0, 2], 8: [3], 9: [1]}
    assert {group.schema.id: read(group, "label") for group in checked.groups}[9] == [b"x"]


def test_good_alerts_keep_their_columns_among_refused_ones(decoder: Decoder) -> None:
    good = [encode_wire(PACKET, {**FULL, "label": f"n{i}"}) for i in range(5)]
    values = [good[0], good[1][:-1], good[2], good[3] + b"!", good[4]]
    checked = decoder.check(values)
    (group,) = checked.groups
    assert group.message.tolist() == [0, 2, 4]
    assert read(group, "label") == [b"n0", b"n2", b"n4"]
    assert read(group, "source.ra") == [10.5] * 3
    assert [(refusal.row, refusal.code) for refusal in checked.refused] == [(1, "truncated"), (3, "trailing_bytes")]
    assert f"of {len(values[1])}" in checked.refused[0].reason


def test_a_schema_of_too_long_a_program_is_read_by_fastavro_with_the_same_rules() -> None:
    kind: Any = {
        "type": "record",
        "name": "L",
        "fields": [{"name": n, "type": n} for n in ("int", "string", "boolean")],
    }
    record: Any = {"int": 5, "string": "gö", "boolean": True}
    for i in range(12):
        kind = {
            "type": "record",
            "name": f"R{i}",
            "fields": [{"name": "a", "type": kind}, {"name": "b", "type": kind["name"]}],
        }
        record = {"a": record, "b": record}
    schemas = Schemas()
    schema = schemas.known[7] = WriterSchema.of(json.dumps(kind), 7)
    paths = [".".join("a" * 12) + f".{name}" for name in ("int", "string", "boolean")]
    with pytest.raises(TooLong):
        compile_program(schema.root, paths)
    good = encode_wire(schema, record)
    checked = Decoder(schemas, paths).check([good, good[:-1], good + b"!", good[:-1] + b"\x02", good])
    (group,) = checked.groups
    assert group.message.tolist() == [0, 4]
    assert [read(group, path) for path in paths] == [[5, 5], ["gö".encode()] * 2, [1, 1]]
    assert [refusal.code for refusal in checked.refused] == ["truncated", "trailing_bytes", "bad_boolean"]


def test_a_refusal_says_at_which_byte_and_near_which_field(decoder: Decoder) -> None:
    good = encode_wire(PACKET, FULL)
    at = good.index("gö".encode())
    (refusal,) = decoder.check([good[:at] + b"\xff" + good[at + 1 :]]).refused
    assert refusal.code == "bad_utf8"
    assert refusal.reason == f"a string is not UTF-8, at byte {at} of {len(good)}, at or after source.band"


def test_frames_that_are_none_have_their_codes() -> None:
    decoder = Decoder(Schemas(), PATHS, max_packet=100)
    values = [
        b"",
        b"\x00",
        b"\x00\x00\x00\x00",
        b"Obj",
        b"{}",
        b'{"a": 1}',
        b"Obj\x02 more",
        b"\x00" * 101,
        b"\xc3\x01xxxxxx",
    ]
    codes = [refusal.code for refusal in decoder.check(values).refused]
    assert codes == ["truncated"] * 4 + ["magic"] * 3 + ["oversized", "magic"]


def test_an_empty_batch_is_checked(decoder: Decoder) -> None:
    checked = decoder.check([])
    assert len(checked.messages.starts) == 0
    assert not (checked.groups or checked.refused or checked.waiting)


def test_messages_wait_for_schemas_that_are_away_or_unknown_and_refused_schemas_refuse(decoder: Decoder) -> None:
    datum = encode_datum(PACKET, FULL)
    frames = [(20, datum), (21, datum), (22, datum), (7, datum), (0xFFFFFFFF, datum), (20, datum)]
    checked = decoder.check([b"\x00" + schema_id.to_bytes(4, "big") + body for schema_id, body in frames])
    assert [(w.row, w.schema_id, w.error.code) for w in checked.waiting] == [
        (0, 20, "registry_away"),
        (1, 21, "schema_unknown"),
        (4, 0xFFFFFFFF, "schema_unknown"),
        (5, 20, "registry_away"),
    ]
    assert [(r.row, r.code) for r in checked.refused] == [(2, "schema_refused")]
    assert [group.message.tolist() for group in checked.groups] == [[3]]


def test_a_container_of_one_record_is_told_apart_from_its_frame(decoder: Decoder) -> None:
    values = [container(FULL), container(BARE), encode_wire(PACKET, FULL)]
    checked = decoder.check(values)
    group = next(group for group in checked.groups if group.kind == "container")
    assert group.message.tolist() == [0, 1]
    assert read(group, "label") == [b"first", b""]
    assert group.schema.id is None
    assert group.schema.fingerprint == PACKET.fingerprint
    for i, value in enumerate(values[:2]):
        start, end = int(group.datum_start[i]), int(group.datum_end[i])
        messages = checked.messages
        first, last = int(messages.starts[i]), int(messages.ends[i])
        body = messages.buffer[first + len(group.prefix) : last].tobytes()
        assert group.prefix + body == value
        assert messages.buffer[start:end].tobytes() == encode_datum(PACKET, [FULL, BARE][i])


def test_containers_that_say_more_than_their_schema_are_kept_whole_in_one_group(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []
    of: Callable[..., WriterSchema] = WriterSchema.of
    monkeypatch.setattr(WriterSchema, "of", lambda text: parsed.append(text) or of(text))
    values = []
    for i in range(3):
        out = io.BytesIO()
        fastavro.writer(out, OUTER, [{**FULL, "label": f"n{i}"}], metadata={"made.at": f"{i} s"})
        values.append(out.getvalue())
    group = only(decoder.check(values))
    assert (group.kind, group.prefix, group.message.tolist(), len(parsed)) == ("raw", b"", [0, 1, 2], 1)
    assert read(group, "label") == [b"n0", b"n1", b"n2"]


def test_the_schema_of_containers_that_begin_alike_is_parsed_once(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []
    of: Callable[..., WriterSchema] = WriterSchema.of
    monkeypatch.setattr(WriterSchema, "of", lambda text, id=None: parsed.append(text) or of(text, id))
    for _ in range(3):
        decoder.check([container(FULL), container(BARE)])
    assert len(parsed) == 1


CODECS = ["null", "deflate", "bzip2", "xz", "zstandard", "snappy"]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("sync_interval", [1, 16000])
def test_containers_of_several_records_or_compressed_give_all_rows(
    decoder: Decoder, codec: str, sync_interval: int
) -> None:
    many = [{**FULL, "label": f"n{i}"} for i in range(5)]
    values = [
        container(*many, codec=codec, sync_interval=sync_interval),
        container(*many[:2], BARE, codec=codec, sync_interval=sync_interval),
    ]
    for value in values:
        assert list(fastavro.reader(io.BytesIO(value))), "what is kept raw, any Avro tool reads"
    group = only(decoder.check(values))
    assert group.kind == "raw"
    assert group.message.tolist() == [0] * 5 + [1] * 3
    assert group.part.tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert read(group, "label") == [b"n0", b"n1", b"n2", b"n3", b"n4", b"n0", b"n1", b""]
    assert read(group, "source.band") == ["gö".encode()] * 7 + [None]
    assert read(group, "source.id") == [1 << 60] * 7 + [None]
    assert read(group, "source.tag") == [b"abc"] * 7 + [None]
    assert group.datum_start.tolist() == group.datum_end.tolist() == [0] * 8


PRESS: dict[str, Callable[[bytes], bytes]] = {
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstandard": zstandard.ZstdCompressor().compress,
    "zstandard without its size": zstandard.ZstdCompressor(write_content_size=False).compress,
}


@pytest.mark.parametrize("way", PRESS)
def test_a_block_may_be_several_streams_but_each_is_whole(decoder: Decoder, way: str) -> None:
    press, codec = PRESS[way], way.split()[0].encode()
    datum = encode_datum(PACKET, FULL)
    halves = press(datum[:20]) + press(datum[20:])
    assert read(only(decoder.check([made(codec, 1, press(datum)), made(codec, 1, halves)])), "label") == [b"first"] * 2
    cut = [made(codec, 1, body[:-n]) for body in (press(datum), halves) for n in (1, 3, 4)]
    for value in cut:
        with pytest.raises(Exception, match=r"."):
            list(fastavro.reader(io.BytesIO(value)))
    assert [refusal.code for refusal in decoder.check(cut).refused] == ["bad_compression"] * len(cut)


def test_snappy_containers_are_read(decoder: Decoder) -> None:
    import zlib

    import pyarrow as pa

    datum = encode_datum(PACKET, FULL)
    body = pa.Codec("snappy").compress(datum, asbytes=True) + zlib.crc32(datum).to_bytes(4, "big")
    assert read(only(decoder.check([made(b"snappy", 1, body)])), "label") == [b"first"]
    broken = body[:-1] + bytes([body[-1] ^ 1])
    assert [r.code for r in decoder.check([made(b"snappy", 1, broken)]).refused] == ["bad_compression"]


def made(codec: bytes, records: int, body: bytes, sync: bytes = b"s" * 16, schema: Any = OUTER) -> bytes:
    """A container with a frame that may lie."""
    out = io.BytesIO(b"Obj\x01")
    out.seek(4)
    meta = {"avro.schema": json.dumps(schema).encode(), "avro.codec": codec}
    fastavro.schemaless_writer(out, {"type": "map", "values": "bytes"}, meta)
    out.write(b"s" * 16)
    fastavro.schemaless_writer(out, "long", records)
    fastavro.schemaless_writer(out, "bytes", body)
    return out.getvalue() + sync


def test_containers_that_are_wrong_have_their_codes(decoder: Decoder) -> None:
    datum = encode_datum(PACKET, FULL)
    good = made(b"null", 1, datum)
    cases = {
        good[:-1]: "truncated",
        good[: good.index(b"ssss")]: "truncated",
        good + b"!": "truncated",
        made(b"null", 1, datum, b"t" * 16): "bad_sync",
        made(b"null", -1, datum): "bad_block",
        made(b"null", 0, b""): "empty_container",
        good[: good.index(b"ssss") + 16]: "empty_container",
        made(b"null", 1, datum + b"!"): "trailing_bytes",
        made(b"null", 2, datum): "truncated",
        made(b"null", 2, datum + datum + b"!"): "trailing_bytes",
        made(b"null", MAX_RECORDS + 1, datum): "too_many_records",
        made(b"lzma", 1, datum): "codec",
        made(b"deflate", 1, datum): "bad_compression",
        made(b"zstandard", 1, datum): "bad_compression",
        made(b"bzip2", 1, datum): "bad_compression",
        made(b"xz", 1, datum): "bad_compression",
        made(b"null", 1, b"", schema={"type": "array", "items": "null"}): "schema_refused",
        b"Obj\x01\x00" + b"s" * 16: "schema_refused",
        b"Obj\x01" + b"\xff" * 12: "varint",
        b"Obj\x01\x02\x01xx": "bad_length",
        b"Obj\x01\xc0\x84\x3d" + b"x" * 50: "bad_header",
        good.replace(b"avro.codec", b"avro.code\xff"): "bad_utf8",
    }
    assert [refusal.code for refusal in decoder.check(list(cases)).refused] == list(cases.values())


@pytest.mark.parametrize("codec", ["deflate", "bzip2", "xz", "zstandard", "snappy"])
def test_a_bomb_is_refused_before_it_is_large(decoder: Decoder, codec: str) -> None:
    bomb = container({**BARE, "label": "x" * 50_000_000}, codec=codec)
    assert len(bomb) < 100_000 or codec == "snappy"
    checked = decoder.check([bomb, container(FULL, codec=codec)])
    assert [(refusal.row, refusal.code) for refusal in checked.refused] == [(0, "inflation")]
    assert [group.message.tolist() for group in checked.groups] == [[1]]


def test_what_messages_inflate_to_is_not_kept_but_for_the_wanted_texts() -> None:
    decoder = Decoder(Schemas(), ["label", "source.id", "source.band"])
    decoder.warm()
    packet = {**FULL, "source": {**SOURCE, "blob": bytes(800_000)}, "history": []}
    values = [container({**packet, "label": f"n{i}"}, codec="zstandard") for i in range(100)]
    assert max(map(len, values)) < 2000, "images of zeros, which are no bomb"
    tracemalloc.start()
    try:
        group = only(decoder.check(values))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read(group, "label") == [f"n{i}".encode() for i in range(100)]
    assert read(group, "source.id") == [1 << 60] * 100
    assert group.buffer.nbytes == sum(len(f"n{i}") + len("gö".encode()) for i in range(100))
    assert peak < 8 * 2**20


def test_texts_and_records_are_bounded_by_the_bytes_of_their_message(decoder: Decoder) -> None:
    long = container({**BARE, "label": "x" * 900_000}, codec="zstandard")
    assert len(long) < 2000
    schema = {"type": "record", "name": "Tiny", "fields": [{"name": "label", "type": ["null", "string"]}]}
    values = [made(b"null", n, b"\x00" * n, schema=schema) for n in (2, 1000)]
    checked = decoder.check([long, *values])
    assert [(refusal.row, refusal.code) for refusal in checked.refused] == [(0, "inflation"), (2, "too_many_records")]
    assert [group.message.tolist() for group in checked.groups] == [[1] * 2]


def test_a_bad_record_refuses_its_whole_container(decoder: Decoder) -> None:
    bad = encode_datum(PACKET, FULL).replace("gö".encode(), b"g\xff\xff")
    (refusal,) = decoder.check([made(b"null", 2, encode_datum(PACKET, BARE) + bad)]).refused
    assert refusal.code == "bad_utf8"
    assert refusal.reason.startswith("record 1 of a block")


def test_several_threads_check_at_once(decoder: Decoder) -> None:
    values = [encode_wire(PACKET, {**FULL, "label": f"n{i}"}) for i in range(200)] + [container(FULL)] * 20
    wrong: list[object] = []

    def work() -> None:
        for _ in range(20):
            checked = decoder.check(values)
            if sorted(len(group) for group in checked.groups) != [20, 200] or checked.refused:
                wrong.append(checked)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
