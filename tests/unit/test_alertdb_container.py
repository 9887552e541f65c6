"""Varints, headers and leading values of container files, held against fastavro."""

from __future__ import annotations

import io
import json

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.alert import Stream
from stream.alertdb.container import Incomplete, encode_header, leading_bytes, parse_header, read_varint, varint
from stream.alertdb.header import SegmentHeader, SegmentKey, parse_segment_header

LONGS = st.integers(-(2**63), 2**63 - 1)
SYNC = bytes(range(16))
HEADER = SegmentHeader(
    number=2**63 - 1,
    key=SegmentKey(7, "a survey", 20260305, "ab" * 32, "container", b"Obj\x01\x00\xff prefix"),
    source=Stream("cluster", "töpic", "id"),
    schema_id=None,
    schema_text='{"type": "long"}',
    survey_digest="cd" * 32,
    version="0.1.0",
    instance="ef",
)


@given(LONGS)
def test_varints_are_avros(value: int) -> None:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", value)
    assert varint(value) == out.getvalue()
    assert read_varint(b"x" + varint(value) + b"y", 1) == (value, 1 + len(varint(value)))


@pytest.mark.parametrize("data", [b"\xff" * 10, b"\x80" * 11, b"\xff" * 9 + b"\x02"])
def test_numbers_of_more_than_64_bits_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        read_varint(data, 0)


@given(st.binary(max_size=300), st.binary(max_size=5))
def test_the_leading_value_of_a_datum_is_found_and_never_reaches_beyond_it(value: bytes, rest: bytes) -> None:
    datum = varint(len(value)) + value + rest
    assert leading_bytes(datum) == value
    for cut in range(len(datum) - len(rest)):
        with pytest.raises(Incomplete):
            leading_bytes(datum[:cut])
    with pytest.raises(ValueError):
        leading_bytes(varint(-1) + value)


def test_a_segments_header_comes_back_and_fastavro_reads_it() -> None:
    data = HEADER.encode(SYNC)
    parsed = parse_segment_header(data + b"blocks")
    assert (parsed.header, parsed.sync, parsed.length) == (HEADER, SYNC, len(data))
    reader = fastavro.reader(io.BytesIO(data))
    assert reader.codec == "zstandard"
    assert json.loads(reader.metadata["avro.schema"]) == {"type": "long"}
    assert list(reader) == []


def test_a_header_that_is_cut_anywhere_says_so() -> None:
    data = HEADER.encode(SYNC)
    for cut in range(4, len(data)):
        with pytest.raises(Incomplete):
            parse_segment_header(data[:cut])


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("skyburst.format", b"2", "segment format 2"),
        ("skyburst.kind", b"other", "unknown kind"),
        ("skyburst.number", None, "lacks skyburst.number"),
    ],
)
def test_a_container_of_another_kind_is_refused(key: str, value: bytes | None, says: str) -> None:
    metadata = dict(parse_header(HEADER.encode(SYNC)).metadata)
    if value is None:
        del metadata[key]
    else:
        metadata[key] = value
    with pytest.raises(ValueError, match=says):
        parse_segment_header(encode_header(metadata, SYNC))
    with pytest.raises(ValueError, match="no Avro"):
        parse_header(b"Obj\x02")


def test_a_header_in_blocks_of_negative_count_is_read_too() -> None:
    entry = varint(1) + b"k" + varint(1) + b"v"
    data = b"Obj\x01" + varint(-1) + varint(len(entry)) + entry + varint(0) + SYNC
    assert parse_header(data).metadata == {"k": b"v"}
