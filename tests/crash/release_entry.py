"""A loader that kills or freezes itself at a named instant: ``FOLDER NAME@COUNT[=stop]``; settings by environment."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from consumers.release.load.crossing import NAMES
from consumers.release.load.loader import Loader
from consumers.release.load.opening import cutting, opened
from consumers.release.load.plan import plan
from consumers.release.load.progress import Lines
from consumers.release.load.release import read
from consumers.release.publish.publishing import Wishes, publish
from consumers.release.settings import ReleaseSettings


class Armed:
    """Sends this very process a signal at the count-th passing of a name."""

    def __init__(self, told: str) -> None:
        self._name, _, rest = told.partition("@")
        count, _, action = rest.partition("=")
        assert self._name in NAMES, told
        self._left = int(count)
        self._signal = signal.SIGSTOP if action == "stop" else signal.SIGKILL

    def __call__(self, name: str) -> None:
        if name == self._name:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), self._signal)


async def _run(folder: Path, armed: Armed) -> bool:
    settings = ReleaseSettings.load()
    release = read(folder)
    async with opened(release, settings, progress=Lines(every_s=0.0), crossing=armed) as world:
        done = (await Loader(world, plan(release, cutting(settings))).run()).complete
        await publish(world, Wishes())
        return done


def main() -> None:
    """Load and publish, and die on the way."""
    folder, told = sys.argv[1:]
    sys.exit(0 if asyncio.run(_run(Path(folder), Armed(told))) else 1)
