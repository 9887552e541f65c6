"""What a loader finds at its beginning, while other loaders go on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from doubles import release_world
from doubles.release_loading import load, world_of

from consumers.release.double import QservDouble
from consumers.release.load.loader import Loader
from consumers.release.load.sweeping import sweep
from consumers.release.load.world import World
from consumers.release.service import Controller, Transaction, TransactionState

SMALL = {"release_transactions": 1, "release_least_transaction_bytes": 1}


class Slow(Controller):
    """A controller whose list of transactions arrives only after something else has happened."""

    def __init__(self, world: World, meanwhile: asyncio.Event, arrive: asyncio.Event) -> None:
        super().__init__(world.wire, world.controller.url)
        self._meanwhile, self._arrive = meanwhile, arrive

    async def transactions(self, database: str) -> Sequence[Transaction]:
        found = await super().transactions(database)
        self._meanwhile.set()
        await self._arrive.wait()
        return found


class Stale(Controller):
    """A controller whose list of transactions is older than their commits."""

    def __init__(self, world: World, state: TransactionState) -> None:
        super().__init__(world.wire, world.controller.url)
        self._state = state

    async def transactions(self, database: str) -> Sequence[Transaction]:
        found = await super().transactions(database)
        return [replace(each, state=self._state, by_status={}) for each in found]


def forget(folder: Path) -> None:
    """Lose the ledger."""
    for path in folder.glob("load.sqlite*"):
        path.unlink()


async def test_what_another_loader_commits_while_the_list_is_under_way_is_not_held_to_be_lost(
    qserv: QservDouble, release_folder: Path
) -> None:
    listed, committed = asyncio.Event(), asyncio.Event()
    began, go_on = asyncio.Event(), threading.Event()
    loop, times = asyncio.get_running_loop(), 0

    def crossing(name: str) -> None:
        nonlocal times
        if name == "before_commit" and times == 0:
            loop.call_soon_threadsafe(began.set)
            assert go_on.wait(30)
        elif name == "before_begin" and times:
            loop.call_soon_threadsafe(committed.set)
        times += name == "before_commit"

    loading = asyncio.create_task(
        asyncio.to_thread(lambda: asyncio.run(load(qserv, release_folder, crossing=crossing, **SMALL)))  # type: ignore[arg-type]
    )
    async with world_of(qserv, release_folder, **SMALL) as (world, _):
        await asyncio.wait_for(began.wait(), 30)
        world.controller = Slow(world, listed, committed)
        sweeping = asyncio.create_task(sweep(world))
        await asyncio.wait_for(listed.wait(), 30)
        go_on.set()
        assert await asyncio.wait_for(sweeping, 30) == 0
    assert (await loading).complete
    assert release_world.counted(qserv) == release_world.wanted(release_folder)


async def test_what_was_taken_in_without_a_ledger_is_known_to_the_loads_after(
    qserv: QservDouble, release_folder: Path
) -> None:
    begun = len((await load(qserv, release_folder)).standings)
    forget(release_folder)
    for _ in range(3):
        assert (await load(qserv, release_folder)).complete
    assert [str(each.state) for each in qserv.memory.transactions.values()] == ["FINISHED"] * begun


@pytest.mark.parametrize(("ends", "lease_s"), [("adopts", 30.0), ("dies", 0.5)])
async def test_what_another_loader_is_taking_in_is_waited_for_and_never_loaded_again(
    qserv: QservDouble, release_folder: Path, ends: str, lease_s: float
) -> None:
    more = SMALL | {"release_lease_s": lease_s}
    last = (await load(qserv, release_folder, **SMALL)).standings[-1]  # type: ignore[arg-type]
    begun, number = len(qserv.memory.transactions), last.transaction
    forget(release_folder)
    async with (
        world_of(qserv, release_folder, **more) as (other, planned),
        world_of(qserv, release_folder, **more) as (world, _),
    ):
        await other.ledger.prepare(planned)
        held = await other.ledger.take([last.key])
        assert held is not None and number is not None
        loading = asyncio.create_task(Loader(world, planned).run())
        while [str(each.state) for each in await other.ledger.standings()].count("committed") < begun - 1:
            done, _ = await asyncio.wait([loading], timeout=0.01)
            assert not done, loading.result()
        if ends == "adopts":
            await other.ledger.adopt(held, number)
        assert (await asyncio.wait_for(loading, 30)).complete
    assert len(qserv.memory.transactions) == begun
    assert release_world.counted(qserv) == release_world.wanted(release_folder)


@pytest.mark.parametrize("state", [TransactionState.STARTED, TransactionState.IS_FINISHING])
async def test_what_is_committed_under_a_lost_ledger_while_a_loader_takes_over_is_taken_in(
    qserv: QservDouble, release_folder: Path, state: TransactionState
) -> None:
    begun = len((await load(qserv, release_folder)).standings)
    forget(release_folder)
    async with world_of(qserv, release_folder) as (world, planned):
        world.controller = Stale(world, state)
        assert (await Loader(world, planned).run(take_over=True)).complete
    assert [str(each.state) for each in qserv.memory.transactions.values()] == ["FINISHED"] * begun
    assert release_world.counted(qserv) == release_world.wanted(release_folder)
