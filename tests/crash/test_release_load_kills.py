"""Loaders are killed and frozen anywhere, and started again: no row is missing, and none is there twice."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from crash.release_story import LONG_S, ReleaseStory
from doubles import release_world
from doubles.nursery import Nursery

from consumers.release.double import QservDouble
from consumers.release.load.crossing import NAMES
from stream.local import LocalMariadb
from stream.local.process import wait_until

CHUNKS = tuple(range(7480, 7488))
ABORTING = {"before_abort", "after_abort"}
"""Passed only where an attempt before left what nobody can account for."""


@pytest.fixture
def qserv_in_thread(tmp_path: Path, mariadb: LocalMariadb) -> Iterator[QservDouble]:
    with QservDouble.in_thread(tmp_path / "double", mariadb=mariadb) as double:
        yield double


@pytest.fixture
def release(
    qserv_in_thread: QservDouble, nursery: Nursery, tmp_path: Path, rng: np.random.Generator, chance: Random
) -> ReleaseStory:
    folder = tmp_path / "dr1"
    release_world.made(folder, rng, rows=20, chunks=CHUNKS)
    return ReleaseStory(qserv_in_thread, nursery, folder, tmp_path / "logs", chance)


def named(story: ReleaseStory, by: str) -> None:
    """A kill at each name, and before those of an abort one that leaves something to abort."""
    for name in NAMES:
        if name in ABORTING:
            assert story.killed_at("before_send", 1, SKYBURST_RELEASE_BY=by)
        count = story.chance.randint(1, 2) if name not in (*ABORTING, "before_publish", "after_publish") else 1
        assert story.killed_at(name, count, SKYBURST_RELEASE_BY=by), name


def at_random(story: ReleaseStory, kills: int, longest_s: float, **more: str) -> None:
    """So many kills, at any instant of a load; with two loaders now and then, which both die."""
    more |= {"SKYBURST_RELEASE_TRANSACTIONS": "1"}
    while story.kills["random"] < kills:
        other = story.load(**more) if story.chance.random() < 0.3 else None
        story.killed_after(story.chance.uniform(0.05, longest_s), **more)
        if other is not None:
            story.kill(other)


@pytest.mark.parametrize("by", ["reference", pytest.param("value", marks=pytest.mark.long)])
def test_loaders_killed_at_every_named_instant_lose_and_double_nothing(release: ReleaseStory, by: str) -> None:
    named(release, by)
    release.finish()
    assert {name for name, count in release.kills.items() if count} == set(NAMES)


def test_loaders_killed_at_random_lose_and_double_nothing(release: ReleaseStory) -> None:
    release.qserv.troubles.contribution_delay_s = 0.2
    at_random(release, 6, 0.5)
    release.finish()
    assert release.kills["random"] >= 6


@pytest.mark.long
@pytest.mark.parametrize("by", ["reference", "value"])
def test_thirty_kills_at_random_lose_and_double_nothing(
    release: ReleaseStory, rng: np.random.Generator, by: str
) -> None:
    release_world.made(release.folder, rng, rows=20, chunks=range(7480, 7530))
    release.qserv.troubles.contribution_delay_s = 0.1
    at_random(release, 30, 0.6, SKYBURST_RELEASE_BY=by)
    release.finish()
    assert release.kills["random"] >= 30


def test_a_loader_frozen_at_its_commit_and_thawed_after_another_has_finished_doubles_nothing(
    release: ReleaseStory, level1_url: str
) -> None:
    """The ledger is in MariaDB, which ends what a frozen process has begun; the lock of an SQLite file stays."""
    ledger = {"SKYBURST_RELEASE_LEDGER": level1_url}
    where = release.chance.choice(["before_commit", "after_send", "before_gate"])
    frozen = release.armed(f"{where}@2=stop", **ledger)
    assert wait_until(lambda: _stopped(frozen.pid), LONG_S)
    done = release.load(**ledger)
    assert done.wait(LONG_S) == 0, done.said
    frozen.send(signal.SIGCONT)
    assert frozen.wait(LONG_S) == 0, frozen.said
    release.finish(**ledger)


def _stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
