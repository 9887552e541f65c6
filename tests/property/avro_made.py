"""Avro schemas, data and encodings that hypothesis makes up: every type, any block layout."""

from __future__ import annotations

import itertools
import json
import struct
from typing import Any

from hypothesis import strategies as st

PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
LOGICAL = {"int": "date", "long": "timestamp-micros", "bytes": "decimal", "string": "uuid"}
WIDE = tuple(name for name in PRIMITIVES if name != "null")


def varint(value: int) -> bytes:
    """A zigzag varint in as few bytes as it takes."""
    left = (value << 1) ^ (value >> 63)
    left &= (1 << 64) - 1
    out = bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*out, left])


def text_of(schema: Any) -> str:
    """The JSON of a schema in which a named type that stands more than once is written out once."""
    return json.dumps(_named_once(schema, set()))


def _named_once(schema: Any, seen: set[str]) -> Any:
    if isinstance(schema, list):
        return [_named_once(branch, seen) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("name") in seen:
        return schema["name"]
    if "name" in schema:
        seen.add(schema["name"])
    inner = {key: _named_once(schema[key], seen) for key in ("items", "values") if key in schema}
    if "fields" in schema:
        inner["fields"] = [{**field, "type": _named_once(field["type"], seen)} for field in schema["fields"]]
    return {**schema, **inner}


@st.composite
def schemas(draw: st.DrawFn, depth: int = 3) -> dict[str, Any]:
    """A record of up to eight fields; a record that stands more than once is one object."""
    names = (f"T{i}" for i in itertools.count())
    known: list[Any] = []
    return _record(draw, names, known, depth)


def _record(draw: st.DrawFn, names: Any, known: list[Any], depth: int, least: int = 0) -> dict[str, Any]:
    name = next(names)
    kinds: list[Any] = []
    for _ in range(draw(st.integers(least, 8))):
        if draw(st.integers(0, 5)) == 0:
            kinds += [_run_of(draw)] * draw(st.integers(2, 9))
        else:
            kinds.append(_type(draw, names, known, depth - 1))
    fields = [{"name": f"f{i}", "type": kind} for i, kind in enumerate(kinds)]
    if least:
        fields.append({"name": "solid", "type": draw(st.sampled_from(WIDE))})
    record = {"type": "record", "name": name, "fields": fields}
    known.append(record)
    return record


def _run_of(draw: st.DrawFn) -> Any:
    """A type for several fields in a row."""
    name = draw(st.sampled_from(WIDE))
    return draw(st.sampled_from([name, ["null", name], [name, "null"]]))


def _type(draw: st.DrawFn, names: Any, known: list[Any], depth: int) -> Any:
    kinds = ["primitive", "nullable", "nullable", "enum", "fixed"]
    if depth > 0 and known:
        kinds += ["again"]
    if depth > 0:
        kinds += ["array", "map", "union", "record", "nullable record"]
    match draw(st.sampled_from(kinds)):
        case "primitive":
            return _primitive(draw, PRIMITIVES)
        case "nullable":
            return draw(st.permutations(["null", _solid(draw, names)]))
        case "enum":
            return _enum(draw, names)
        case "fixed":
            return {"type": "fixed", "name": next(names), "size": draw(st.integers(0, 20))}
        case "array":
            return {"type": "array", "items": _item(draw, names, known, depth)}
        case "map":
            return {"type": "map", "values": _item(draw, names, known, depth)}
        case "union":
            branches = draw(st.lists(st.sampled_from(PRIMITIVES), min_size=1, max_size=4, unique=True))
            if draw(st.booleans()):
                branches.append(_record(draw, names, known, depth - 1))
            if draw(st.booleans()):
                branches.append({"type": "array", "items": _item(draw, names, known, depth)})
            return draw(st.permutations(branches))
        case "record":
            return _record(draw, names, known, depth)
        case "again":
            return draw(st.sampled_from(known))
        case _:
            return draw(st.permutations(["null", _record(draw, names, known, depth)]))


def _primitive(draw: st.DrawFn, choice: tuple[str, ...]) -> Any:
    name = draw(st.sampled_from(choice))
    if name in LOGICAL and draw(st.integers(0, 4)) == 0:
        return {"type": name, "logicalType": LOGICAL[name], "precision": 4}
    return name


def _solid(draw: st.DrawFn, names: Any) -> Any:
    """A type of at least one byte that is no union."""
    match draw(st.integers(0, 9)):
        case 0:
            return _enum(draw, names)
        case 1:
            return {"type": "fixed", "name": next(names), "size": draw(st.integers(1, 20))}
        case _:
            return _primitive(draw, WIDE)


def _enum(draw: st.DrawFn, names: Any) -> dict[str, Any]:
    count = draw(st.sampled_from([1, 2, 5, 64, 65, 200]))
    return {"type": "enum", "name": next(names), "symbols": [f"S{i}" for i in range(count)]}


def _item(draw: st.DrawFn, names: Any, known: list[Any], depth: int) -> Any:
    match draw(st.integers(0, 3)):
        case 0:
            return _solid(draw, names)
        case 1:
            return draw(st.permutations(["null", _solid(draw, names)]))
        case _:
            return _record(draw, names, known, depth - 1, least=1)


def data_of(schema: Any) -> st.SearchStrategy[Any]:
    """Data of a schema: records as dicts, a union's value as (branch, value)."""
    if isinstance(schema, list):
        return st.integers(0, len(schema) - 1).flatmap(lambda i: data_of(schema[i]).map(lambda value: (i, value)))
    if isinstance(schema, dict):
        match schema["type"]:
            case "record":
                return st.fixed_dictionaries({f["name"]: data_of(f["type"]) for f in schema["fields"]})
            case "array":
                return st.lists(data_of(schema["items"]), max_size=5)
            case "map":
                return st.dictionaries(st.text(max_size=8), data_of(schema["values"]), max_size=4)
            case "enum":
                return st.sampled_from(schema["symbols"])
            case "fixed":
                return st.binary(min_size=schema["size"], max_size=schema["size"])
            case name:
                return data_of(name)
    return {
        "null": st.none(),
        "boolean": st.booleans(),
        "int": st.integers(-(2**31), 2**31 - 1) | st.integers(-70, 70),
        "long": st.integers(-(2**63), 2**63 - 1) | st.integers(-70, 70),
        "float": st.floats(width=32),
        "double": st.floats(),
        "bytes": st.binary(max_size=40),
        "string": st.text(max_size=40),
    }[schema]


def plain(schema: Any, data: Any) -> Any:
    """The data as fastavro gives them: without branch numbers."""
    if isinstance(schema, list):
        return plain(schema[data[0]], data[1])
    if isinstance(schema, dict):
        match schema["type"]:
            case "record":
                return {f["name"]: plain(f["type"], data[f["name"]]) for f in schema["fields"]}
            case "array":
                return [plain(schema["items"], item) for item in data]
            case "map":
                return {key: plain(schema["values"], value) for key, value in data.items()}
    return data


def encode(schema: Any, data: Any, draw: Any) -> bytes:
    """Avro binary; blocks are split and sized as `draw` says (a function that gives a number up to its argument)."""
    if isinstance(schema, list):
        return varint(data[0]) + encode(schema[data[0]], data[1], draw)
    if isinstance(schema, dict):
        match schema["type"]:
            case "record":
                return b"".join(encode(f["type"], data[f["name"]], draw) for f in schema["fields"])
            case "array":
                return _blocks([encode(schema["items"], item, draw) for item in data], draw)
            case "map":
                values = schema["values"]
                return _blocks(
                    [encode("string", key, draw) + encode(values, value, draw) for key, value in data.items()], draw
                )
            case "enum":
                return varint(schema["symbols"].index(data))
            case "fixed":
                return data
            case name:
                return encode(name, data, draw)
    match schema:
        case "null":
            return b""
        case "boolean":
            return bytes([data])
        case "int" | "long":
            return varint(data)
        case "float":
            return struct.pack("<f", data)
        case "double":
            return struct.pack("<d", data)
        case "bytes":
            return varint(len(data)) + data
        case _:
            return varint(len(data.encode())) + data.encode()


def _blocks(items: list[bytes], draw: Any) -> bytes:
    out = b""
    while items:
        count = 1 + draw(len(items) - 1)
        block, items = b"".join(items[:count]), items[count:]
        out += varint(count) + block if draw(1) else varint(-count) + varint(len(block)) + block
    return out + b"\x00"
