"""Writer schemas as an audit reads them: names in full, without what only says how values are meant."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

from stream.alert import ColumnKind
from stream.audit.notes import Damaged

_KINDS: Mapping[str, ColumnKind] = {
    **dict.fromkeys(("boolean", "int", "long"), "int"),
    **dict.fromkeys(("float", "double"), "float"),
    **dict.fromkeys(("string", "bytes", "fixed"), "text"),
}


_QUARANTINED = [
    *("value", "cluster", "topic", "topicId", "partition", "offset", "timestamp", "key", "headers", "code", "reason")
]


def kept_whole(kind: str, schema: str) -> Any:
    """The schema of datums that hold a message behind its length; None where the datum is the packet itself.

    Raises `Damaged` where it is not that of a segment of this kind.
    """
    if kind not in ("raw", "quarantine"):
        return None
    try:
        parsed: Any = fastavro.parse_schema(json.loads(schema))
    except Exception as error:  # whatever fastavro raises on what is no schema
        raise Damaged(f"the writer schema in the header cannot be used: {error!r}"[:300]) from error
    fields = [field["name"] for field in parsed["fields"]] if isinstance(parsed, dict) and "fields" in parsed else []
    if (kind == "raw" and parsed != "bytes") or (kind == "quarantine" and fields != _QUARANTINED):
        raise Damaged(f"the schema in the header is not that of a {kind} segment")
    return parsed


def check_schema(kind: str, schema: str, fingerprint: str) -> None:
    """Raises `Damaged` where the packets of a segment cannot be read by the schema in its header."""
    if kept_whole(kind, schema) is None and fingerprint_of(schema) != fingerprint:
        raise Damaged("the writer schema in the header does not have its fingerprint")


@lru_cache(maxsize=32)
def fingerprint_of(schema: str) -> str:
    """SHA-256 (hex) of a schema's parsing canonical form; raises `Damaged` where it is no schema."""
    try:
        return str(fingerprint(to_parsing_canonical_form(bare(json.loads(schema))), "SHA-256"))
    except Exception as error:  # whatever fastavro raises on what is no schema
        raise Damaged(f"the writer schema in the header cannot be used: {error!r}"[:300]) from error


def bare(schema: Any) -> Any:
    """`schema` without logical types, so that values are as the packet has them, and without defaults, which need not
    fit and are a reader's business."""
    if isinstance(schema, Mapping):
        return {key: bare(value) for key, value in schema.items() if key not in ("logicalType", "default")}
    return [bare(item) for item in schema] if isinstance(schema, list) else schema


def column_kinds(plain: Any, paths: Collection[str]) -> dict[str, ColumnKind]:
    """The kind of column that each of `paths` gives, for those that the (bare) schema has outside arrays and maps.

    By ``docs/reference/packet-check.md``: a union of integers and floats is ``float``; what mixes text with numbers, an
    enum with other types, or ends at a record, an array or a map, is as if the schema did not have it. An enum is its
    symbol.
    """
    named: dict[str, Any] = {}
    root = fastavro.parse_schema(plain, named_schemas=named)
    kinds = {path: _kind(_leaves(root, path.split("."), named)) for path in sorted(set(paths))}
    return {path: kind for path, kind in kinds.items() if kind is not None}


def _leaves(schema: Any, parts: list[str], named: Mapping[str, Any]) -> list[str]:
    """The types, but for null, that the field at the end of a path may have."""
    if isinstance(schema, list):
        return [leaf for branch in schema for leaf in _leaves(branch, parts, named)]
    whole = named.get(schema, schema) if isinstance(schema, str) else schema
    name = str(whole["type"]) if isinstance(whole, Mapping) else str(whole)
    if parts and name == "record":
        return [leaf for f in whole["fields"] if f["name"] == parts[0] for leaf in _leaves(f["type"], parts[1:], named)]
    return [] if parts or name == "null" else [name]


def _kind(leaves: list[str]) -> ColumnKind | None:
    if leaves == ["enum"]:
        return "text"
    kinds = {_KINDS.get(leaf) for leaf in leaves}
    if kinds == {"int", "float"}:
        return "float"
    return kinds.pop() if len(kinds) == 1 else None
