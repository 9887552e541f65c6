"""A writer schema: its text as it came, its fingerprint, and the types that were resolved from it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import fastavro
from fastavro.schema import SchemaParseException, UnknownType, fingerprint, to_parsing_canonical_form

from stream.codec.avro_type import AvroType
from stream.codec.gate import Gate, parse_json, refused


@dataclass(frozen=True, slots=True)
class WriterSchema:
    """A schema that passed the gate.

    Attributes
    ----------
    id
        Its id in the source that it came from; None for the schema that a container file brings along.
    text
        The schema's JSON as it came: what files that hold its data embed.
    fingerprint
        SHA-256 (hex) of the Avro parsing canonical form: equal for schemas that read the same bytes in the same way.
    parsed
        For fastavro: full names and defaults kept, logical types taken off, so that values are as the packet has them.
    root
        The tree of its types.
    """

    id: int | None
    text: str
    fingerprint: str
    parsed: Any = field(compare=False, repr=False)
    root: AvroType = field(compare=False, repr=False)

    @classmethod
    def of(cls, text: str, id: int | None = None) -> WriterSchema:
        """Take a schema through the gate.

        Raises
        ------
        Poison
            ``schema_refused``: not an Avro schema, recursive, array items of no width, or beyond a limit of
            `stream.codec.gate`.
        """
        passed = Gate().take(parse_json(text))
        try:
            parsed = fastavro.parse_schema(passed.clean, named_schemas={}, _ignore_default_error=True)
            canonical = to_parsing_canonical_form(parsed)
        except (SchemaParseException, UnknownType, TypeError, ValueError, ArithmeticError) as error:
            raise refused(str(error)) from error
        return cls(id, text, hashlib.sha256(canonical.encode()).hexdigest(), parsed, passed.root)

    def rabin(self) -> bytes:
        """The CRC-64-AVRO fingerprint as eight little-endian bytes (Avro single-object encoding)."""
        return bytes.fromhex(fingerprint(to_parsing_canonical_form(self.parsed), "CRC-64-AVRO"))
