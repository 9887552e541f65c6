"""What a column of ``level1`` can hold, from the table model: found here, before the server refuses a whole batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BIGINT, CHAR, INTEGER, SMALLINT, VARCHAR
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from stream.alert import Level1Column, Refusal
from stream.tables.model import table

_BITS = ((SMALLINT, 16), (INTEGER, 32), (BIGINT, 64))


@dataclass(frozen=True, slots=True)
class Limit:
    """Limits of one column.

    Attributes
    ----------
    nullable
        Whether NULL may stand there.
    least, most
        Of an integer column, both included; None for others.
    length
        Of a text column, in characters; None for others.
    """

    nullable: bool
    least: int | None = None
    most: int | None = None
    length: int | None = None


@cache
def limits(name: str = "level1") -> Mapping[str, Limit]:
    """The limits of every column of table `name`."""
    return {column.name: _limit(column.type, bool(column.nullable)) for column in table(name).columns}


def refused(columns: Mapping[str, Level1Column]) -> list[Refusal]:
    """Alerts of a batch with a value that ``level1`` cannot hold, one refusal an alert, in the order of rows.

    NaN and infinities count as NULL, which is what they are stored as.

    Parameters
    ----------
    columns
        Columns of ``level1`` by name; those that the table does not have are passed over.

    Returns
    -------
    list of Refusal
        With the codes ``missing_value``, ``out_of_range``, ``too_long`` and ``bad_text``.
    """
    found: dict[int, Refusal] = {}
    known = limits()
    for name, column in columns.items():
        if name not in known:
            continue
        for code, rows, reason in _wrong(name, column, known[name]):
            for row in np.flatnonzero(rows).tolist():
                found.setdefault(row, Refusal(row, code, reason))
    return [found[row] for row in sorted(found)]


def _wrong(name: str, column: Level1Column, limit: Limit) -> list[tuple[str, NDArray[np.bool_], str]]:
    values, there = column.values, ~column.null
    wrong: list[tuple[str, NDArray[np.bool_], str]] = []
    if values.dtype.kind == "f":
        there = there & np.isfinite(values)
    if not limit.nullable:
        wrong.append(("missing_value", ~there, f"{name} has no value"))
    if limit.least is not None and limit.most is not None and values.dtype.kind in "iuf":
        outside = there & ((values < limit.least) | (values > limit.most))
        wrong.append(("out_of_range", outside, f"{name} is not within {limit.least} and {limit.most}"))
    if limit.length is not None and values.dtype.kind == "O":
        wrong += _wrong_text(name, values, there, limit.length)
    return wrong


def _wrong_text(
    name: str, values: NDArray[Any], there: NDArray[np.bool_], length: int
) -> list[tuple[str, NDArray[np.bool_], str]]:
    long, bad = np.zeros(len(values), np.bool_), np.zeros(len(values), np.bool_)
    texts = values[there].tolist()
    long[there] = [len(text) > length for text in texts]
    bad[there] = [not text.isascii() and not _encodable(text) for text in texts]
    return [
        ("too_long", long, f"{name} has more than {length} characters"),
        ("bad_text", bad, f"{name} is not Unicode text"),
    ]


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _limit(kind: TypeEngine[object], nullable: bool) -> Limit:
    ours = kind.dialect_impl(mysql.dialect())
    bits = next((bits for of, bits in _BITS if isinstance(ours, of)), 0)
    if bits and getattr(ours, "unsigned", False):
        return Limit(nullable, 0, 2**bits - 1)
    if bits:
        return Limit(nullable, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if isinstance(kind, VARCHAR | CHAR):
        return Limit(nullable, length=kind.length)
    return Limit(nullable)
