"""A release, a double, and loaders that are killed: what the workers hold at the end is counted."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path
from random import Random

from doubles import release_world
from doubles.nursery import Forked, Nursery

from consumers.release.double import QservDouble
from stream.local.process import wait_until

LONG_S = 60.0


class ReleaseStory:
    """Loader processes on one release, one ledger and one double."""

    def __init__(self, qserv: QservDouble, nursery: Nursery, folder: Path, logs: Path, chance: Random) -> None:
        self.qserv, self.folder, self.chance = qserv, folder, chance
        self._nursery, self._logs = nursery, logs
        self.kills: Counter[str] = Counter()
        self._number = 0
        logs.mkdir()

    def environment(self, **more: str) -> dict[str, str]:
        """Settings of an impatient loader with small transactions."""
        return {
            "PATH": os.environ["PATH"],
            "SKYBURST_QSERV": self.qserv.url,
            "SKYBURST_QSERV_AUTH_KEY": self.qserv.auth_key,
            "SKYBURST_QSERV_ADMIN_KEY": self.qserv.admin_auth_key,
            "SKYBURST_RELEASE_LEAST_TRANSACTION_BYTES": "1",
            "SKYBURST_RELEASE_LEASE_S": "0.4",
            "SKYBURST_RELEASE_UNREACHABLE_S": "20",
        } | more

    def start(self, argv: list[str], entry: str, **more: str) -> Forked:
        """A process of this story."""
        self._number += 1
        log = self._logs / f"{self._number}.log"
        return self._nursery.start(argv, self.environment(**more), log, entry=entry)

    def load(self, **more: str) -> Forked:
        """``skyburst release load``."""
        return self.start(["release", "load", str(self.folder)], "stream.cli.group", **more)

    def armed(self, told: str, **more: str) -> Forked:
        """A loader that dies, or freezes, at a named instant."""
        return self.start([str(self.folder), told], "crash.release_entry", **more)

    def killed_at(self, name: str, count: int, **more: str) -> bool:
        """Run a loader until it kills itself there; whether it did."""
        done = self.armed(f"{name}@{count}", **more)
        killed = done.wait(LONG_S) == -signal.SIGKILL
        self.kills[name] += killed
        return killed

    def killed_after(self, seconds: float, **more: str) -> bool:
        """Kill a loader after so long; whether it still ran."""
        loader = self.load(**more)
        time.sleep(seconds)  # what is tested is that it may be any instant
        return self.kill(loader)

    def kill(self, loader: Forked) -> bool:
        """Kill a loader; whether it still ran."""
        loader.send(signal.SIGKILL)
        assert wait_until(lambda: loader.code is not None, LONG_S)
        killed = loader.code == -signal.SIGKILL
        assert killed or loader.code == 0, loader.said
        self.kills["random"] += killed
        return killed

    def finish(self, **more: str) -> None:
        """Load what is left, publish, and verify: nothing is missing, and nothing doubled."""
        for verb in ("load", "publish", "verify"):
            done = self.start(["release", verb, str(self.folder)], "stream.cli.group", **more)
            assert done.wait(LONG_S) == 0, done.said
        self.count()

    def count(self) -> None:
        """Hold what the workers have against the manifests, and the transactions against the plan."""
        held, wanted = release_world.counted(self.qserv), release_world.wanted(self.folder)
        missing = {place: rows - held.get(place, 0) for place, rows in wanted.items() if held.get(place, 0) < rows}
        doubled = {place: rows - wanted.get(place, 0) for place, rows in held.items() if rows > wanted.get(place, 0)}
        print(
            f"kills {dict(self.kills)}: {sum(self.kills.values())}; {sum(held.values())} rows held,"
            f" {sum(missing.values())} missing, {sum(doubled.values())} doubled;"
            f" transactions {dict(Counter(str(each.state) for each in self.qserv.memory.transactions.values()))}"
        )
        assert (missing, doubled) == ({}, {})
        finished = [each for each in self.qserv.memory.transactions.values() if str(each.state) == "FINISHED"]
        keys = Counter(each.context["skyburst"]["key"] for each in finished)
        assert keys and max(keys.values()) == 1
