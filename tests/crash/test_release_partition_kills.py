"""SIGKILL at random instants of a partition: nothing is missing, nothing doubled, and the files are the same."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from crash.release_kills import expected, kill_until_done, on_disk, run, told
from doubles.release_tables import objects, write


@pytest.mark.parametrize(
    ("kills", "rows"), [(6, 24_000), pytest.param(32, 80_000, marks=pytest.mark.long)], ids=["few", "many"]
)
def test_a_partition_killed_at_random_instants_misses_no_row_and_doubles_none(
    tmp_path: Path, rng: np.random.Generator, kills: int, rows: int
) -> None:
    files = [write(objects(rng, rows // 2, i * rows), tmp_path / f"{i}.parquet", 9000) for i in range(2)]
    usual_s = run("OBJECT", files, tmp_path / "whole")
    chance = random.Random(int(rng.integers(1 << 32)))
    lines, killed, cycle = expected(files), 0, 0
    while killed < kills:
        cycle += 1
        release = tmp_path / f"killed{cycle}"
        killed += kill_until_done("OBJECT", files, release, min(4, kills - killed), usual_s, chance)
        assert on_disk(release / "Object") == lines
        assert told(release / "Object") == told(tmp_path / "whole/Object")
        assert names(release) == names(tmp_path / "whole")
    print(f"{killed} kills of {cycle} partitions, each of {usual_s:.2f} s")


def names(release: Path) -> list[str]:
    return sorted(path.name for path in (release / "Object").iterdir())
