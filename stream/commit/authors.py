"""Whose files lie in a store: those that daemons of another database wrote are not this one's to sweep."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from stream.alertdb.names import role_of
from stream.alertdb.port import SegmentStore
from stream.tables.model import table

HEADS = 200
"""Headers that are read for one question: a store may keep years, and the next sweep goes on."""


@dataclass(slots=True)
class Authors:
    """Tells a file that a daemon left behind from one that only another database names.

    A header has the instance id of the database on which its segment began. A rebuild gives a database another id, and
    names segments of the one before: what has the id of any segment that is named here is ours, too. On a database
    that was just made nothing is named, and a whole AlertDB would be swept.

    Attributes
    ----------
    instance
        The database's instance id.
    """

    engine: AsyncEngine
    store: SegmentStore
    instance: str
    _known: set[str] = field(default_factory=set)
    _foreign: dict[int, str] = field(default_factory=dict)
    _asked: tuple[int, int] | None = (-1, -1)

    async def ours(self, number: int, names: Iterable[str]) -> bool:
        """Whether the files `names` of segment `number` were left by this database's daemons, or tell nothing."""
        instance = self._foreign.get(number)
        if instance is None:
            instance = await self._written_on(names)
        if instance in ("", self.instance) or await self._is_named(instance):
            self._foreign.pop(number, None)
            return True
        self._foreign[number] = instance
        return False

    async def _written_on(self, names: Iterable[str]) -> str:
        for name in names:
            if role_of(name) == "data":
                header = await asyncio.to_thread(self.store.head, name)
                if header is not None:
                    return header.instance
        return ""

    async def _is_named(self, instance: str) -> bool:
        """Whether a segment that a row names was begun on that database, as far as they have been looked at."""
        if instance not in self._known and self._asked is not None:
            rows = await self._next(self._asked)
            for _, _, name in rows:
                header = await asyncio.to_thread(self.store.head, name)
                if header is not None:
                    self._known.add(header.instance)
            self._asked = (rows[-1][0], rows[-1][1]) if len(rows) == HEADS else None
        return instance in self._known

    async def _next(self, after: tuple[int, int]) -> list[tuple[int, int, str]]:
        """Night, number and data file of the next segments that are named, the oldest nights first."""
        c = table("segments").c
        query = sa.select(c.night, c.segment, c.dataName).where(
            c.state.in_(("open", "sealed")),
            sa.or_(c.night > after[0], sa.and_(c.night == after[0], c.segment > after[1])),
        )
        async with self.engine.connect() as connection:
            found = await connection.execute(query.order_by(c.night, c.segment).limit(HEADS))
            return [(row.night, row.segment, row.dataName) for row in found]
