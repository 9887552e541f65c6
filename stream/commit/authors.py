"""What files without a row tell: whether another database's daemons wrote them, and whether this one has gone back."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from stream.alertdb.indexfile import notes_of
from stream.alertdb.names import role_of
from stream.alertdb.port import SegmentStore
from stream.alertdb.reader import head_of
from stream.commit import ledger
from stream.tables.model import table

HEADS = 200
"""Headers of named segments that are read in one sweep: a store may keep years, and the next sweep goes on."""


@dataclass(slots=True)
class Authors:
    """Tells a file that a daemon left behind from one that only another database, or a later state of this, names.

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
    _asks: bool = True

    def begin(self) -> None:
        """A sweep begins."""
        self._asks = True

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

    async def are_ahead(self, names: Iterable[str]) -> bool:
        """Whether files of ours have a commit that this state of the database cannot have seen begin: it was set back.

        A commit begins where the ledger stands, which has the place then, and neither goes back nor begins anew.
        """
        starts: defaultdict[ledger.Place, set[int]] = defaultdict(set)
        for name in names:
            if role_of(name) in ("open_index", "index"):
                for note in await asyncio.to_thread(lambda: notes_of(self.store.whole(name))):  # noqa: B023
                    for stream, partition, start, *_ in note["ranges"]:
                        starts[int(stream), int(partition)].add(int(start))
        began = await ledger.begins(self.engine, starts)
        stands = await ledger.places(self.engine, starts)
        return any(
            place not in began or min(some) < began[place] or max(some) > stands[place]
            for place, some in starts.items()
        )

    async def _written_on(self, names: Iterable[str]) -> str:
        for name in names:
            if role_of(name) == "data" and (instance := await self._instance_in(name)):
                return instance
        return ""

    async def _instance_in(self, name: str) -> str:
        header = await asyncio.to_thread(lambda: head_of(self.store.whole(name)))
        return header.instance if header else ""

    async def _is_named(self, instance: str) -> bool:
        """Whether a segment that a row names was begun on that database, as far as they have been looked at."""
        if instance not in self._known and self._asked is not None and self._asks:
            self._asks = False
            rows = await self._next(self._asked)
            for _, _, name in rows:
                self._known.add(await self._instance_in(name))
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
