"""Avro records encoded a batch at a time: many rows of primitive fields at once, with the place of each field.

fastavro needs 30 µs a record of a hundred fields, one by one; here the fields are columns and the bytes of all rows are
laid side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.errors import Fatal

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Values = NDArray[Any]

_WIDTHS = {"boolean": "u1", "float": "<f4", "double": "<f8"}
_SEVEN = np.arange(0, 70, 7, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class FieldType:
    """A primitive field: its Avro type and, if it is a union with null, the bytes of its two branches."""

    name: str
    kind: str
    value_branch: bytes = b""
    null_branch: bytes = b""

    @classmethod
    def of(cls, field: Mapping[str, Any]) -> FieldType:
        """The type of a field of an expanded schema.

        Raises
        ------
        Fatal
            Code ``synthetic_model``: the field is no primitive, nor a union of one with null.
        """
        kind, value_branch, null_branch = split_union(field["type"])
        if isinstance(kind, dict):
            kind = kind["type"]
        if kind not in ("boolean", "int", "long", "float", "double", "string"):
            raise Fatal("synthetic_model", f"field {field['name']} is {kind}: only primitives have distributions")
        return cls(field["name"], kind, value_branch, null_branch)


def split_union(kind: Any) -> tuple[Any, bytes, bytes]:
    """The type that is not null, and the branch bytes of it and of null (empty where there is no union)."""
    if not isinstance(kind, list):
        return kind, b"", b""
    null = kind.index("null")
    value = next(index for index in range(len(kind)) if index != null)
    return kind[value], bytes([2 * value]), bytes([2 * null])


@dataclass(frozen=True, slots=True)
class Rows:
    """Encoded rows: row i is ``buffer[bounds[i]:bounds[i + 1]]``.

    Attributes
    ----------
    at
        Where each row's value of a field begins, by the field's name.
    null
        Where a field is null, by name; None: nowhere.
    """

    buffer: Bytes
    bounds: NDArray[np.int64]
    at: dict[str, NDArray[np.int64]]
    null: dict[str, Mask | None]

    def there(self, name: str) -> Mask:
        """Which rows have a value in this field."""
        null = self.null[name]
        return np.ones(len(self.bounds) - 1, dtype=np.bool_) if null is None else ~null

    def pieces(self) -> list[bytes]:
        """Each row's bytes."""
        whole, bounds = self.buffer.tobytes(), self.bounds.tolist()
        return [whole[start:end] for start, end in pairwise(bounds)]


def encode_rows(fields: list[FieldType], columns: Mapping[str, tuple[Values, Mask | None]], n: int) -> Rows:
    """Encode `n` records.

    Parameters
    ----------
    fields
        The record's fields, in order.
    columns
        For each field its values (numbers, booleans, or bytes for text) and where it is null (None: nowhere).
    """
    parts: list[Bytes] = []
    masks: list[Mask] = []
    starts: list[tuple[str, int]] = []
    width = 0
    for field in fields:
        values, null = columns[field.name]
        body, used = _encode(field.kind, values)
        if field.value_branch:
            absent = np.zeros(n, dtype=np.bool_) if null is None else null
            branch = np.where(absent, field.null_branch[0], field.value_branch[0]).astype(np.uint8)
            body = np.concatenate([branch[:, None], body], axis=1)
            used = np.concatenate([np.ones((n, 1), dtype=np.bool_), used & ~absent[:, None]], axis=1)
        starts.append((field.name, width + len(field.value_branch)))
        parts.append(body)
        masks.append(used)
        width += body.shape[1]
    everything, kept = np.concatenate(parts, axis=1), np.concatenate(masks, axis=1)
    bounds = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    before: NDArray[np.int64] = np.cumsum(kept, axis=1) - kept
    at = {name: bounds[:-1] + before[:, place] for name, place in starts}
    return Rows(everything[kept], bounds, at, {field.name: columns[field.name][1] for field in fields})


@lru_cache(maxsize=4096)
def varint(value: int) -> bytes:
    """One Avro int or long."""
    rest = (value << 1) ^ (value >> 63)
    encoded = bytearray()
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


def _encode(kind: str, values: Values) -> tuple[Bytes, Mask]:
    if kind in ("int", "long"):
        return _varints(values.astype(np.int64))
    if kind == "string":
        return _texts(values)
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(values.astype(_WIDTHS[kind]))
    body = numbers.view(np.uint8).reshape(len(values), numbers.itemsize)
    return body, np.ones(body.shape, dtype=np.bool_)


def _varints(values: NDArray[np.int64]) -> tuple[Bytes, Mask]:
    zigzag = ((values << 1) ^ (values >> 63)).view(np.uint64)
    longest = len(varint(int(zigzag.max(initial=0)) >> 1))
    if longest == 1:
        return zigzag.astype(np.uint8)[:, None], np.ones((len(values), 1), dtype=np.bool_)
    shifted = zigzag[:, None] >> _SEVEN[None, :longest]
    used = shifted != 0
    used[:, 0] = True
    body = (shifted & np.uint64(0x7F)).astype(np.uint8)
    body[:, :-1] |= used[:, 1:].view(np.uint8) << 7
    return body, used


def _texts(values: Values) -> tuple[Bytes, Mask]:
    texts = [bytes(value) for value in values.tolist()]
    rows = [varint(len(text)) + text for text in texts]
    longest = max(map(len, rows), default=1)
    lengths = np.array([len(row) for row in rows])
    body = np.frombuffer(b"".join(row.ljust(longest, b"\0") for row in rows), dtype=np.uint8)
    return body.reshape(len(rows), longest), np.arange(longest)[None, :] < lengths[:, None]
