"""Transactions that nobody works on: what a killed loader left, what a lost ledger forgot, and what is not ours."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from consumers.release.load.gate import Problem, problems
from consumers.release.load.ledger import Held, Sent, Standing
from consumers.release.load.plan import PlannedTransaction
from consumers.release.load.records import State
from consumers.release.load.transaction import MARK, settled
from consumers.release.load.world import World
from consumers.release.service import LostAnswer, Refused, Status, Transaction, TransactionState
from stream.errors import Fenced, Wrong
from stream.retry import Backoff


async def sweep(world: World, *, take_over: bool = False) -> int:
    """Abort what earlier attempts of this load left open, and take in what an earlier ledger committed.

    Parameters
    ----------
    take_over
        Whether transactions that another ledger of skyburst left open are aborted, too.

    Returns
    -------
    int
        How many were aborted.

    Raises
    ------
    Wrong
        ``release_not_empty``: the database has rows of which this ledger does not know.
        ``release_other_load``: another ledger's transactions are open. ``release_lost``: a transaction that was
        committed is not there any more.
    """
    # Other loaders go on meanwhile. What the ledger says is committed was so before, and is sought in a list from
    # after; a token is in the ledger before its transaction can be in the list, and is sought there afterwards.
    committed = [each for each in await world.ledger.standings() if each.state is State.COMMITTED]
    there = await world.asked(lambda: world.controller.transactions(world.database))
    _still_there(there, committed)
    standings, load = await world.ledger.standings(), await world.ledger.name()
    tokens = {each.token for each in standings if each.token}
    known = {each.transaction for each in standings if each.state is State.COMMITTED} | await world.ledger.retired()
    aborted = 0
    for each in there:
        mark = each.context.get(MARK) or {}
        if each.id in known or (mark.get("token") in tokens and mark.get("load") == load):
            continue
        now = await settled(world, each)
        if now.state.open and mark:
            if mark.get("load") != load and not take_over:
                text = f"transaction {each.id} of table {mark.get('table')} is open, under another ledger"
                raise Wrong("release_other_load", text, "let that load end; where its ledger is lost, add --take-over")
            now = await _aborted(world, now)
            aborted += now.state is TransactionState.ABORTED
        if now.state is TransactionState.FINISHED:
            await _take_in(world, now, mark.get("key"), standings)
    return aborted


def _still_there(there: Sequence[Transaction], committed: Sequence[Standing]) -> None:
    finished = {each.id for each in there if each.state is TransactionState.FINISHED}
    lost = [each for each in committed if each.transaction not in finished]
    if lost:
        text = (
            f"Qserv has transaction {lost[0].transaction} of table {lost[0].table} no more, nor {len(lost) - 1} others"
        )
        raise Wrong("release_lost", text, "the database was deleted since: run release rebuild")


async def _aborted(world: World, found: Transaction) -> Transaction:
    """Abort a transaction; another may have been quicker, or have committed it."""
    try:
        return await settled(world, await world.told(lambda: world.controller.end(found.id, abort=True)))
    except (LostAnswer, Refused) as error:
        now = await settled(world, await world.asked(lambda: world.controller.transaction(found.id)))
        if now.state.open:
            raise
        world.progress.says(f"transaction {now.id} is {now.state}: {error.message}")
        return now


async def _take_in(world: World, found: Transaction, key: str | None, standings: Sequence[Standing]) -> None:
    """A committed transaction that is not in the ledger: the same content was committed before, or something else."""
    counted = await world.asked(lambda: world.controller.transaction(found.id, counted=True))
    if not counted.by_status.get(Status.FINISHED, 0):
        return
    for wait_s in Backoff(first_s=0.02, longest_s=1.0).waits(world.random):
        mine = next((each for each in standings if each.key == key), None)
        if mine is not None and mine.state is State.COMMITTED and mine.transaction == found.id:
            return  # another loader was quicker
        if mine is None or mine.state is not State.PLANNED or mine.attempt:
            text = f"database {world.database} has rows of transaction {found.id}, which this ledger does not know"
            raise Wrong("release_not_empty", text, "give the ledger that loaded them, or delete the database")
        held = await world.ledger.take([mine.key])
        if held is not None and await _adopted(world, held, found):
            return
        # Another holds it. Were it not waited for and died, its rows would be loaded once more.
        await asyncio.sleep(wait_s)
        standings = await world.ledger.standings()


async def _adopted(world: World, held: Held, found: Transaction) -> bool:
    """Take a committed transaction in, where it holds what was planned; False where the lease ended meanwhile."""
    try:
        wrong = await _differs(world, found, held.planned)
        if wrong:
            raise Wrong("release_not_empty", f"transaction {found.id}: {wrong[0].text}", "delete the database")
        await world.ledger.adopt(held, found.id)
    except Fenced:
        return False
    finally:
        await world.ledger.let_go(held)
    return True


async def _differs(world: World, found: Transaction, planned: PlannedTransaction) -> list[Problem]:
    """Hold a committed transaction's contributions against the plan, by their places and rows."""
    whole = await world.asked(lambda: world.controller.transaction(found.id, contributions=True))
    sent: list[Sent] = []
    workers: set[str] = set()
    partitioned = world.release.tables[planned.table].table.partitioned
    taken: set[tuple[int, str]] = set()
    for each in whole.contributions:
        workers.add(each.worker)
        what = (each.chunk, each.overlap, each.rows, each.bytes)
        for ordinal, one in enumerate(planned.contributions):
            place = (ordinal, "" if partitioned else each.worker)
            if what == (one.chunk, one.overlap, one.rows, one.bytes) and place not in taken:
                taken.add(place)
                sent.append(Sent(ordinal, each.worker, "", each.url, each.id))
                break
    return problems(planned, sent, whole, None if partitioned else sorted(workers))
