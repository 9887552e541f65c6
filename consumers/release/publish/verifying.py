"""What is proven of a release in Qserv: each thing that should match, what it should be, and what it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from consumers.release.load.gate import problems
from consumers.release.load.ledger import Standing
from consumers.release.load.plan import PlannedTransaction
from consumers.release.load.records import State
from consumers.release.load.registering import differences as table_differences
from consumers.release.load.registering import look, wanted
from consumers.release.load.world import World
from consumers.release.publish.counting import differences, expected, found
from consumers.release.publish.publishing import Wishes, indexes, rating
from consumers.release.service import DatabaseState, RowCount
from consumers.release.table import Role
from stream.errors import Wrong


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that should be so.

    Attributes
    ----------
    table
        Of which table; empty of the database.
    what
        What is looked at.
    wanted, found
        In words.
    good
        Whether it is so.
    """

    table: str
    what: str
    wanted: str
    found: str
    good: bool


@dataclass(frozen=True, slots=True)
class Thoroughness:
    """How far is looked.

    Parameters
    ----------
    recount
        Have the workers count anew, instead of asking for the last counts.
    files
        Hold the files on disk against the manifest.
    """

    recount: bool = True
    files: bool = False


async def verify(world: World, wishes: Wishes, thoroughness: Thoroughness) -> list[Check]:
    """Look at everything; nothing is changed but the row counters."""
    await world.asked(world.controller.version)
    try:
        state = await look(world)
    except Wrong as error:
        return [Check("", "database", "as released", error.message, False)]
    if state is None:
        return [Check("", "database", "registered", "not there", False)]
    checks = [Check("", "published", "yes", "yes" if state.published else "no", state.published)]
    checks += [each async for each in _transactions(world)]
    checks += _tables(world, state)
    for name in world.release.tables:
        checks += [each async for each in _table(world, state, name, wishes, thoroughness)]
    return checks


def _tables(world: World, state: DatabaseState) -> Iterator[Check]:
    overlap = world.release.layout.overlap if world.release.layout else 0.0
    there = {table.name: table for table in state.tables}
    for name, each in world.release.tables.items():
        if name not in there:
            yield Check(name, "columns and keys", "as described", "not there", False)
            continue
        said = table_differences(wanted(state.name, each.table, overlap), there[name])
        yield Check(name, "columns and keys", "as described", "; ".join(said[:5]) or "as described", not said)


async def _transactions(world: World) -> AsyncIterator[Check]:
    there = await world.asked(lambda: world.controller.transactions(world.database))
    still = [str(each.id) for each in there if each.state.open or each.state.moving]
    yield Check("", "open transactions", "none", ", ".join(still) or "none", not still)


async def _table(
    world: World, state: DatabaseState, name: str, wishes: Wishes, thoroughness: Thoroughness
) -> AsyncIterator[Check]:
    each = world.release.tables[name]
    standings = [standing for standing in await world.ledger.standings() if standing.table == name]
    committed = [standing for standing in standings if standing.state is State.COMMITTED]
    text = f"{len(committed)} of {len(standings)} committed"
    yield Check(name, "transactions", "all committed", text, len(committed) == len(standings))
    yield await _contributions(world, name, committed)
    if name not in {table.name for table in state.tables}:
        return
    if each.table.partitioned:
        yield await _rows(world, name, wishes, recount=thoroughness.recount and state.published)
    if state.published:
        async for check in _indexes(world, name, wishes):
            yield check
    if thoroughness.files:
        yield await _files(world, name)


async def _contributions(world: World, name: str, committed: Sequence[Standing]) -> Check:
    wrong: list[str] = []
    rows = 0
    for standing in committed:
        planned, sent = await world.ledger.committed(standing.key)
        found = await world.asked(partial(world.controller.transaction, standing.transaction or 0, contributions=True))
        workers = None
        if not world.release.tables[name].table.partitioned:
            workers = sorted({each.worker for each in found.contributions})
        if sent:
            wrong += [problem.text for problem in problems(planned, sent, found, workers)]
        rows += sum(each.loaded for each in found.contributions)
    text = "; ".join(wrong[:3]) or f"{rows} rows"
    return Check(name, "contributions", "finished, all rows, no warnings", text, not wrong)


async def _rows(world: World, name: str, wishes: Wishes, *, recount: bool) -> Check:
    ours = expected(world.release.tables[name].manifest)
    if recount:
        await world.asked(lambda: world.controller.count_rows(world.database, name, deploy=wishes.deploy))
    counts: Sequence[RowCount] = await world.asked(lambda: world.controller.row_counts(world.database, name))
    wrong = differences(ours, found(counts))
    text = f"{sum(ours.values())} rows in {len(ours)} chunks and overlaps"
    return Check(name, "rows per chunk", text, "; ".join(wrong[:3]) or text, not wrong)


async def _indexes(world: World, name: str, wishes: Wishes) -> AsyncIterator[Check]:
    table, database = world.release.tables[name].table, world.database
    if table.role is Role.DIRECTOR:
        built = (await world.ledger.steps()).get(f"director_index:{name}") == "done"
        text = "built, no key twice" if built else "not known to be built"
        yield Check(name, "director index", "built, no key twice", text, built)
    for index in indexes(table, wishes):
        have = await world.asked(partial(world.controller.indexes, database, name, overlap=index.overlap))
        same = [each for each in have if each.name == index.name and each.columns == index.columns]
        good = bool(same) and same[0].complete
        what = f"index {index.name}{' of the overlap' * index.overlap}"
        yield Check(name, what, "complete", "complete" if good else "incomplete" if same else "not there", good)
    ours = rating(table, wishes)
    if table.partitioned and ours is not None:
        theirs = await world.asked(lambda: world.controller.scan_rating(database, name))
        yield Check(name, "scan rating", str(ours), str(theirs), ours == theirs)


async def _files(world: World, name: str) -> Check:
    planned = [await world.ledger.committed(each.key) for each in await world.ledger.standings() if each.table == name]

    def changed() -> list[str]:
        held: Iterator[PlannedTransaction] = (each for each, _ in planned)
        return [problem.text for each in held for problem in world.files.changed(each)]

    wrong = await asyncio.to_thread(changed)
    text = "as in the manifest"
    return Check(name, "files on disk", text, "; ".join(wrong[:3]) or text, not wrong)
