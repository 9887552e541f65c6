"""Publication and what follows it: director indexes, table indexes, row counters, scan ratings.

Each step can be done again: what is done already is recognised. Publishing may not answer at all although it was done
(qserv.md 1.7, trap 7), so a lost answer is followed by a look at ``is_published``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from consumers.release.load.loader import nothing_begun
from consumers.release.load.records import State
from consumers.release.load.sweeping import sweep
from consumers.release.load.world import World
from consumers.release.publish.counting import differences, expected, found
from consumers.release.service import LostAnswer, Refused
from consumers.release.table import Role, Table
from stream.clock import Deadline
from stream.errors import SkyburstError, Wrong

RATINGS = {Role.DIRECTOR: 1, Role.CHILD: 2, Role.MATCH: 2}
"""Scan ratings by role: 1 is scanned quickly, 3 slowly."""
_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a publication is to have besides.

    Parameters
    ----------
    indexes
        Further indexes: table and its columns.
    ratings
        Scan ratings by table, where not `RATINGS`.
    deploy
        Whether the query planner gets the row counts.
    publish_s
        How long one waits for the service to say that it has published.
    """

    indexes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    ratings: Mapping[str, int] = field(default_factory=dict)
    deploy: bool = True
    publish_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Index:
    """An index that a table is to have."""

    name: str
    columns: tuple[str, ...]
    overlap: bool


def indexes(table: Table, wishes: Wishes) -> list[Index]:
    """The indexes of a table, and of a director's overlap: its key, the keys of what it follows, and what is wished."""
    keys = [(name,) for name in dict.fromkeys([table.key, *(each.key for each in table.follows)]) if name]
    wished = [columns for name, columns in wishes.indexes if name == table.name]
    sides = (False, True) if table.role is Role.DIRECTOR else (False,)
    return [
        Index(f"IDX_{'_'.join(columns)}"[:64], columns, overlap)
        for columns in dict.fromkeys([*keys, *wished])
        for overlap in sides
    ]


def rating(table: Table, wishes: Wishes) -> int | None:
    """The scan rating of a table; a regular one has none."""
    return wishes.ratings.get(table.name, RATINGS.get(table.role))


async def publish(world: World, wishes: Wishes) -> None:
    """Publish a release that is loaded, and bring all that follows about.

    Raises
    ------
    SkyburstError
        ``release_not_loaded``: not every transaction stands. ``release_open_transactions``: others are open.
        ``release_duplicate_keys``: a director has a key twice. ``release_rows``: a chunk has other rows than the
        manifest.
    """
    check_wishes(world, wishes)
    await nothing_begun(world)
    await world.asked(world.controller.version)
    standings = await world.ledger.standings()
    left = [each for each in standings if each.state is not State.COMMITTED]
    if left or not standings:
        text = f"{len(left)} of {len(standings)} transactions of {world.database} are not committed"
        raise SkyburstError("release_not_loaded", text, "run release load")
    await sweep(world)
    await _published(world, wishes)
    for name, each in world.release.tables.items():
        if each.table.role is Role.DIRECTOR:
            await _director_index(world, name)
    for each in world.release.tables.values():
        for index in indexes(each.table, wishes):
            await _index(world, each.table.name, index)
    for name, each in world.release.tables.items():
        if each.table.partitioned:
            await _counted(world, name, wishes)
            wanted = rating(each.table, wishes)
            if wanted is not None:
                await world.asked(partial(world.controller.rate_scan, world.database, name, wanted))


def check_wishes(world: World, wishes: Wishes) -> None:
    """Refuse wishes for tables or columns that are not there, before anything is done."""
    for name, columns in wishes.indexes:
        table = world.release.database.table(name)
        lacking = [column for column in columns if column not in {each.name for each in table.columns}]
        if lacking:
            raise Wrong("bad_table", f"table {name} has no column {', '.join(lacking)}", "see its description")
    for name in wishes.ratings:
        world.release.database.table(name)


async def is_published(world: World) -> bool:
    """Whether the database is published."""
    return (await world.asked(world.controller.databases)).get(world.database, False)


async def _published(world: World, wishes: Wishes) -> None:
    if await is_published(world):
        await world.ledger.step("publish", "done")
        return
    await world.ledger.step("publish", "begun")
    world.crossing("before_publish")
    try:
        await world.told(lambda: world.controller.publish(world.database))
    except Refused as refused:
        if "already published" not in refused.words:
            raise await _why(world, refused) from refused
    except LostAnswer as lost:
        world.progress.says(f"looking whether {world.database} is published: {lost.message}")
        deadline = Deadline.after(world.clock, wishes.publish_s)
        while not await is_published(world):
            if deadline.passed:
                raise
            await asyncio.sleep(min(_LOOK_S, wishes.publish_s / 10))
    world.crossing("after_publish")
    await world.ledger.step("publish", "done")


async def _why(world: World, refused: Refused) -> SkyburstError:
    if "uncommitted transactions" not in refused.words:
        return refused
    there = await world.asked(lambda: world.controller.transactions(world.database))
    numbers = ", ".join(str(each.id) for each in there if each.state.open or each.state.moving)
    text = f"{world.database} cannot be published: transactions {numbers} are open, and not this load's"
    return SkyburstError("release_open_transactions", text, "commit or abort them")


async def _director_index(world: World, table: str) -> None:
    step = f"director_index:{table}"
    if (await world.ledger.steps()).get(step) == "done":
        return
    await world.ledger.step(step, "begun")
    try:
        # It is made anew each time, so that to say it twice is to have it once.
        await world.asked(lambda: world.controller.build_director_index(world.database, table))
    except Refused as refused:
        said = str(dict(refused.more))
        if "Duplicate entry" not in said:
            raise
        text = f"table {table}: a key is there twice: {_where(refused.more)}"
        raise SkyburstError("release_duplicate_keys", text, "find the row that the catalogue has twice") from refused
    await world.ledger.step(step, "done")


def _where(more: Mapping[str, Mapping[str, str]]) -> str:
    for worker, chunks in more.items():
        for chunk, words in chunks.items():
            entry = str(words).partition("Duplicate entry ")[2].partition(" for key")[0]
            return f"{entry or words} in chunk {chunk} at {worker}"
    return "somewhere"


async def _index(world: World, table: str, index: Index) -> None:
    database, controller = world.database, world.controller
    have = await world.asked(lambda: controller.indexes(database, table, overlap=index.overlap))
    same = next((each for each in have if each.name == index.name), None)
    if same is not None and same.complete:
        if same.columns != index.columns:
            text = f"index {index.name} of {table} is of {', '.join(same.columns)}, not of {', '.join(index.columns)}"
            raise SkyburstError("release_index_differs", text, "drop it, or wish for another")
        return
    # The service takes an index that is there for done (ignore_duplicate_key), so that it may be said twice.
    await world.asked(
        lambda: controller.create_index(
            database, table, index.name, index.columns, overlap=index.overlap, comment="skyburst release"
        )
    )


async def _counted(world: World, table: str, wishes: Wishes) -> None:
    await world.asked(lambda: world.controller.count_rows(world.database, table, deploy=wishes.deploy))
    told = await world.asked(lambda: world.controller.row_counts(world.database, table))
    wrong: Sequence[str] = differences(expected(world.release.tables[table].manifest), found(told))
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        text = f"table {table}: {'; '.join(wrong[:5])}{more}"
        raise SkyburstError("release_rows", text, "run release verify, then release replace for this table")
