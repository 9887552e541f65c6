"""The load of a release: registered, swept, and its transactions loaded one after another, some at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from consumers.release.load import registering
from consumers.release.load.gate import NotLoaded
from consumers.release.load.ledger import Held, Standing
from consumers.release.load.plan import Plan
from consumers.release.load.records import State
from consumers.release.load.sweeping import sweep
from consumers.release.load.transaction import TransactionLoad
from consumers.release.load.world import World
from stream.errors import Fenced, SkyburstError, Wrong

_IDLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of a load.

    Parameters
    ----------
    standings
        All transactions, as the ledger has them at the end.
    failed
        Those that did not pass the gate in this run.
    """

    standings: tuple[Standing, ...]
    failed: tuple[NotLoaded, ...]

    @property
    def complete(self) -> bool:
        """Whether every transaction stands."""
        return all(each.state is State.COMMITTED for each in self.standings)


class Loader:
    """Loads what a plan has, together with other loaders on the same ledger."""

    def __init__(self, world: World, plan: Plan) -> None:
        self._world, self._plan = world, plan
        self._held: dict[str, tuple[Held, asyncio.Task[None]]] = {}
        self._failed: list[NotLoaded] = []
        self._over = asyncio.Condition()

    async def run(self, *, take_over: bool = False) -> Loaded:
        """Bring everything in, and return once all transactions are over, this loader's and others'.

        Raises
        ------
        Wrong
            Something there is not as it must be, before anything was loaded; see `register` and `sweep`.
        Transient
            The service is away for longer than is waited.
        """
        world = self._world
        await world.asked(world.controller.version)
        world.load = await world.ledger.prepare(self._plan)
        await nothing_begun(world)
        await self._is_ours()
        state = await registering.register(world)
        await sweep(world, take_over=take_over)
        await world.ledger.again()
        standings = await world.ledger.standings()
        left = [each for each in standings if each.state is not State.COMMITTED]
        if left and state.published:
            text = f"database {world.database} is published, and {len(left)} transactions are not loaded"
            raise Wrong("release_published", text, "run release unpublish first")
        world.progress.begins(sum(each.rows for each in left), sum(each.bytes for each in left), len(left))
        if left:
            try:
                async with self._keeping(), asyncio.TaskGroup() as group:
                    for _ in range(min(world.limits.transactions, len(left))):
                        group.create_task(self._work())
            finally:
                await world.ledger.let_go_all()
        return Loaded(tuple(await world.ledger.standings()), tuple(self._failed))

    async def _is_ours(self) -> None:
        """Refuse a Qserv that has not even the database of what the ledger says is committed; make nothing there."""
        committed = [each for each in await self._world.ledger.standings() if each.state is State.COMMITTED]
        if committed and await registering.look(self._world) is None:
            text = f"Qserv has no database {self._world.database}, of which {len(committed)} transactions are committed"
            raise Wrong("release_lost", text, "run release rebuild")

    async def _work(self) -> None:
        """Take one transaction after another, until there is none left that anybody works on."""
        idle_s = 0.02
        while True:
            held = await self._world.ledger.take()
            self._world.ending = held is None
            if held is None:
                if all(each.state in (State.COMMITTED, State.FAILED) for each in await self._world.ledger.standings()):
                    return
                await self._another(idle_s)
                idle_s = min(idle_s * 1.5, _IDLE_S)
                continue
            idle_s = 0.02
            await self._load(held)

    async def _another(self, most_s: float) -> None:
        """Wait until a transaction of this loader is over, or so long: of others' it hears by the ledger alone."""
        async with self._over:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), most_s)

    async def _load(self, held: Held) -> None:
        world = self._world
        task = asyncio.create_task(TransactionLoad(world, held).run())
        self._held[held.planned.key] = (held, task)
        try:
            await task
            world.progress.done(held.planned.rows, held.planned.bytes)
        except NotLoaded as error:
            self._failed.append(error)
            world.progress.says(str(error))
        except Fenced as error:
            world.progress.says(error.message)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                raise
            world.progress.says(
                f"transaction {held.planned.ordinal} of {held.planned.table} was taken by another loader"
            )
        finally:
            world.progress.under_way(1.0, held.planned.key, held.planned.bytes)
            del self._held[held.planned.key]
            await world.ledger.let_go(held)
            async with self._over:
                self._over.notify_all()

    @asynccontextmanager
    async def _keeping(self) -> AsyncIterator[None]:
        """Show signs of life; work whose lease was lost is dropped."""
        keeper = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._world.ledger.lease_s / 4)
            held: Sequence[Held] = [each for each, _ in self._held.values()]
            for lost in await self._world.ledger.keep(held):
                found = self._held.get(lost.planned.key)
                if found is not None and found[0].term == lost.term:
                    found[1].cancel()


async def nothing_begun(world: World) -> None:
    """Refuse to load while a deletion or a replacement has not ended.

    Raises
    ------
    Wrong
        ``release_begun``: which one.
    """
    for name, state in (await world.ledger.steps()).items():
        verb, _, table = name.partition(":")
        if verb in ("delete", "replace") and state == "begun":
            text = f"release {verb} {table} of {world.database} was begun and has not ended"
            raise Wrong("release_begun", text, f"run release {verb} again")


def refused(loaded: Loaded) -> SkyburstError:
    """The error with which an incomplete load ends."""
    if loaded.failed:
        return loaded.failed[0]
    failed = [each for each in loaded.standings if each.state is State.FAILED]
    if failed:
        return SkyburstError(failed[0].code, failed[0].error, "load again once that is mended")
    return SkyburstError("release_not_loaded", "not every transaction stands", "load again")
