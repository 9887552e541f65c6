"""Packet fields as the rules read them: the first spelling that the schema has, text out of the buffer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream.alert import Column, Columns
from stream.survey.target import Kind
from stream.survey.vocabulary import Value

Array = NDArray[np.float64] | NDArray[np.int64] | NDArray[np.object_]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of `n` packets: its values, where it is null, and of which kind it is (None: the schema lacks it)."""

    kind: Kind | None
    values: Array
    null: Mask


@dataclass(frozen=True, slots=True)
class Packets:
    """The columns of a batch, and what was found wrong with its rows on the way: the first reason a row counts."""

    columns: Columns
    buffer: memoryview
    n: int
    refused: dict[int, tuple[str, str]] = field(default_factory=dict)

    def refuse(self, rows: Mask, code: str, reason: str) -> None:
        """Mark rows as refused, those that are not marked already."""
        for row in np.flatnonzero(rows).tolist():
            self.refused.setdefault(row, (code, reason))

    def read(self, spellings: Sequence[str], needed: Mask | None = None) -> Field:
        """The field under the first of its spellings that the schema has.

        A text that is not UTF-8 refuses its row, if that is one of the `needed` rows (None: all are).
        """
        for path in spellings:
            column = self.columns.get(path)
            if column is not None:
                text = column.kind == "text" or column.symbols
                return self._texts(path, column, needed) if text else _numbers(column)
        return Field(None, np.zeros(self.n, dtype=np.int64), np.ones(self.n, dtype=np.bool_))

    def _texts(self, path: str, column: Column, needed: Mask | None) -> Field:
        values = np.empty(self.n, dtype=np.object_)
        if column.symbols:
            values[:] = [column.symbols[index] for index in column.values.tolist()]
            return Field("text", values, column.null)
        known: dict[bytes, str] = {}
        texts: list[str] = []
        bad = np.zeros(self.n, dtype=np.bool_)
        buffer = self.buffer
        for row, (start, end) in enumerate(column.values.tolist()):
            piece = bytes(buffer[start:end])
            text = known.get(piece)
            if text is None:
                try:
                    text = known[piece] = piece.decode("utf-8")
                except UnicodeDecodeError:
                    text = ""
                    bad[row] = True
            texts.append(text)
        self.refuse(bad if needed is None else bad & needed, "bad_utf8", f"{path} is not UTF-8")
        values[:] = texts
        return Field("text", values, column.null)


def _numbers(column: Column) -> Field:
    values = column.values
    if column.kind == "float":
        return Field("float", values, column.null | ~np.isfinite(values))
    return Field("int", values, column.null)


def equal(field_: Field, value: Value) -> Mask:
    """Which rows have `value`, null or not: a number with a point also as a field of 32 bits has it (-999.9)."""
    found: Mask = field_.values == value
    if field_.kind == "float" and isinstance(value, float):
        with np.errstate(over="ignore", under="ignore"):
            single = float(np.float32(value))
        if single or not value:
            found |= field_.values == single
    return found


def among(field_: Field, values: Sequence[Value]) -> Mask:
    """Which rows have one of `values`; a text never equals a number, and a null equals nothing."""
    found = np.zeros(len(field_.null), dtype=np.bool_)
    for value in values:
        if isinstance(value, str) == (field_.kind == "text"):
            found |= equal(field_, value)
    return found & ~field_.null
