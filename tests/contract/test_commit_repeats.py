"""Commits of new packets alone ask nobody which are new; of others every packet is told apart, as if they had asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from committing import make_tables, writing
from doubles.ingest_live import rows
from doubles.ingest_run import packet

from stream.commit import rows as commit_rows
from stream.errors import Fenced


@pytest.fixture(params=["mariadb", "sqlite"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with tables, once of each kind."""
    made: str = f"sqlite:///{tmp_path}/l1.db" if request.param == "sqlite" else request.getfixturevalue("level1_url")
    await make_tables(made)
    return made


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many ids of others each locking read of a commit found."""
    real, found = commit_rows.foreign_rows, list[int]()

    async def counting(*arguments: Any) -> Any:
        foreign = await real(*arguments)
        found.append(len(foreign))
        return foreign

    monkeypatch.setattr(commit_rows, "foreign_rows", counting)
    return found


async def test_while_all_is_new_nothing_is_read_back_and_while_something_is_not_everything_is(
    url: str, tmp_path: Path, asked: list[int]
) -> None:
    async with writing(url, tmp_path / "a") as writer:
        offset, seen = 0, list[tuple[list[int], int, int, int, int]]()
        for messages in (
            [packet(1), packet(2)],
            [packet(3)],
            [packet(4), packet(2), packet(1, psfFlux=2.0)],  # a repeat and a conflict: refused, and done again
            [packet(5), packet(6)],  # still read back
            [packet(7)],
            [packet(8), packet(8)],  # a repeat within the batch: the first is new without a look
            [packet(9)],
        ):
            done = await writer.committer.commit(await writer.batch({0: messages}, {0: offset}))
            offset += len(messages)
            transactions = writer.points.passed.count("after_begin")
            writer.points.passed.clear()
            seen.append((list(asked), transactions, done.new, done.repeated, done.conflicts))
            asked.clear()
    assert seen == [
        ([], 1, 2, 0, 0),
        ([], 1, 1, 0, 0),
        ([2], 2, 1, 1, 1),
        ([0], 1, 2, 0, 0),
        ([], 1, 1, 0, 0),
        ([], 1, 1, 1, 0),
        ([0], 1, 1, 0, 0),
    ]
    assert [tuple(row) for row in await rows(url, "SELECT diaSourceId FROM level1 ORDER BY 1")] == [
        (k,) for k in range(1, 10)
    ]
    kinds = await rows(url, "SELECT kafkaOffset, diaSourceId, kind FROM level1_repeat ORDER BY 1")
    assert [tuple(row) for row in kinds] == [(4, 2, "repeated"), (5, 1, "conflict"), (10, 8, "repeated")]
    (parts,) = await rows(url, "SELECT SUM(new), SUM(repeated), SUM(conflicts) FROM visit_part")
    assert tuple(map(int, parts)) == (9, 2, 1)


async def test_of_what_was_refused_for_a_row_that_stands_nothing_is_left(url: str, tmp_path: Path) -> None:
    """The database refuses the new packet's row after others of its batch went in, and the commit dies behind that."""
    async with writing(url, tmp_path / "a") as writer:
        await writer.committer.commit(await writer.batch({0: [packet(5)]}, {}))

        def die() -> None:
            writer.points.then["after_begin"] = lambda: (_ for _ in ()).throw(Fenced("gone", "made by the test"))

        writer.points.then["after_begin"] = die
        with pytest.raises(Fenced, match="made by the test"):
            await writer.committer.commit(await writer.batch({0: [packet(4), packet(5)]}, {0: 1}))
    found = [tuple(row) for row in await rows(url, "SELECT diaSourceId FROM level1")]
    ledger = await rows(url, "SELECT next FROM ledger WHERE kafkaPartition = 0")
    assert (found, [tuple(row) for row in ledger]) == ([(5,)], [(1,)])
    assert len(await rows(url, "SELECT * FROM commits")) == 1 == len(await rows(url, "SELECT * FROM commit_ranges"))


def test_parts_are_the_rows_that_differ_in_order(rng: np.random.Generator) -> None:
    for n in (1, 2, 50, 3000):
        keys = rng.integers(-3, 3, (n, 3)) * np.array([10**12, 1, 7])
        parts, part = commit_rows._groups(keys)
        expected, back = np.unique(keys, axis=0, return_inverse=True)
        assert (parts == expected).all() and (part == back.ravel()).all()
