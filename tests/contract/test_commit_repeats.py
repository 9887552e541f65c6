"""Commits of new packets alone ask nobody which are new; of others every packet is told apart, as if they had asked."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pymysql
import pytest
from committing import besides, database, make_tables, writing
from doubles.ingest_live import execute, rows
from doubles.ingest_run import packet
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from stream.commit import rows as commit_rows
from stream.tables import bulk


@pytest.fixture(params=["mariadb", "mariadb without bulk", "sqlite"])
async def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with tables: once of each kind, and once as if the server did not offer its bulk command."""
    if request.param == "mariadb without bulk":
        monkeypatch.setattr(bulk, "_BULK", 0)
    return await database(request, tmp_path)


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
        offset, seen = 0, list[tuple[list[int], bool, int, int, int]]()
        for messages in (
            [packet(1), packet(2)],
            [packet(3)],
            [packet(4), packet(2), packet(1, psfFlux=2.0)],  # a repeat and a conflict: refused, and done again
            [packet(5), packet(6)],  # still read back
            [packet(7)],
            [packet(8), packet(8)],  # a repeat within the batch: the first is new without a look
            [packet(9)],
            [None],  # of no alert: nothing changes
            [packet(9), packet(9)],
            [None],
            [packet(10)],
        ):
            done = await writer.committer.commit(await writer.batch({0: messages}, {0: offset}))
            offset += len(messages)
            assert writer.points.passed.count("after_begin") == 1 + done.again
            assert writer.points.passed.count("after_refused") == done.again
            writer.points.passed.clear()
            seen.append((list(asked), done.again, done.new, done.repeated, done.conflicts))
            asked.clear()
    assert seen == [
        ([], False, 2, 0, 0),
        ([], False, 1, 0, 0),
        ([2], True, 1, 1, 1),
        ([0], False, 2, 0, 0),
        ([], False, 1, 0, 0),
        ([], False, 1, 1, 0),
        ([], False, 1, 0, 0),
        ([], False, 0, 0, 0),
        ([1], True, 0, 2, 0),
        ([], False, 0, 0, 0),
        ([0], False, 1, 0, 0),
    ]
    ids = [tuple(row) for row in await rows(url, "SELECT diaSourceId FROM level1 ORDER BY 1")]
    assert ids == [(k,) for k in range(1, 11)]
    kinds = await rows(url, "SELECT kafkaOffset, diaSourceId, kind FROM level1_repeat ORDER BY 1")
    assert [tuple(row) for row in kinds] == [
        (4, 2, "repeated"), (5, 1, "conflict"), (10, 8, "repeated"), (13, 9, "repeated"), (14, 9, "repeated"),
    ]  # fmt: skip
    (parts,) = await rows(url, "SELECT SUM(new), SUM(repeated), SUM(conflicts) FROM visit_part")
    assert tuple(map(int, parts)) == (10, 4, 1)


async def test_of_what_was_refused_for_a_row_that_stands_nothing_is_left_when_it_is_done_again(
    url: str, tmp_path: Path
) -> None:
    """Whoever looks at that instant sees only what stood, and has no lock to wait for."""
    found = list[int]()

    async def look() -> None:
        found.extend(row[0] for row in await rows(url, "SELECT COUNT(*) FROM commits"))
        await execute(url, "UPDATE level1 SET snr = 7.0")

    async with writing(url, tmp_path / "a") as writer:
        await writer.committer.commit(await writer.batch({0: [packet(5)]}, {}))
        writer.points.then["after_refused"] = besides(look())
        done = await writer.committer.commit(await writer.batch({0: [packet(4), packet(5)]}, {0: 1}))
    assert done.again and (done.new, done.repeated) == (1, 1)
    assert found == [1]
    assert len(await rows(url, "SELECT * FROM level1 WHERE snr = 7.0")) == 1


@pytest.mark.parametrize("landed", [True, False])
async def test_an_id_that_another_daemon_took_while_a_commits_answer_was_lost_is_told_apart(
    level1_url: str, tmp_path: Path, landed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_tables(level1_url)
    real, lost = AsyncConnection.commit, list[str]()

    async with writing(level1_url, tmp_path / "a") as one, writing(level1_url, tmp_path / "b") as two:

        async def losing(connection: AsyncConnection) -> None:
            if lost or connection.engine is not one.engine:
                return await real(connection)
            lost.append("answer")
            await (real(connection) if landed else connection.rollback())
            batch = await two.batch({1: [packet(2), packet(3)]}, {})
            await two.committer.commit(batch)
            raise OperationalError("", {}, pymysql.err.OperationalError(2013, "made by the test"))

        ours = await one.batch({0: [packet(1), packet(2)]}, {})
        monkeypatch.setattr(AsyncConnection, "commit", losing)
        done = await one.committer.commit(ours)
    assert lost and (done.new, done.repeated, done.again) == ((2, 0, False) if landed else (1, 1, True))
    assert len(await rows(level1_url, "SELECT * FROM level1")) == 3
    (repeat,) = await rows(level1_url, "SELECT kafkaPartition, diaSourceId, kind FROM level1_repeat")
    assert tuple(repeat) == (1 if landed else 0, 2, "repeated")


async def test_four_writers_of_the_same_new_ids_and_one_that_stands_share_them_out(
    level1_url: str, tmp_path: Path
) -> None:
    """Those who wait for the same row may deadlock where its writer is refused: the database ends one, it goes on."""
    await make_tables(level1_url)
    names = "abcd"
    async with AsyncExitStack() as stack:
        writers = [await stack.enter_async_context(writing(level1_url, tmp_path / name)) for name in names]
        await writers[0].committer.commit(await writers[0].batch({0: [packet(1000)]}, {}))
        for turn in range(5):
            values = [packet(20 * turn + k) for k in range(1, 21)] + [packet(1000)]
            start = {0: 1 + 21 * turn} | dict.fromkeys((1, 2, 3), 21 * turn)
            batches = [await writer.batch({p: values}, start) for p, writer in enumerate(writers)]
            did = await asyncio.gather(*(w.committer.commit(b) for w, b in zip(writers, batches, strict=True)))
            assert sum(one.new for one in did) == 20 and sum(one.repeated for one in did) == 3 * 20 + 4
        told = {error.code for writer in writers for error in writer.told if error}
        assert told <= {"deadlock"} and not any(writer.left for writer in writers)
    assert len(await rows(level1_url, "SELECT * FROM level1")) == 101
    (parts,) = await rows(level1_url, "SELECT SUM(new), SUM(repeated), SUM(conflicts) FROM visit_part")
    assert tuple(map(int, parts)) == (101, 5 * 64, 0)


def test_parts_are_the_rows_that_differ_in_order(rng: np.random.Generator) -> None:
    for n in (1, 2, 50, 3000):
        keys = rng.integers(-3, 3, (n, 3)) * np.array([10**12, 1, 7])
        parts, part = commit_rows._groups(keys)
        expected, back = np.unique(keys, axis=0, return_inverse=True)
        assert (parts == expected).all() and (part == back.ravel()).all()
