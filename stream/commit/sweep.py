"""Files without a row: their number is taken for ever before they go."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from stream.alertdb.names import role_of
from stream.alertdb.port import SegmentStore
from stream.clock import Clock
from stream.commit import ledger
from stream.commit.authors import Authors
from stream.commit.failpoints import Failpoints
from stream.errors import SkyburstError
from stream.log import Log
from stream.tables.model import table

PAGE = 500
"""Numbers whose rows are read at once: a night leaves tens of them, and a store may keep years."""

NAMES = 4 * PAGE
"""Names that are held at once: an object store has tens of thousands of a night."""

UNREADABLE = ("store_refused", "disk_failed")
"""What one file may be beside others that can be read: it stays, and holds up nothing."""

_log = Log("stream.commit.sweep")

Row = sa.Row[Any, Any, Any, Any, Any]
Rows = Mapping[int, Row]


@dataclass(slots=True)
class _Nobodys:
    """The files of a number that has no row.

    Attributes
    ----------
    since
        Monotonic seconds when it was first seen so.
    names
        Its files: one sweep may list them far from each other.
    looked
        Those of them in which was looked for commits that begin behind the ledger.
    told
        Whether the log has why they stay.
    """

    since: float
    names: set[str] = field(default_factory=set)
    looked: set[str] = field(default_factory=set)
    told: bool = False


@dataclass(slots=True)
class Sweeper:
    """Deletes what no row names.

    A file whose number has no row may belong to a daemon that sits between steps 2 and 3 for hours: first a row with
    that number is inserted as ``swept`` and committed, so that the slow owner's own insert fails at the second fence.
    A file whose number is swept, or whose row names another file, goes at once.

    Attributes
    ----------
    age_s
        Seconds for which no row may name a number before it is claimed: almost every one is about to get its row.
    instance
        The database's instance id that this daemon began with: in another database no row names our files.
    orphans
        Files without a row that names them, at the last look.
    foreign
        Those among them that another database's daemons wrote: they stay.
    set_back
        Whether a file was met that a later state of the database named. From then on all files without a row stay: what
        the broker has no more would be gone with them.
    """

    engine: AsyncEngine
    store: SegmentStore
    clock: Clock
    failpoints: Failpoints
    age_s: float
    instance: str
    orphans: int = 0
    foreign: int = 0
    set_back: bool = False
    _rowless: dict[int, _Nobodys] = field(default_factory=dict)
    _broke_off: bool = False
    _claims: bool = True
    _authors: Authors = field(init=False)

    def __post_init__(self) -> None:
        self._authors = Authors(self.engine, self.store, self.instance)

    async def sweep(self, besides: frozenset[int]) -> list[str]:
        """Delete what may go, but for the numbers `besides` (the caller's own), and give the names that went.

        Raises
        ------
        Fatal
            ``level1_instance``.
        """
        async with self.engine.connect() as connection:
            await ledger.same_instance(connection, self.instance)
        names = iter(self.store.names())
        watched: set[int] = set()
        gone: list[str] = []
        self.orphans = self.foreign = 0
        self._authors.begin()
        # After a sweep that broke off there may be files that tell of a later state, and were not looked into.
        self._claims, self._broke_off = not self._broke_off, True
        while page := await asyncio.to_thread(lambda: list(islice(names, NAMES))):
            gone += await self._sweep_page(page, besides)
            watched |= self._rowless.keys() & {number for _, number in page}
        self._rowless = {number: seen for number, seen in self._rowless.items() if number in watched}
        self._broke_off = False
        return gone

    async def _sweep_page(self, page: Sequence[tuple[str, int]], besides: frozenset[int]) -> list[str]:
        files: defaultdict[int, list[str]] = defaultdict(list)
        for name, number in page:
            files[number].append(name)
        gone = []
        numbers = sorted(files.keys() - besides)
        for some in (numbers[at : at + PAGE] for at in range(0, len(numbers), PAGE)):
            rows = await _rows(self.engine, some)
            for number in some:
                kept = await self._kept(number, frozenset(files[number]), rows)
                for name in files[number]:
                    # A retired segment's marker stays for ever: it stands for a part of its commits.
                    if name not in kept and role_of(name) != "retired":
                        await asyncio.to_thread(self.store.remove, name)
                        gone.append(name)
        return gone

    async def _kept(self, number: int, names: frozenset[str], rows: Rows) -> frozenset[str]:
        if number in rows:
            self._rowless.pop(number, None)
            return _named(rows[number], names, rows)
        self.orphans += len(names)
        now = self.clock.monotonic()
        seen = self._rowless.setdefault(number, _Nobodys(now))
        seen.names |= names
        young = now - seen.since < self.age_s
        if young and names <= seen.looked:
            return names
        try:
            ours = await self._look(number, seen)
        except SkyburstError as error:
            if error.code not in UNREADABLE:
                raise
            if not seen.told:
                _log.warning("not_swept", error=error, segment=number)
            seen.told = True
            return names
        if not ours:
            self.foreign += len(names)
            return names
        if young or self.set_back or not self._claims:
            return names
        if not await _claim(self.engine, number, self.instance):
            return names
        self.failpoints.hit("after_sweep_row")
        return frozenset()

    async def _look(self, number: int, seen: _Nobodys) -> bool:
        """Whether the files of `number` are this database's; if so, note whether one of them is ahead of it."""
        if not await self._authors.ours(number, seen.names):
            seen.looked.clear()
            return False
        # An index alone does not tell whose streams its numbers are.
        if any(role_of(name) == "data" for name in seen.names):
            fresh = seen.names - seen.looked
            self.set_back = self.set_back or await self._authors.are_ahead(fresh)
            seen.looked |= fresh
        return True


async def _rows(engine: AsyncEngine, numbers: Sequence[int]) -> Rows:
    """The rows of these segments, and of those that they are copies of."""
    c = table("segments").c
    query = sa.select(c.segment, c.state, c.copyOf, c.dataName, c.indexName)
    async with engine.connect() as connection:
        found = {row.segment: row for row in await connection.execute(query.where(c.segment.in_(numbers)))}
        copied = {row.copyOf for row in found.values() if row.state == "copy"} - found.keys()
        more = await connection.execute(query.where(c.segment.in_(copied))) if copied else ()
        return found | {row.segment: row for row in more}


def _named(row: Row, names: frozenset[str], rows: Rows) -> frozenset[str]:
    """Those of the files `names` that stay, with the number that has this row.

    An open segment keeps all of its files: its owner may be about to name a sealed index that it has just written. Rows
    that were read before the files are looked at do no harm: one that is not open never names a file that was there.
    """
    if row.state in ("swept", "retired"):
        return frozenset()
    if row.state == "open":
        return names
    there = rows.get(row.copyOf) if row.state == "copy" else row
    return names if there is None else frozenset((there.dataName, there.indexName))


async def _claim(engine: AsyncEngine, number: int, instance: str) -> bool:
    rows = table("segments")
    row = {
        "segment": number,
        "stream": 0,
        "survey": 0,
        "night": 0,
        "kind": "swept",
        "fingerprint": "",
        "dataName": "",
        "indexName": "",
        "dataLength": 0,
        "indexLength": 0,
        "records": 0,
        "state": "swept",
        "owner": "",
        "heartbeat": 0.0,
    }
    try:
        async with engine.begin() as connection:
            await ledger.same_instance(connection, instance)
            await connection.execute(sa.insert(rows), row)
    except IntegrityError:
        return False
    return True
