"""Taking away: unpublish, replace a table, delete the database. Each is written down first, and can be said again."""

from __future__ import annotations

from functools import partial

from consumers.release.load.registering import look
from consumers.release.load.world import World
from consumers.release.publish.publishing import is_published
from consumers.release.service import LostAnswer, Refused
from stream.errors import Wrong


async def unpublish(world: World) -> bool:
    """Take the publication back, so that more can be loaded; whether there was one.

    Raises
    ------
    Wrong
        ``qserv_no_admin_key``: it needs the administrator's key.
    """
    await world.asked(world.controller.version)
    if not await is_published(world):
        return False
    # To say it twice is to have it once.
    await world.asked(partial(world.controller.unpublish, world.database))
    await world.ledger.forget_steps()
    return True


async def replace(world: World, table: str) -> None:
    """Drop a table of Qserv and of the ledger, so that it is loaded anew.

    Raises
    ------
    Wrong
        ``unknown_table``: the release has no such table. ``qserv_no_admin_key``. ``release_followed``: a director that
        others follow cannot go alone.
    """
    world.release.database.table(table)
    followers = [
        name for name, each in world.release.tables.items() if table in {one.director for one in each.table.follows}
    ]
    if followers:
        text = f"{', '.join(followers)} follow {table}"
        raise Wrong("release_followed", text, "run release delete, then load all of it")
    world.wire.keys.of(admin=True)
    await unpublish(world)
    await world.ledger.step(f"replace:{table}", "begun")
    try:
        await _drop(world, table)
    except (Refused, Wrong):
        await world.ledger.step(f"replace:{table}", "done")
        raise
    await world.ledger.retire(table)
    await world.ledger.step(f"replace:{table}", "done")


async def _drop(world: World, table: str) -> None:
    state = await look(world)
    if state is None or table not in {each.name for each in state.tables}:
        return
    try:
        await world.told(partial(world.controller.delete_table, world.database, table, published=True))
    except LostAnswer as lost:
        world.progress.says(f"looking whether {table} is there: {lost.message}")
        await _drop(world, table)


async def delete(world: World) -> bool:
    """Drop the database with all that it has, and empty the ledger; whether there was one.

    Raises
    ------
    Wrong
        ``qserv_no_admin_key``: it is published, and that needs the administrator's key.
    """
    await world.asked(world.controller.version)
    there = (await world.asked(world.controller.databases)).get(world.database)
    if there:
        world.wire.keys.of(admin=True)
    await world.ledger.step("delete", "begun")
    if there is not None:
        try:
            await world.told(partial(world.controller.delete_database, world.database, published=there))
        except LostAnswer as lost:
            world.progress.says(f"looking whether {world.database} is there: {lost.message}")
            await delete(world)
            return True
        except (Refused, Wrong):
            await world.ledger.step("delete", "done")
            raise
    await world.ledger.empty()
    return there is not None
