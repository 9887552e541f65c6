"""The power goes at every step of commits, seals, takeovers and sweeps: what is published is there, byte for byte."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from commit_lives import check, live
from commit_on_disk import empty_database, made_log
from doubles.disk import ForgetfulDisk
from hypothesis import given, settings
from hypothesis import strategies as st

ACTIONS = (
    "commit",
    "commit",
    "commit",
    "fenced",
    "seal",
    "take over",
    "sweep",
    "restart",
    "sealed while frozen",
    "swept while frozen",
    "outrun while frozen",
    "ahead",
    "ahead and fenced",
    "ahead and sealed",
    "ahead and swept",
)
EVERYTHING = ("commit", *ACTIONS[2:], "commit")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the database is kept of which each life begins with a copy."""
    return tmp_path_factory.mktemp("database") / "template.db"


def every_step(folder: Path, template: Path, first: int, every: int) -> None:
    """Let the power go before step `first`, and before every so many after it."""
    log = made_log(1)
    whole = ForgetfulDisk()
    live(whole, empty_database(folder / "whole.db", template), log, EVERYTHING)
    check(whole.after_crash(random.Random(0)), folder / "whole.db", log, folder / "alertdb")
    print(f"{whole.calls} steps")
    for power in range(first, whole.calls, every):
        disk, database = ForgetfulDisk(power), empty_database(folder / f"{power}.db", template)
        live(disk, database, log, EVERYTHING)
        check(disk.after_crash(random.Random(power)), database, log, folder / "alertdb")


def test_the_power_goes_at_every_tenth_step(tmp_path: Path, template: Path, rng: np.random.Generator) -> None:
    """Other steps in each run; all of them in `test_the_power_goes_at_every_step`."""
    every_step(tmp_path, template, int(rng.integers(10)), 10)


@pytest.mark.long
def test_the_power_goes_at_every_step(tmp_path: Path, template: Path) -> None:
    every_step(tmp_path, template, 0, 1)


LIVES = st.lists(st.tuples(st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=6), st.integers(0, 150)), max_size=3)


def some_lives(folder: Path, template: Path, lives: list[tuple[list[str], int]], seed: int) -> None:
    """One life after the other; after each the disk forgets."""
    disk, log = ForgetfulDisk(), made_log(seed % 7)
    database = empty_database(folder / "level1.db", template)
    for number, (actions, power) in enumerate(lives):
        disk.power = power
        live(disk, database, log, actions)
        disk = disk.after_crash(random.Random(seed + number))
    check(disk, database, log, folder / "alertdb")


@settings(max_examples=20)
@given(LIVES, st.integers(0, 2**32 - 1))
def test_whatever_is_done_and_whenever_the_power_goes(
    tmp_path_factory: pytest.TempPathFactory, template: Path, lives: list[tuple[list[str], int]], seed: int
) -> None:
    some_lives(tmp_path_factory.mktemp("lives"), template, lives, seed)


@pytest.mark.long
@settings(max_examples=100)
@given(LIVES, st.integers(0, 2**32 - 1))
def test_whatever_is_done_and_whenever_the_power_goes_more_often(
    tmp_path_factory: pytest.TempPathFactory, template: Path, lives: list[tuple[list[str], int]], seed: int
) -> None:
    some_lives(tmp_path_factory.mktemp("lives"), template, lives, seed)
