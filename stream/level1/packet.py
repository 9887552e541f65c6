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
from stream.alertdb.container import ContainerHeader, encode_header, parse_header, varint
from stream.alertdb.header import Kind
from stream.errors import Held, Poison

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
            ``quarantined``: it was refused when it came.
        """
        self._must_be_readable()
        if self.kind == "raw":
            header, datum = _record(self.datum, self.place.part)
            return _decoded(io.BytesIO(datum), header.metadata["avro.schema"].decode())
        return _decoded(io.BytesIO(self.datum), self.schema_text)

    def avro_file(self) -> bytes:
        """An Avro object container file with this packet alone, its datum byte for byte.

        Raises
        ------
        Poison
            ``quarantined``: it was refused when it came, and need not be Avro.
        """
        self._must_be_readable()
        metadata: dict[str, bytes] = {"avro.schema": self.schema_text.encode()}
        datum = self.datum
        if self.kind == "raw":
            header, datum = _record(self.datum, self.place.part)
            metadata = dict(header.metadata)
        sync = os.urandom(16)
        head = encode_header(metadata | {"avro.codec": b"null"}, sync)
        return b"".join((head, varint(1), varint(len(datum)), datum, sync))

    def _must_be_readable(self) -> None:
        if self.kind == "quarantine":
            place = self.place
            text = f"the packet of {place.source} is in quarantine ({place.code}: {place.reason})"
            raise Poison("quarantined", text, "take its message with --format wire")


def _record(message: bytes, part: int) -> tuple[ContainerHeader, bytes]:
    """A container file's header and the datum of one of its records; fastavro reads the blocks, under a header without
    a schema to stumble at."""
    header = parse_header(message)
    codec, schema = (header.metadata.get(f"avro.{name}", b"null") for name in ("codec", "schema"))
    plain = encode_header({"avro.schema": b'"bytes"', "avro.codec": codec}, header.sync)
    blocks: Any = fastavro.block_reader(io.BytesIO(plain + message[header.length :]))
    for block in blocks:
        if part < block.num_records:
            whole = io.BytesIO(block.bytes_.read())
            for _ in range(part):
                _decoded(whole, schema.decode())
            begins = whole.tell()
            _decoded(whole, schema.decode())
            return header, whole.getvalue()[begins : whole.tell()]
        part -= block.num_records
    raise Held("segment_damaged", f"the message ends {part + 1} records before the one of the alert")


def _decoded(file: io.BytesIO, schema: str) -> dict[str, Any]:
    found = fastavro.schemaless_reader(file, _parsed(schema), None)
    return dict(found)  # type: ignore[arg-type]


@lru_cache(maxsize=32)
def _parsed(text: str) -> Schema:
    return fastavro.parse_schema(_bare(json.loads(text)))


def _bare(schema: Any) -> Any:
    """`schema` without logical types, since fastavro refuses times that Python cannot hold, and without defaults, which
    it refuses where they do not fit."""
    if isinstance(schema, dict):
        return {key: _bare(value) for key, value in schema.items() if key not in ("logicalType", "default")}
    if isinstance(schema, list):
        return [_bare(item) for item in schema]
    return schema
