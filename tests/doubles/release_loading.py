"""Loaders as tests run them: against a double, impatient, with a transaction for every few kilobytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from consumers.release.double import QservDouble
from consumers.release.load.crossing import Crossing, nothing
from consumers.release.load.loader import Loaded, Loader
from consumers.release.load.opening import cutting, opened
from consumers.release.load.plan import Plan, plan
from consumers.release.load.progress import Silent
from consumers.release.load.release import read
from consumers.release.load.world import World
from consumers.release.publish.publishing import Wishes, publish
from consumers.release.publish.verifying import Check, Thoroughness, verify
from consumers.release.settings import ReleaseSettings


class Heard(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def says(self, text: str) -> None:
        self.said.append(text)


def settings_of(double: QservDouble, **more: object) -> ReleaseSettings:
    """Settings for a double."""
    given = {
        "qserv": double.url,
        "qserv_auth_key": double.auth_key,
        "qserv_admin_key": double.admin_auth_key,
        "release_unreachable_s": 5.0,
        "release_least_transaction_bytes": 5000,
    }
    return ReleaseSettings.load(given | more)


@asynccontextmanager
async def world_of(
    double: QservDouble, folder: Path, *, crossing: Crossing = nothing, heard: Heard | None = None, **more: object
) -> AsyncIterator[tuple[World, Plan]]:
    """A loader's world, and the plan."""
    settings = settings_of(double, **more)
    release = read(folder)
    async with opened(release, settings, crossing=crossing, progress=heard) as world:
        await world.ledger.make()
        yield world, plan(release, cutting(settings))


async def load(
    double: QservDouble,
    folder: Path,
    *,
    take_over: bool = False,
    crossing: Crossing = nothing,
    heard: Heard | None = None,
    **more: object,
) -> Loaded:
    """Load a release."""
    async with world_of(double, folder, crossing=crossing, heard=heard, **more) as (world, planned):
        return await Loader(world, planned).run(take_over=take_over)


async def published(double: QservDouble, folder: Path, wishes: Wishes | None = None, **more: object) -> None:
    """Publish a release that is loaded."""
    async with world_of(double, folder, **more) as (world, _):
        await publish(world, wishes or Wishes())


async def verified(
    double: QservDouble, folder: Path, wishes: Wishes | None = None, *, files: bool = False, **more: object
) -> list[Check]:
    """What verify finds."""
    async with world_of(double, folder, **more) as (world, _):
        return await verify(world, wishes or Wishes(), Thoroughness(files=files))
