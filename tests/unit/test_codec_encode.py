"""Encoding of wire messages and of our own topics, and reading back with the stricter rules."""

from __future__ import annotations

import pytest

from stream.codec.encode import SingleObjects, decode_datum, encode_datum, encode_single, encode_wire
from stream.codec.schema import WriterSchema
from stream.errors import Poison, Wrong

OLD = WriterSchema.of('{"type": "record", "name": "V", "fields": [{"name": "visit", "type": "long"}]}')
NEW = WriterSchema.of(
    '{"type": "record", "name": "V", "fields": [{"name": "visit", "type": "long"},'
    '{"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}], "default": null}]}',
    3,
)


def test_a_wire_message_is_a_zero_the_id_and_the_datum() -> None:
    assert encode_wire(NEW, {"visit": 1, "at": 2}) == b"\x00\x00\x00\x00\x03\x02\x02\x04"
    with pytest.raises(Wrong) as wrong:
        encode_wire(OLD, {"visit": 1})
    assert wrong.value.code == "no_schema_id"


def test_single_objects_of_several_versions_are_read() -> None:
    topic = SingleObjects([OLD, NEW])
    assert topic.decode(encode_single(OLD, {"visit": 5})) == {"visit": 5}
    assert topic.decode(encode_single(NEW, {"visit": 5})) == {"visit": 5, "at": None}
    assert encode_single(OLD, {"visit": 5})[:2] == b"\xc3\x01"


def test_a_time_is_the_number_that_the_packet_has_even_where_no_date_is_that_far_off() -> None:
    far = {"visit": 1, "at": 1 << 62}
    assert decode_datum(NEW, encode_datum(NEW, far)) == far


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", "magic"),
        (b"\xc3\x01short", "magic"),
        (b"\x00\x00\x00\x00\x03\x02\x02\x04\x00\x00", "magic"),
        (b"\xc3\x01" + b"x" * 8, "schema_unknown"),
        (encode_single(OLD, {"visit": 5}) + b"!", "trailing_bytes"),
        (encode_single(OLD, {"visit": 5})[:-1], "truncated"),
    ],
)
def test_messages_that_are_no_single_objects_are_refused(message: bytes, code: str) -> None:
    with pytest.raises(Poison) as refused:
        SingleObjects([OLD]).decode(message)
    assert refused.value.code == code


@pytest.mark.parametrize("record", [{}, {"visit": "x"}, {"visit": 1 << 70}, {"visit": 1, "more": 2}, 7, None])
def test_a_record_that_does_not_fit_is_an_error_of_the_caller(record: object) -> None:
    with pytest.raises(Wrong) as wrong:
        encode_datum(OLD, record)
    assert wrong.value.code == "bad_record"
