"""One packet as the archive gives it back, and what can be made of it."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import fastavro
from fastavro.types import Schema

from stream.alert import RecordId
from stream.alertdb.container import encode_header, varint
from stream.alertdb.header import Kind
from stream.errors import Poison

Standing = Literal["first", "repeated", "conflict", "quarantined"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a packet of an id lies, and how it stands to the others of that id.

    Attributes
    ----------
    standing
        ``first``: Level-1 has its row. ``repeated``: the same bytes came again. ``conflict``: other bytes with this id.
        ``quarantined``: it could not be taken.
    code, reason
        Why, where quarantined; else empty.
    """

    source: int
    night: int
    standing: Standing
    record: RecordId
    part: int
    segment: int
    block_offset: int
    slot: int
    code: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet of a DIASource id, as it came.

    Attributes
    ----------
    place
        Which one it is.
    kind
        Of its segment: ``wire``, ``container``, ``raw`` or ``quarantine``.
    schema_text, schema_id
        The writer's Avro schema as it came, and its id where its frames have one.
    datum
        The Avro datum's bytes; the whole message for the kinds ``raw`` and ``quarantine``.
    """

    place: Place
    kind: Kind
    schema_text: str
    schema_id: int | None
    datum: bytes

    def decode(self) -> dict[str, Any]:
        """The packet as a dictionary; logical types are left as they are on the wire.

        Raises
        ------
        Poison
            ``quarantined``: nobody could read it when it came.
        """
        if self.kind == "quarantine":
            place = self.place
            text = f"the packet is in quarantine ({place.code}: {place.reason})"
            raise Poison("quarantined", text, "take its message with --format wire")
        if self.kind == "raw":
            records = list(fastavro.reader(io.BytesIO(self.datum)))
            return dict(records[self.place.part])  # type: ignore[arg-type]
        found = fastavro.schemaless_reader(io.BytesIO(self.datum), _parsed(self.schema_text), None)
        return dict(found)  # type: ignore[arg-type]

    def avro_file(self) -> bytes:
        """An Avro object container file with this packet alone, its datum byte for byte, or the message that is one."""
        if self.kind in ("raw", "quarantine"):
            return self.datum
        sync = os.urandom(16)
        header = encode_header({"avro.schema": self.schema_text.encode(), "avro.codec": b"null"}, sync)
        return b"".join((header, varint(1), varint(len(self.datum)), self.datum, sync))


@lru_cache(maxsize=32)
def _parsed(text: str) -> Schema:
    return fastavro.parse_schema(_bare(json.loads(text)))


def _bare(schema: Any) -> Any:
    """`schema` without logical types: fastavro refuses times that Python cannot hold."""
    if isinstance(schema, dict):
        return {key: _bare(value) for key, value in schema.items() if key != "logicalType"}
    if isinstance(schema, list):
        return [_bare(item) for item in schema]
    return schema
