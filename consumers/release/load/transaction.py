"""One planned super-transaction, from whatever an earlier attempt left to its commit.

1. *Settle* what an earlier attempt left: adopt it where all that was sent is known, else abort it.
2. *Begin* a transaction under a token of its own.
3. *Send* the contributions, and wait until they are loaded.
4. *Gate*: every contribution is the manifest's, or the transaction is aborted.
5. *Commit*, and write that it stands.

Each step is written to the ledger before it is done. An answer that is lost is looked for by the state of the
transaction; what cannot be found out ends with an abort, since the service takes nothing more for a transaction
that is over, however late it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from consumers.release.load.gate import NotLoaded, Problem, problems
from consumers.release.load.ledger import Held, Sent
from consumers.release.load.records import State
from consumers.release.load.sending import Sender, Unsure
from consumers.release.load.world import World
from consumers.release.service import Location, LostAnswer, Refused, Transaction, TransactionState
from stream.errors import Fatal, SkyburstError

MARK = "skyburst"
"""The key of our part of a transaction's context."""
_LONG_S = 2.0


class TransactionLoad:
    """Brings one transaction that this loader holds to its end."""

    def __init__(self, world: World, held: Held) -> None:
        self._world, self._held = world, held

    async def run(self) -> None:
        """Load and commit it.

        Raises
        ------
        NotLoaded
            It did not pass the gate: it was aborted, and the ledger says why.
        Fenced
            Another loader holds it.
        Transient
            The service is away for longer than is waited; the next run goes on from here.
        """
        world = self._world
        try:
            for left in reversed(range(world.limits.attempts)):
                try:
                    return await self._attempt()
                except (Unsure, NotLoaded) as error:
                    if isinstance(error, NotLoaded) and not error.unsure:
                        raise
                    world.progress.says(f"starting a transaction of {self._held.planned.table} anew: {error}")
                    await self._abort()
                    if not left:
                        raise
        except (NotLoaded, Unsure) as error:
            await self._abort()
            failed = error if isinstance(error, NotLoaded) else _lost(self._held, error)
            await world.ledger.write(self._held, State.FAILED, code=failed.code, error=failed.message)
            raise failed from None

    async def _attempt(self) -> None:
        world = self._world
        sender = await self._settle()
        if self._held.state is State.COMMITTED:
            return
        if sender is None:
            await self._begin()
            sender = Sender(world, self._held)
        workers = await self._workers()
        sent = await sender.send(workers)
        await self._commit(sent, workers)

    async def _settle(self) -> Sender | None:
        """Find out what an earlier attempt left; a sender where it goes on, None where it begins anew."""
        world, held = self._world, self._held
        if held.state is State.PLANNED:
            return None
        found = await self._found()
        if found is None:
            return None
        if held.transaction is None:
            self._held = held = await world.ledger.loading(held, found.id)
        found = await settled(world, found)
        if found.state is TransactionState.FINISHED:
            await self._stands(found)
            return None
        if found.state is TransactionState.STARTED and held.state is not State.ABORTING:
            sender = Sender(world, held)
            if await sender.adopt():
                return sender
        if found.state.open:
            await self._abort()
        return None

    async def _found(self) -> Transaction | None:
        """The attempt's transaction: by its id, or by its token where the id was lost."""
        world, held = self._world, self._held
        if held.transaction is not None:
            return await world.asked(lambda: world.controller.transaction(held.transaction or 0))
        several = await world.asked(lambda: world.controller.transactions(world.database))
        return next((each for each in several if each.context.get(MARK, {}).get("token") == held.token), None)

    async def _stands(self, found: Transaction) -> None:
        """It is committed, of which the ledger has not heard: hold it against the manifest all the same."""
        world = self._world
        if self._held.state is not State.COMMITTING:
            sent = await world.ledger.sent(self._held)
            whole = await world.asked(lambda: world.controller.transaction(found.id, contributions=True))
            wrong = problems(self._held.planned, sent, whole, await self._names())
            if wrong:
                text = f"transaction {found.id} is committed and is not what was planned: {wrong[0].text}"
                raise Fatal("release_committed_wrong", text, "run release replace for this table")
        await self._is_committed()

    async def _begin(self) -> None:
        world = self._world
        self._held = await world.ledger.attempt(self._held)
        world.crossing("before_begin")
        context = {MARK: self._context()}
        try:
            begun = await world.told(lambda: world.controller.begin(world.database, context))
        except LostAnswer as lost:
            found = await self._found()
            if found is None:
                raise Unsure(lost.message) from lost
            begun = found
        world.crossing("after_begin")
        self._held = await world.ledger.loading(self._held, begun.id)
        begun = await settled(world, begun)
        if begun.state is not TransactionState.STARTED:
            raise Unsure(f"transaction {begun.id} is {begun.state}")

    def _context(self) -> dict[str, object]:
        held, planned = self._held, self._held.planned
        return {
            "token": held.token,
            "load": self._world.load,
            "key": planned.key,
            "table": planned.table,
            "ordinal": planned.ordinal,
            "attempt": held.attempt,
            "contributions": len(planned.contributions),
            "rows": planned.rows,
            "bytes": planned.bytes,
            "chunks": [planned.chunks[0], planned.chunks[-1]],
            **self._world.provenance,
        }

    async def _workers(self) -> Sequence[Location] | None:
        """The workers that get a regular table; None for a partitioned one."""
        world, held = self._world, self._held
        if world.release.tables[held.planned.table].table.partitioned:
            return None
        return await world.asked(lambda: world.controller.regular(held.transaction or 0))

    async def _names(self) -> Sequence[str] | None:
        workers = await self._workers()
        return None if workers is None else [each.worker for each in workers]

    async def _commit(self, sent: Sequence[Sent], workers: Sequence[Location] | None) -> None:
        world, held = self._world, self._held
        number = held.transaction or 0
        world.crossing("before_gate")
        found = await world.asked(lambda: world.controller.transaction(number, contributions=True))
        if found.state is not TransactionState.STARTED:
            raise Unsure(f"transaction {number} is {found.state}")
        names = None if workers is None else [each.worker for each in workers]
        wrong = problems(held.planned, sent, found, names)
        if not wrong and world.limits.check_files:
            wrong = await asyncio.to_thread(world.files.changed, held.planned)
        if wrong:
            raise NotLoaded(wrong)
        self._held = await world.ledger.write(held, State.COMMITTING)
        world.crossing("before_commit")
        if (await self._end(abort=False)).state is not TransactionState.FINISHED:
            raise Unsure(f"transaction {number} could not be committed")
        world.crossing("after_commit")
        await self._is_committed()

    async def _is_committed(self) -> None:
        world = self._world
        self._held = await world.ledger.write(self._held, State.COMMITTED)
        await asyncio.to_thread(world.files.clear, self._held.planned.key)

    async def _abort(self) -> None:
        """End what is open; what was begun and cannot be found is swept before publication."""
        world = self._world
        if self._held.state is State.PLANNED:
            return
        found = await self._found()
        if found is not None and found.state.open:
            if self._held.transaction is None:
                self._held = replace(self._held, transaction=found.id)
            self._held = await world.ledger.write(self._held, State.ABORTING)
            world.crossing("before_abort")
            ended = await self._end(abort=True)
            world.crossing("after_abort")
            if ended.state is TransactionState.FINISHED:
                text = f"transaction {ended.id} was committed while it was to be aborted"
                raise Fatal("release_committed_wrong", text, "run release replace for this table")
            if ended.state is not TransactionState.ABORTED:
                raise SkyburstError("release_not_aborted", f"transaction {ended.id} is {ended.state}", "abort it")
        await asyncio.to_thread(world.files.clear, self._held.planned.key)
        self._held = await world.ledger.write(self._held, State.PLANNED)

    async def _end(self, *, abort: bool) -> Transaction:
        """Commit or abort; a lost answer, or a refusal, is resolved by asking how the transaction is."""
        world, number = self._world, self._held.transaction or 0
        for _ in range(world.limits.attempts):
            try:
                found = await world.told(lambda: world.controller.end(number, abort=abort))
            except (LostAnswer, Refused) as error:
                world.progress.says(f"asking how transaction {number} is: {error.message}")
                found = await world.asked(lambda: world.controller.transaction(number))
            found = await settled(world, found)
            if found.state is not TransactionState.STARTED:
                break
        return found


async def settled(world: World, found: Transaction) -> Transaction:
    """The transaction, once its state is none that passes by itself; one that takes long is told of, once."""
    wait_s, told = 0.01, False
    while found.state.moving:
        if wait_s >= _LONG_S and not told:
            world.progress.says(f"waiting for transaction {found.id}, which is {found.state}")
            told = True
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 1.5, _LONG_S)
        found = await world.asked(partial(world.controller.transaction, found.id))
    return found


def _lost(held: Held, error: Unsure) -> NotLoaded:
    text = f"table {held.planned.table}, transaction {held.planned.ordinal}: {error}"
    return NotLoaded([Problem("release_unknown_contribution", text)])
