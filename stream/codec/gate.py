"""The gate that every writer schema passes before anything is compiled from it.

A schema comes from outside as much as a packet does. Nothing here recurses deeper than the text's own nesting, which is
counted first, without parsing.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, get_args

from stream.codec.avro_type import (
    Array,
    AvroType,
    Enum,
    Fixed,
    Map,
    Primitive,
    PrimitiveName,
    Record,
    Union,
    children,
    is_null,
)
from stream.errors import Poison

MAX_TEXT = 4 * 1024 * 1024
"""Bytes of a schema's text."""
MAX_DEPTH = 32
"""Records, arrays, maps and unions inside one another."""
MAX_FIELDS = 4096
"""Record fields and union branches that the text declares."""
MAX_EXPANDED = 65_536
"""Nodes once every use of a named type counts as a copy of it: what bounds the program."""
MAX_IDLE = 64
"""Zero-width types (null, empty records) inside an array's item: work that no byte of a packet pays for."""
MAX_FIXED = 2**31 - 1
"""Bytes of a fixed type."""
MAX_NESTING = 160
"""Brackets inside one another in the text: five for each level of the types."""

MAX_REASON = 400
"""Characters of what is said to be wrong: names may have millions, and each message that is refused says it."""

_BRACKET = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_FULL_NAME = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_]*\.)*[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_PRIMITIVES: dict[str, AvroType] = {name: Primitive(name) for name in get_args(PrimitiveName)}


def refused(reason: str) -> Poison:
    """The error of a schema that does not pass."""
    said = reason if len(reason) <= MAX_REASON else f"{reason[:MAX_REASON]}…"
    return Poison(
        "schema_refused", f"the writer schema is refused: {said}", "see docs/reference/packet-check.md for the limits"
    )


def parse_json(text: str) -> Any:
    """Parse the text of a schema, its size and nesting bounded before the JSON parser recurses.

    Raises
    ------
    Poison
        ``schema_refused``.
    """
    try:
        size = max(len(text), len(text[: MAX_TEXT + 1].encode()))
    except UnicodeEncodeError as error:
        raise refused("its text cannot be written as UTF-8") from error
    if size > MAX_TEXT:
        raise refused(f"its text is longer than {MAX_TEXT} bytes")
    depth = 0
    for found in _BRACKET.finditer(text):
        first = found.group()[0]
        if first in "[{":
            depth += 1
            if depth > MAX_NESTING:
                raise refused(f"its JSON is nested more than {MAX_NESTING} deep")
        elif first in "]}":
            depth -= 1
    try:
        return json.loads(text)
    except ValueError as error:
        raise refused(f"it is not JSON: {error}") from error


@dataclass(frozen=True, slots=True)
class Facts:
    """What the limits look at, of one type with all that is in it."""

    depth: int
    expanded: int
    idle: int
    zero_width: bool


@dataclass(frozen=True, slots=True)
class Passed:
    """A schema that passed: the tree of its types and the same as plain JSON, with full names and nothing else."""

    root: AvroType
    clean: Any
    facts: Facts


def _named(full: str) -> dict[str, str]:
    """How a type says its full name, whatever the namespace in which it stands."""
    return {"name": full} if "." in full else {"name": full, "namespace": ""}


def _idle(kind: AvroType, inner: list[Facts]) -> int:
    if isinstance(kind, Union):
        return max(0 if is_null(branch) else facts.idle for branch, facts in zip(kind.branches, inner, strict=True))
    return sum(facts.idle for facts in inner)


class Gate:
    """Resolves one schema; every limit is checked while the tree is built, so that no tree beyond them exists."""

    def __init__(self) -> None:
        self._named: dict[str, AvroType | None] = {}
        self._facts: dict[int, Facts] = {}
        self._kept: list[AvroType] = []
        self._fields = 0

    def take(self, schema: Any) -> Passed:
        """Resolve a parsed JSON schema.

        Raises
        ------
        Poison
            ``schema_refused``.
        """
        root, clean = self._type(schema, "", 0)
        return Passed(root, clean, self._facts[id(root)])

    def _type(self, schema: Any, namespace: str, depth: int) -> tuple[AvroType, Any]:
        if depth > MAX_DEPTH:
            raise refused(f"its types are nested more than {MAX_DEPTH} deep")
        if isinstance(schema, str):
            return self._reference(schema, namespace)
        if isinstance(schema, list):
            return self._union(schema, namespace, depth)
        if not isinstance(schema, dict):
            raise refused(f"a type is {type(schema).__name__}, not a name, an object or a list")
        name = schema.get("type")
        if name in ("record", "error"):
            return self._record(schema, namespace, depth)
        if name in ("array", "map"):
            return self._blocks(schema, name, namespace, depth)
        if name in ("enum", "fixed"):
            return self._leaf(schema, name, namespace)
        if isinstance(name, str) and name in _PRIMITIVES:
            return self._note(_PRIMITIVES[name]), name
        raise refused(f"no such type: {str(name)[:80]!r}")

    def _reference(self, name: str, namespace: str) -> tuple[AvroType, Any]:
        if name in _PRIMITIVES:
            return self._note(_PRIMITIVES[name]), name
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        if full not in self._named:
            raise refused(f"no such type: {full[:80]!r}")
        found = self._named[full]
        if found is None:
            raise refused(f"{full} contains itself")
        return found, full

    def _union(self, schema: list[Any], namespace: str, depth: int) -> tuple[AvroType, Any]:
        if not schema:
            raise refused("a union is empty")
        self._count(len(schema))
        branches = [self._type(branch, namespace, depth + 1) for branch in schema]
        if any(isinstance(branch, Union) for branch, _ in branches):
            raise refused("a union stands directly in a union")
        return self._note(Union(tuple(branch for branch, _ in branches))), [clean for _, clean in branches]

    def _record(self, schema: dict[str, Any], namespace: str, depth: int) -> tuple[AvroType, Any]:
        full, inner = self._define(schema, namespace)
        declared = schema.get("fields", [])
        if not isinstance(declared, list):
            raise refused(f"the fields of {full} are not a list")
        self._count(len(declared))
        fields: list[tuple[str, AvroType]] = []
        clean = []
        for field in declared:
            name = field.get("name") if isinstance(field, dict) else None
            if not isinstance(name, str) or not _NAME.fullmatch(name) or "type" not in field:
                raise refused(f"a field of {full} has no proper name or no type")
            kind, plain = self._type(field["type"], inner, depth + 1)
            fields.append((name, kind))
            clean.append({"name": name, "type": plain} | ({"default": field["default"]} if "default" in field else {}))
        if len({name for name, _ in fields}) != len(fields):
            raise refused(f"{full} has two fields of one name")
        record = self._note(Record(tuple(fields)))
        self._named[full] = record
        return record, {"type": "record", **_named(full), "fields": clean}

    def _blocks(self, schema: dict[str, Any], name: str, namespace: str, depth: int) -> tuple[AvroType, Any]:
        inside = "items" if name == "array" else "values"
        if inside not in schema:
            raise refused(f"{name} without {inside}")
        item, clean = self._type(schema[inside], namespace, depth + 1)
        facts = self._facts[id(item)]
        if facts.zero_width:
            raise refused(f"the {inside} of {name} take no bytes, so that a packet could claim any number of them")
        if facts.idle > MAX_IDLE:
            raise refused(f"the {inside} of {name} hold more than {MAX_IDLE} types that take no bytes")
        return self._note(Array(item) if name == "array" else Map(item)), {"type": name, inside: clean}

    def _leaf(self, schema: dict[str, Any], name: str, namespace: str) -> tuple[AvroType, Any]:
        full, _ = self._define(schema, namespace)
        leaf: AvroType
        more: dict[str, Any]
        if name == "fixed":
            size = schema.get("size")
            if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_FIXED:
                raise refused(f"the size of {full} is not a number of bytes")
            leaf, more = Fixed(size), {"size": size}
        else:
            symbols = schema.get("symbols")
            if not isinstance(symbols, list) or len(symbols) > MAX_EXPANDED:
                raise refused(f"{full} has no list of symbols")
            if not all(isinstance(symbol, str) and _NAME.fullmatch(symbol) for symbol in symbols):
                raise refused(f"{full} has a symbol that is not a name")
            leaf, more = Enum(tuple(symbols)), {"symbols": symbols}
        self._named[full] = self._note(leaf)
        return leaf, {"type": name, **_named(full)} | more

    def _define(self, schema: dict[str, Any], namespace: str) -> tuple[str, str]:
        name, space = schema.get("name"), schema.get("namespace", namespace)
        if space is None:
            # Not the enclosing one: that is how fastavro reads it.
            space = ""
        if not isinstance(name, str) or not isinstance(space, str):
            raise refused("a named type has no name")
        full = name if "." in name or not space else f"{space}.{name}"
        if not _FULL_NAME.fullmatch(full):
            raise refused(f"not a name: {full[:80]!r}")
        if full in self._named:
            raise refused(f"{full} is defined twice")
        self._named[full] = None
        return full, full.rpartition(".")[0]

    def _count(self, more: int) -> None:
        self._fields += more
        if self._fields > MAX_FIELDS:
            raise refused(f"it declares more than {MAX_FIELDS} fields and branches")

    def _note(self, kind: AvroType) -> AvroType:
        inner = [self._facts[id(child)] for child in children(kind)]
        zero = (
            is_null(kind)
            or (isinstance(kind, Fixed) and kind.size == 0)
            or (isinstance(kind, Record) and all(facts.zero_width for facts in inner))
        )
        facts = Facts(
            depth=max((facts.depth for facts in inner), default=-1) + 1,
            expanded=1 + sum(facts.expanded for facts in inner),
            idle=_idle(kind, inner) + zero,
            zero_width=zero,
        )
        if facts.depth > MAX_DEPTH:
            raise refused(f"its types are nested more than {MAX_DEPTH} deep")
        if facts.expanded > MAX_EXPANDED:
            raise refused(f"it has more than {MAX_EXPANDED} fields once its named types are written out")
        self._kept.append(kind)
        self._facts[id(kind)] = facts
        return kind
