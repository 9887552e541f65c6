"""Columns that Level-1 got later, filled for rows that were there before, from their packets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from stream.alert import Level1Column
from stream.audit.blocks import DataFile, Head
from stream.audit.files import Absent, Files
from stream.audit.headers import newest
from stream.audit.messages import Batch, Messages
from stream.audit.remake import Maker
from stream.errors import Held, Wrong
from stream.level1.rows import Values
from stream.sky import Layout
from stream.survey import TARGETS, Survey
from stream.tables.model import table
from stream.tables.trouble import translated

_KEY = ("survey", "night", "diaSourceId", "segment", "blockOffset", "slot")
_TRIES = 5
Row = sa.Row[Any]


def refillable() -> tuple[str, ...]:
    """Columns of ``level1`` that come from the packet and may be null."""
    columns = table("level1").columns
    return tuple(target.name for target in TARGETS if columns[target.name].nullable)


@dataclass(frozen=True, slots=True)
class Refill:
    """Fills columns; a value that is there already is made the same again. Safe to run again, and while ingest runs.

    Attributes
    ----------
    survey_files
        Those at hand, by digest. A column that came later is in no file that was used before, so the strongest of a
        survey's name counts.
    columns
        Names, of those that `refillable` gives.
    """

    engine: AsyncEngine
    files: Files
    survey_files: Mapping[str, Survey]
    layout: Layout
    columns: tuple[str, ...]
    say: Callable[[str], None] = lambda line: None

    async def run(self) -> int:
        """Fill them; gives how many rows were looked at.

        Raises
        ------
        Wrong
            ``rebuild_columns``: not a column that can be filled.
        Held
            ``rebuild_survey``, ``rebuild_refused``, ``rebuild_layout``.
        """
        if unknown := sorted(set(self.columns) - set(refillable())):
            advice = f"one of: {', '.join(refillable())}"
            raise Wrong("rebuild_columns", f"{', '.join(unknown)} cannot be filled from packets", advice)
        rows, done = table("segments"), 0
        query = sa.select(rows).where(rows.c.state.in_(("open", "sealed", "moved")), rows.c.kind != "quarantine")
        with translated():
            async with self.engine.connect() as connection:
                found = list(await connection.execute(query.order_by(rows.c.segment)))
            for row in found:
                done += await self._segment(row)
        return done

    async def _segment(self, row: Row) -> int:
        for _ in range(_TRIES):
            try:
                return await self._batches(row)
            except Absent:
                rows = table("segments")
                async with self.engine.connect() as connection:
                    again = await connection.execute(sa.select(rows).where(rows.c.segment == row.segment))
                row = again.one()
        raise Held("segment_absent", f"segment {row.segment}: there is no file {row.dataName}", "run `skyburst verify`")

    async def _batches(self, row: Row) -> int:
        maker = self._maker(row)
        names, lengths = (row.dataName, row.indexName), (row.dataLength, row.indexLength)
        messages, done = Messages(self.files, names, lengths), 0
        try:
            for batch in messages.batches():
                if batch.rows:
                    await self._fill(maker, batch)
                done += len(batch.rows)
        finally:
            messages.close()
        self.say(f"segment {row.segment}: {done} alerts")
        return done

    def _maker(self, row: Row) -> Maker:
        file = self.files.open(row.dataName)
        try:
            head: Head = DataFile(file, row.dataLength).head
        finally:
            file.close()
        return Maker.of(head, newest(self.survey_files, head.survey), row.survey, self.layout)

    async def _fill(self, maker: Maker, batch: Batch) -> None:
        made = maker.columns(batch, batch.rows)
        names = (*_KEY, *self.columns)
        listed = [
            dict(zip((f"_{name}" for name in names), row)) for row in zip(*(_listed(made[name]) for name in names))
        ]
        rows = table("level1")
        mine = (rows.c[name] == sa.bindparam(f"_{name}") for name in _KEY)
        statement = sa.update(rows).where(*mine).values({name: sa.bindparam(f"_{name}") for name in self.columns})
        listed.sort(key=lambda one: (one["_survey"], one["_diaSourceId"], one["_night"]))
        async with self.engine.begin() as connection:
            await connection.execute(statement, listed)


def _listed(values: Values) -> Sequence[Any]:
    if isinstance(values, int):
        raise TypeError("a number stands for no column")
    if not isinstance(values, Level1Column):
        return list(values.tolist())
    null = values.null
    if values.values.dtype.kind == "f":
        null = null | ~np.isfinite(values.values.astype(np.float64))
    return [None if absent else value for value, absent in zip(values.values.tolist(), null.tolist(), strict=True)]
