"""Which rows of a batch the database server refuses: found by halving, in transactions that are rolled back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncEngine

from stream.alert import Level1Column, RecordId
from stream.errors import Poison
from stream.level1.rows import Values, ready
from stream.level1.write import insert_rows


async def suspects(
    engine: AsyncEngine, columns: Mapping[str, Values], part: NDArray[np.int64], statement_bytes: int
) -> dict[RecordId, Poison]:
    """The records among `columns` whose rows the server refuses (1264, 1366, 1406), each with what it said."""
    found: dict[RecordId, Poison] = {}
    stack = [np.arange(len(part))]
    while stack:
        rows = stack.pop()
        error = await _refused(engine, _cut(columns, rows), part[rows], statement_bytes)
        if error is None:
            continue
        if len(rows) == 1:
            found[_record(columns, int(rows[0]))] = error
        else:
            half = len(rows) // 2
            stack += [rows[:half], rows[half:]]
    return found


async def _refused(
    engine: AsyncEngine, columns: Mapping[str, Values], part: NDArray[np.int64], statement_bytes: int
) -> Poison | None:
    batch = ready(columns, part, dialect=engine.dialect.name, max_bytes=statement_bytes)
    async with engine.connect() as connection:
        try:
            await insert_rows(connection, batch)
        except Poison as error:
            return error
        finally:
            await connection.rollback()
    return None


def _cut(columns: Mapping[str, Values], rows: NDArray[np.int64]) -> dict[str, Values]:
    cut: dict[str, Values] = {}
    for name, column in columns.items():
        if isinstance(column, Level1Column):
            cut[name] = Level1Column(column.values[rows], column.null[rows])
        else:
            cut[name] = column if isinstance(column, int) else column[rows]
    return cut


def _record(columns: Mapping[str, Values], row: int) -> RecordId:
    cells = []
    for name in ("stream", "kafkaPartition", "kafkaOffset"):
        column = columns[name]
        values = column.values if isinstance(column, Level1Column) else np.atleast_1d(column)
        cells.append(int(values[row]))
    return RecordId(*cells)
