"""Packets for the crash tests: valid ones of two sizes, made quickly, and a few that are not."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import fastavro

from stream.codec.lsst import LsstPackageSchemas

SCHEMA_ID = 1000
FIRST_ID = 1 << 56
"""From here to 2**62 every id has an Avro varint of nine bytes, so that it can be put into a packet made once."""

LARGE_BYTES = 60_000
MIDPOINTS = (61104.2, 61105.2)
"""MJD TAI of two nights."""

FIRST_NIGHT, LAST_NIGHT = 20260301, 20260331
_TEMPLATES = 12


@dataclass(frozen=True, slots=True)
class Packet:
    """What is sent: the value (None: a tombstone), and whether it can be read."""

    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    sound: bool = True


class Packets:
    """Draws packets.

    Parameters
    ----------
    large
        Share of those that have at least `LARGE_BYTES`.
    odd
        Share of those that are truncated, without a value, or with an id sent before.
    """

    def __init__(self, chance: Random, large: float = 0.3, odd: float = 0.02) -> None:
        self._chance = chance
        self._large = large
        self._odd = odd
        self._heads = [_head(_schema(), chance, number) for number in range(_TEMPLATES)]
        self._count = 0

    def draw(self) -> Packet:
        """The next packet."""
        chance = self._chance
        odd = chance.random() if chance.random() < self._odd else 1.0
        if odd < 0.15:
            return Packet(b"%d" % self._count, None, ())
        source = FIRST_ID + (chance.randrange(self._count) if odd < 0.75 and self._count else self._count)
        self._count += 1
        value = self._value(source, chance.random() < self._large)
        headers = (("visit", b"77"), ("detector", b"3"), ("diaSourceId", b"%d" % source))
        if 0.75 <= odd < 1.0:
            return Packet(b"%d" % source, value[: len(value) // 2], headers, sound=False)
        return Packet(b"%d" % source, value, headers)

    def sound(self, large: bool = False) -> Packet:
        """A packet that can be read, with an id of its own."""
        source = FIRST_ID + self._count
        self._count += 1
        return Packet(b"%d" % source, self._value(source, large), (("diaSourceId", b"%d" % source),))

    def _value(self, source: int, large: bool) -> bytes:
        # One template an id: what has an id sent before differs in its stamp alone.
        head = self._heads[source % _TEMPLATES].replace(_varint(FIRST_ID), _varint(source))
        size = self._chance.randrange(LARGE_BYTES, LARGE_BYTES + 8000) if large else self._chance.randrange(40, 400)
        stamp = self._chance.randbytes(size // 2) + bytes(size - size // 2)
        return b"\x00" + SCHEMA_ID.to_bytes(4, "big") + head + b"\x00\x00" + b"\x02" + _varint(size) + stamp


@cache
def _schema() -> Any:
    return fastavro.parse_schema(json.loads(LsstPackageSchemas().get(SCHEMA_ID).text))


def _head(schema: Any, chance: Random, number: int) -> bytes:
    """The beginning of a datum, up to its three stamps."""
    source = _least(schema, "diaSource") | {
        "diaSourceId": FIRST_ID,
        "visit": 2026030500000 + number // 4,
        "detector": number % 4,
        "ra": chance.uniform(0.0, 360.0),
        "dec": chance.uniform(-80.0, 20.0),
        "midpointMjdTai": MIDPOINTS[number % 2],
    }
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, {"diaSourceId": FIRST_ID, "diaSource": source})
    whole = out.getvalue()
    if whole.count(_varint(FIRST_ID)) != 2 or not whole.endswith(b"\x00\x00\x00"):
        raise ValueError("the schema is not what these packets were made for")
    return whole[:-3]


def _least(schema: Any, field: str) -> dict[str, Any]:
    """A record with the least that its schema takes: nulls where they may be, else zeros."""
    (found,) = (each["type"] for each in schema["fields"] if each["name"] == field)
    zeros = {"long": 0, "int": 0, "float": 0.5, "double": 0.5, "string": "r", "boolean": False, "bytes": b""}
    return {each["name"]: zeros[each["type"]] for each in found["fields"] if isinstance(each["type"], str)}


def _varint(value: int) -> bytes:
    rest, out = value << 1, bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])
