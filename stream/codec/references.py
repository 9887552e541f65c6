"""Schemas that refer to other subjects of a registry: made whole, each type written out where it is used first."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, get_args

from stream.codec.avro_type import PrimitiveName
from stream.codec.gate import MAX_DEPTH, MAX_TEXT, parse_json, refused

MAX_REFERENCES = 64
"""Other subjects that a schema may need, those that they need included."""
_PRIMITIVES = frozenset(get_args(PrimitiveName))


def whole(text: str, others: Iterable[str]) -> str:
    """The text of a schema with the types of the `others` in it.

    Parameters
    ----------
    text
        The schema as it came.
    others
        The schemas of the subjects that it refers to, and of those that they refer to.

    Raises
    ------
    Poison
        ``schema_refused``: one of them is not JSON, or they are too long or nested too deep together.
    """
    known: dict[str, Any] = {}
    size = len(text)
    for other in others:
        size += len(other)
        if size > MAX_TEXT:
            raise refused(f"its text and those that it refers to are longer than {MAX_TEXT} bytes")
        parsed = parse_json(other)
        if isinstance(parsed, dict) and isinstance(parsed.get("name"), str):
            space, full = _names(parsed, "")
            known[full] = parsed | {"name": full, "namespace": space}
    return json.dumps(_Inliner(known).type(parse_json(text), "", 0))


def _names(kind: dict[str, Any], namespace: str) -> tuple[str, str]:
    """The namespace inside a named type, and its full name."""
    name, space = kind["name"], kind.get("namespace", namespace)
    full = name if "." in name or not isinstance(space, str) or not space else f"{space}.{name}"
    return full.rpartition(".")[0], full


class _Inliner:
    """Writes known types out; what is no proper schema stays for the gate to refuse."""

    def __init__(self, known: dict[str, Any]) -> None:
        self._known = known

    def type(self, kind: Any, namespace: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise refused(f"its types are nested more than {MAX_DEPTH} deep")
        if isinstance(kind, str):
            return self._named(kind, namespace, depth)
        if isinstance(kind, list):
            return [self.type(branch, namespace, depth + 1) for branch in kind]
        if not isinstance(kind, dict):
            return kind
        if isinstance(kind.get("name"), str):
            namespace, full = _names(kind, namespace)
            self._known.pop(full, None)
        made = dict(kind)
        for inside in ("items", "values"):
            if inside in kind:
                made[inside] = self.type(kind[inside], namespace, depth + 1)
        if isinstance(kind.get("fields"), list):
            made["fields"] = [
                field | {"type": self.type(field["type"], namespace, depth + 1)}
                if isinstance(field, dict) and "type" in field
                else field
                for field in kind["fields"]
            ]
        return made

    def _named(self, name: str, namespace: str, depth: int) -> Any:
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        if name in _PRIMITIVES or full not in self._known:
            return name
        return self.type(self._known.pop(full), "", depth)
