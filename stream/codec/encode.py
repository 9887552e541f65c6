"""Encoding: wire messages of alerts, and Avro single-object encoding for our own topics."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from typing import Any

import fastavro

from stream.codec.decode import check_datum, decode_datum
from stream.codec.schema import WriterSchema
from stream.errors import Poison, Wrong

SINGLE_OBJECT = b"\xc3\x01"
"""How a message in Avro single-object encoding begins (Avro 1.12 specification)."""


def encode_datum(schema: WriterSchema, record: Any) -> bytes:
    """One record as Avro binary, without any frame.

    Raises
    ------
    Wrong
        ``bad_record``: the record does not fit the schema.
    """
    out = io.BytesIO()
    try:
        fastavro.schemaless_writer(out, schema.parsed, record, strict_allow_default=True)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, struct.error) as error:
        raise Wrong("bad_record", f"the record does not fit its schema: {error}") from error
    return out.getvalue()


def wire_head(schema_id: int) -> bytes:
    """The five bytes before a datum on the wire: 0x00 and the schema id, big-endian (Confluent wire format)."""
    return b"\x00" + struct.pack(">I", schema_id)


def encode_wire(schema: WriterSchema, record: Any) -> bytes:
    """One record as a Confluent wire message.

    Raises
    ------
    Wrong
        ``bad_record``, or ``no_schema_id`` where the schema has none.
    """
    if schema.id is None:
        raise Wrong("no_schema_id", "a wire message names its schema by id, and this schema has none")
    return wire_head(schema.id) + encode_datum(schema, record)


def encode_single(schema: WriterSchema, record: Any) -> bytes:
    """One record in Avro single-object encoding: 0xC3 0x01, the schema's CRC-64-AVRO fingerprint, the datum."""
    return SINGLE_OBJECT + schema.rabin() + encode_datum(schema, record)


class SingleObjects:
    """Reads messages in single-object encoding that were written with any of the given schemas.

    Parameters
    ----------
    schemas
        The schemas that are known, older versions too.
    """

    def __init__(self, schemas: Iterable[WriterSchema]) -> None:
        self._schemas = {schema.rabin(): schema for schema in schemas}

    def decode(self, message: bytes) -> Any:
        """The record of a message.

        Raises
        ------
        Poison
            ``magic``: not single-object encoding; ``schema_unknown``: of a schema that is not known; else as
            `decode_datum`.
        """
        if len(message) < 10 or message[:2] != SINGLE_OBJECT:
            raise Poison("magic", "the message is not in Avro single-object encoding")
        schema = self._schemas.get(message[2:10])
        if schema is None:
            raise Poison("schema_unknown", f"no known schema has the fingerprint {message[2:10].hex()}")
        return decode_datum(schema, message[10:])


__all__ = [
    "SINGLE_OBJECT",
    "SingleObjects",
    "check_datum",
    "decode_datum",
    "encode_datum",
    "encode_single",
    "encode_wire",
    "wire_head",
]
