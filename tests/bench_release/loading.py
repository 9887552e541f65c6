"""One load in a process of its own, as a user's would be: ``KIND FOLDER``; prints its seconds as JSON.

The kinds: ``skyburst`` is the loader with everything it does; ``bare`` asks the same service for the same contributions
and a commit by a plain loop of eight callers, without a ledger, without a gate and without looking at a file.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp

from consumers.release.load import registering
from consumers.release.load.loader import Loader
from consumers.release.load.opening import cutting, opened
from consumers.release.load.plan import Plan, Planned, plan
from consumers.release.load.release import read
from consumers.release.load.world import World
from consumers.release.settings import ReleaseSettings

CALLERS = 8


async def _skyburst(world: World, planned: Plan) -> None:
    loaded = await Loader(world, planned).run()
    assert loaded.complete, loaded.failed


async def _bare(world: World, planned: Plan) -> None:
    await registering.register(world)
    contributions = [each for one in planned.transactions for each in one.contributions]
    begun = await world.controller.begin(world.database, {})
    chunks = sorted({each.chunk for each in contributions})
    places = {place.chunk: place for place in await world.controller.chunks(begun.id, chunks)}
    left = iter(contributions)
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(
            *(_call(session, world, begun.id, {c: p.url for c, p in places.items() if c}, left) for _ in range(CALLERS))
        )
    while (await world.controller.transaction(begun.id, counted=True)).by_status["FINISHED"] < len(contributions):
        await asyncio.sleep(0.1)
    await world.controller.end(begun.id, abort=False)


async def _call(
    session: aiohttp.ClientSession, world: World, transaction: int, urls: dict[int, str], left: Iterator[Planned]
) -> None:
    for each in left:
        body = {
            "auth_key": world.wire.keys.auth,
            "transaction_id": transaction,
            "table": each.table,
            "chunk": each.chunk,
            "overlap": int(each.overlap),
            "fields_terminated_by": ",",
            "url": world.files.url_of(each, ""),
        }
        async with session.post(f"{urls[each.chunk]}/ingest/file-async?version=55", json=body) as answer:
            told = await answer.json()
            assert told["success"], told


async def _measure(kind: str, folder: Path) -> float:
    settings = ReleaseSettings.load()
    begun = time.perf_counter()
    release = read(folder)
    async with opened(release, settings) as world:
        planned = plan(release, cutting(settings))
        await (_skyburst if kind == "skyburst" else _bare)(world, planned)
    return time.perf_counter() - begun


if __name__ == "__main__":
    print(json.dumps({"seconds": asyncio.run(_measure(sys.argv[1], Path(sys.argv[2])))}))
