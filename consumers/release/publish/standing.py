"""How a release stands, at any time: what the ledger has, and what Qserv says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consumers.release.load.ledger import Standing
from consumers.release.load.records import State
from consumers.release.load.world import World


@dataclass(frozen=True, slots=True)
class TableStanding:
    """Of one table: its transactions by state, and what is committed."""

    table: str
    transactions: int
    states: Mapping[str, int]
    rows: int
    rows_committed: int
    bytes_committed: int
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReleaseStanding:
    """Of a release.

    Attributes
    ----------
    tables
        In order of loading; those that the ledger does not have yet have no transactions.
    steps
        Of publication, by name: begun or done.
    published
        None where Qserv does not have the database, or was not asked.
    open_transactions
        Of the database in Qserv, this load's and others'.
    """

    tables: tuple[TableStanding, ...]
    steps: Mapping[str, str]
    published: bool | None
    open_transactions: tuple[int, ...]


async def standing(world: World, *, ask: bool) -> ReleaseStanding:
    """How the release stands; `ask` says whether Qserv is asked, too."""
    standings = await world.ledger.standings()
    tables = [_of(name, [each for each in standings if each.table == name]) for name in world.release.tables]
    steps = await world.ledger.steps()
    if not ask:
        return ReleaseStanding(tuple(tables), steps, None, ())
    await world.asked(world.controller.version)
    published = (await world.asked(world.controller.databases)).get(world.database)
    there = [] if published is None else await world.asked(lambda: world.controller.transactions(world.database))
    still = tuple(each.id for each in there if each.state.open or each.state.moving)
    return ReleaseStanding(tuple(tables), steps, published, still)


def _of(table: str, standings: Sequence[Standing]) -> TableStanding:
    states: dict[str, int] = {}
    for each in standings:
        states[each.state] = states.get(each.state, 0) + 1
    committed = [each for each in standings if each.state is State.COMMITTED]
    return TableStanding(
        table,
        len(standings),
        states,
        sum(each.rows for each in standings),
        sum(each.rows for each in committed),
        sum(each.bytes for each in committed),
        tuple(each.error for each in standings if each.error),
    )
