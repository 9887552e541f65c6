"""Lives of a machine on which two daemons commit, and what must hold after its power went."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from commit_on_disk import Log, Player, World
from doubles.disk import ForgetfulDisk, PowerLost


class Story:
    """Two daemons on one machine; the first acts, the second does what is done to it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.players: list[Player] = []

    async def play(self, actions: Sequence[str]) -> None:
        self.players = [await Player.start(self.world), await Player.start(self.world)]
        for action in actions:
            await getattr(self, action.replace(" ", "_"))()
            self.players.reverse()

    async def commit(self) -> None:
        await self.players[0].commit()

    async def fenced(self) -> None:
        """Both make a batch of the same records; the second is too late."""
        first, second = self.players
        late = await second.batch(5)
        await first.commit(6)
        if late is not None:
            assert not await second.publish(late)

    async def seal(self) -> None:
        await self.players[0].seal()

    async def take_over(self) -> None:
        await self.players[0].take_over()

    async def sweep(self) -> None:
        await self.players[0].sweep()

    async def restart(self) -> None:
        self.players[0] = await Player.start(self.world)

    async def sealed_while_frozen(self) -> None:
        await self._frozen("after_sync", self.players[1].take_over)

    async def swept_while_frozen(self) -> None:
        await self._frozen("after_sync", self.players[1].sweep)

    async def outrun_while_frozen(self) -> None:
        await self._frozen("after_sync", self.players[1].commit)

    async def ahead(self) -> None:
        await self.players[0].two()

    async def ahead_and_fenced(self) -> None:
        await self.players[0].two(self.players[1].commit)

    async def ahead_and_sealed(self) -> None:
        await self.players[0].two(self.players[1].take_over)

    async def ahead_and_swept(self) -> None:
        await self.players[0].two(self.players[1].sweep)

    async def _frozen(self, where: str, meanwhile: Callable[[], Awaitable[object]]) -> None:
        steps = self.players[0].steps
        steps.hold(where)
        commit = asyncio.ensure_future(self.players[0].commit())
        held = asyncio.ensure_future(asyncio.to_thread(steps.held.wait, 30))
        try:
            await asyncio.wait([commit, held], return_when=asyncio.FIRST_COMPLETED)
            await meanwhile()
        finally:
            steps.held.set()
            steps.go_on.set()
            await asyncio.gather(commit, held, return_exceptions=True)
        commit.result()


@asynccontextmanager
async def machine(disk: ForgetfulDisk, database: Path, log: Log) -> AsyncIterator[World]:
    with ThreadPoolExecutor(1) as pool:
        world = World(disk, database, log, pool)
        try:
            yield world
        finally:
            await world.engine.dispose()


def live(disk: ForgetfulDisk, database: Path, log: Log, actions: Sequence[str]) -> None:
    """A machine's life, until the actions are over or its power goes."""

    async def run() -> None:
        async with machine(disk, database, log) as world:
            await Story(world).play(actions)

    try:
        asyncio.run(run())
    except PowerLost:
        assert disk.power is not None


def check(disk: ForgetfulDisk, database: Path, log: Log, folder: Path) -> None:
    """What is published is whole; and the next daemon can take over everything, go on to the log's end, and sweep."""

    async def run() -> None:
        async with machine(disk, database, log) as world:
            found = world.count(folder)
            assert found.sound, found
            player = await Player.start(world)
            await player.take_over()
            await player.commit(len(log[0]))
            await player.seal()
            await player.sweep()
            found = world.count(folder)
            assert found.sound, found
            assert found.kept + found.quarantined + found.tombstones == sum(map(len, log))

    asyncio.run(run())
