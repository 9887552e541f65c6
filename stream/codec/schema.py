"""A writer schema: its text as it came, its fingerprint, and the types that were resolved from it."""

from __future__ import annotations

import hashlib
import json
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
        The schema's JSON: what files that hold its data embed. As it came, but where an Avro tool would not read a
        file with it (a default that does not fit its field) it has no defaults.
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
        came = parse_json(text)
        passed = Gate().take(came)
        try:
            parsed = fastavro.parse_schema(passed.clean, named_schemas={}, _ignore_default_error=True)
            canonical = to_parsing_canonical_form(parsed)
        except (SchemaParseException, UnknownType, TypeError, ValueError, ArithmeticError) as error:
            raise refused(str(error)) from error
        return cls(
            id, _readable(text, came, passed.clean), hashlib.sha256(canonical.encode()).hexdigest(), parsed, passed.root
        )

    def rabin(self) -> bytes:
        """The CRC-64-AVRO fingerprint as eight little-endian bytes (Avro single-object encoding)."""
        return bytes.fromhex(fingerprint(to_parsing_canonical_form(self.parsed), "CRC-64-AVRO"))


def _readable(text: str, came: Any, clean: Any) -> str:
    """The schema's text as fastavro takes it in a file's header: as it came, without defaults, or bare."""
    for schema in (came, plain := _without_defaults(came)):
        try:
            fastavro.parse_schema(schema, named_schemas={}, _write_hint=False, _force=True)
        except Exception:  # noqa: S112 (whatever fastavro raises on what the gate does not look at)
            continue
        return text if schema is came else json.dumps(plain)
    return json.dumps(_without_defaults(clean))


def _without_defaults(kind: Any) -> Any:
    """A schema that passed the gate, without the defaults of its fields and enums."""
    if isinstance(kind, list):
        return [_without_defaults(branch) for branch in kind]
    if not isinstance(kind, dict):
        return kind
    bare = {key: value for key, value in kind.items() if key != "default"}
    for inside in ("type", "items", "values"):
        if inside in bare:
            bare[inside] = _without_defaults(bare[inside])
    if isinstance(bare.get("fields"), list):
        bare["fields"] = [_without_defaults(field) for field in bare["fields"]]
    return bare
