"""What inserts many rows into a table: statements of a bounded size, as each database takes them best."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from stream.level1.literals import statements, tuples
from stream.level1.packed import Cells, pack
from stream.tables.bulk import Bulk

STATEMENT_BYTES = 1 << 20
"""Bytes of the rows of one INSERT: measured, larger ones are no faster. The server must take more of a statement."""


@dataclass(frozen=True, slots=True)
class Statement:
    """Text and parameters: a list with one tuple a row, or one tuple with all rows as a `Bulk`."""

    sql: str
    parameters: list[tuple[Any, ...]] | tuple[Bulk]


def inserts(
    into: str,
    columns: Mapping[str, Cells],
    dialect: str,
    *,
    tails: Sequence[str] = ("",),
    max_bytes: int = STATEMENT_BYTES,
) -> tuple[tuple[Statement, ...], ...]:
    """What inserts the rows (at least one) of `columns` into the table `into`: once for each of `tails`. CPU work.

    Parameters
    ----------
    columns
        By their names in the model.
    dialect
        ``mysql`` or ``sqlite``, as ``engine.dialect.name`` has it.
    tails
        What stands at the end of each statement.
    max_bytes
        Bytes of the rows of one statement.
    """
    quote = '"' if dialect == "sqlite" else "`"
    names, marks = ", ".join(f"{quote}{name}{quote}" for name in columns), ", ".join("?" * len(columns))
    head, cells = f"INSERT INTO {into} ({names}) VALUES", list(columns.values())
    if dialect == "sqlite":
        rows = list(zip(*(one.arrow().to_pylist() for one in cells), strict=True))
        return tuple((Statement(f"{head} ({marks}) {tail}", rows),) for tail in tails)
    packed = pack(cells)

    def text(first: int, last: int, tail: str) -> Iterator[str]:
        return statements(head, tuples([one.piece(first, last).arrow() for one in cells]), tail, max_bytes)

    def bulk(first: int, last: int, piece: bytes, tail: str) -> Statement:
        sql = f"{head} ({marks}) {tail}"
        return Statement(sql, (Bulk(sql, packed.types, piece, partial(text, first, last, tail)),))

    made, first = list[tuple[Statement, ...]](), 0
    while first < len(packed.ends):
        last = packed.upto(first, max_bytes)
        piece = packed.piece(first, last)
        made.append(tuple(bulk(first, last, piece, tail) for tail in tails))
        first = last
    return tuple(zip(*made, strict=True))
