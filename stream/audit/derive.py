"""What Level-1 should say of a packet: fields decoded by fastavro, put through the survey file's rules."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

import fastavro
import numpy as np
from fastavro.schema import fingerprint, to_parsing_canonical_form

from stream.alert import Column, Level1Column, Refusal
from stream.audit.notes import Damaged
from stream.survey import Survey

Fields = tuple[Any, ...]
"""The wanted fields of one packet, in the order of `Decoder.paths`."""


@lru_cache(maxsize=32)
def decoder_of(schema: str, paths: frozenset[str]) -> Decoder:
    """The decoder of a schema, kept: parsing a large schema takes ten times as long as decoding a packet."""
    return Decoder(schema, paths)


@lru_cache(maxsize=32)
def fingerprint_of(schema: str) -> str:
    """SHA-256 (hex) of a schema's parsing canonical form."""
    return str(fingerprint(to_parsing_canonical_form(json.loads(schema)), "SHA-256"))


class Decoder:
    """Decodes the wanted fields of packets of one writer schema.

    A record's encoding is that of its fields one after the other, so a schema that ends after the last wanted field
    reads the beginning of the packet: histories and images behind it cost nothing.

    Parameters
    ----------
    schema
        The writer schema's JSON.
    paths
        Dotted paths of the fields that a survey's columns come from.
    """

    def __init__(self, schema: str, paths: Collection[str]) -> None:
        plain = _bare(json.loads(schema))
        known = _paths(plain, {})
        self.paths = tuple(sorted(path for path in paths if path in known))
        tops = {path.split(".")[0] for path in self.paths}
        names = [each["name"] for each in plain["fields"]] if isinstance(plain, dict) else []
        last = max((names.index(top) for top in tops), default=-1)
        self._cut = fastavro.parse_schema({**plain, "fields": plain["fields"][: last + 1]})
        self._split = tuple(tuple(path.split(".")) for path in self.paths)

    def datum(self, datum: bytes | memoryview) -> Fields:
        """The wanted fields of one Avro datum; raises `Damaged` where it cannot be decoded."""
        try:
            record = fastavro.schemaless_reader(io.BytesIO(datum), self._cut, None)
        except Exception as error:  # whatever fastavro raises on bytes that are no packet
            raise Damaged(f"a packet cannot be decoded: {error!r}"[:200]) from error
        return tuple(_pick(record, path) for path in self._split)


def message_fields(message: bytes, survey: Survey) -> tuple[tuple[str, ...], list[Fields]]:
    """The paths and wanted fields of each record in a message that is a container file; raises `Damaged`."""
    try:
        reader = fastavro.reader(io.BytesIO(message))
        schema = _bare(reader.writer_schema)
        decoder_paths = tuple(sorted(path for path in survey.paths if path in _paths(schema, {})))
        split = [path.split(".") for path in decoder_paths]
        return decoder_paths, [tuple(_pick(record, path) for path in split) for record in reader]
    except Exception as error:  # whatever fastavro raises on bytes that are no container
        raise Damaged(f"a message cannot be decoded: {error!r}"[:200]) from error


def level1_columns(
    survey: Survey, paths: Sequence[str], rows: Sequence[Fields]
) -> tuple[dict[str, Level1Column], list[Refusal]]:
    """Level-1's columns from ``night`` to ``flags``, a row for each of `rows`, and the rows that cannot be taken."""
    texts = bytearray()
    columns = {path: _column([row[k] for row in rows], texts) for k, path in enumerate(paths)}
    return survey.convert(columns, bytes(texts), len(rows))


def _column(values: Sequence[Any], texts: bytearray) -> Column:
    null = np.array([value is None for value in values], np.bool_)
    first = next((value for value in values if value is not None), 0)
    if isinstance(first, str | bytes):
        bounds = np.zeros((len(values), 2), np.int64)
        for row, value in enumerate(values):
            if value is not None:
                start = len(texts)
                texts += value.encode() if isinstance(value, str) else value
                bounds[row] = start, len(texts)
        return Column("text", bounds, null)
    if isinstance(first, float):
        return Column("float", np.array([0.0 if v is None else v for v in values], np.float64), null)
    return Column("int", np.array([0 if v is None else int(v) for v in values], np.int64), null)


def _pick(record: Any, path: Sequence[str]) -> Any:
    for name in path:
        if record is None:
            return None
        record = record[name]
    return record


def _bare(schema: Any) -> Any:
    """`schema` without logical types, so that values are as the packet has them."""
    if isinstance(schema, Mapping):
        dropped = ("logicalType", "__fastavro_parsed__", "__named_schemas__")
        return {key: _bare(value) for key, value in schema.items() if key not in dropped}
    return [_bare(item) for item in schema] if isinstance(schema, list) else schema


def _paths(schema: Any, named: dict[str, Any], prefix: str = "") -> set[str]:
    """The dotted paths of all fields that are reached without an array or a map."""
    if isinstance(schema, list):
        return {path for branch in schema for path in _paths(branch, named, prefix)}
    if isinstance(schema, str):
        schema = named.get(schema.rpartition(".")[2])
    if not isinstance(schema, dict) or schema.get("type") != "record":
        return set()
    named[schema["name"].rpartition(".")[2]] = schema
    found = set()
    for each in schema["fields"]:
        path = f"{prefix}{each['name']}"
        kind = each["type"]
        found |= {path} | _paths(kind, named, f"{path}.")
    return found
