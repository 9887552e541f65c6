"""An empty Qserv brought to the state that it had, from the files and manifests on disk alone."""

from __future__ import annotations

import asyncio

from consumers.release.load.gate import NotLoaded
from consumers.release.load.loader import Loader, refused
from consumers.release.load.plan import Plan
from consumers.release.load.release import check_places
from consumers.release.load.world import World
from consumers.release.publish.publishing import Wishes, publish
from stream.errors import Wrong

STEP = "rebuild"


async def rebuild(world: World, plan: Plan, wishes: Wishes) -> None:
    """Load and publish everything anew under a new ledger.

    One that was interrupted goes on where it was.

    Raises
    ------
    Wrong
        ``release_not_empty``: Qserv has the database. ``release_stale``: a table was placed by another partition of
        its director than is there (`check_places`).
    NotLoaded
        ``release_file_changed``: files are not the manifest's; nothing was done.
    """
    check_places(world.release)
    await world.asked(world.controller.version)
    if (await world.ledger.steps()).get(STEP) != "begun":
        if world.database in await world.asked(world.controller.databases):
            text = f"Qserv has the database {world.database}"
            raise Wrong("release_not_empty", text, "a rebuild is for an empty Qserv: see release load, release delete")
        changed = await asyncio.to_thread(
            lambda: [problem for each in plan.transactions for problem in world.files.changed(each)]
        )
        if changed:
            raise NotLoaded(changed)
        await world.ledger.empty()
        await world.ledger.step(STEP, "begun")
    loaded = await Loader(world, plan).run()
    if not loaded.complete:
        raise refused(loaded)
    await publish(world, wishes)
    await world.ledger.step(STEP, "done")
