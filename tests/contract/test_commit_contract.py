"""What a commit promises on either database: whole or not at all, fenced twice, repeated until its outcome is known."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from pathlib import Path
from typing import Any

import pymysql
import pytest
from committing import Writer, besides, database, make_tables, survey, writing
from doubles.disk import Fault, ForgetfulDisk, on
from doubles.ingest_live import execute, rows
from doubles.ingest_run import MJD, packet
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from stream.alertdb.segment import SegmentRef
from stream.commit import rows as commit_rows
from stream.commit import segments
from stream.commit.batch import Batch
from stream.commit.identity import survey_number
from stream.commit.sealing import heartbeat, seal
from stream.commit.takeover import left_behind, take_over_own
from stream.errors import Fatal, Fenced, Held, SkyburstError, Transient

TABLES = ["level1", "ledger", "segments", "commits", "commit_ranges", "level1_repeat", "quarantine", "visit_part"]


@pytest.fixture(params=["mariadb", "sqlite"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with tables, once of each kind."""
    return await database(request, tmp_path)


async def everything(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table of the commit, but for heartbeats and the rows of swept numbers."""
    out = {name: sorted(map(tuple, await rows(url, f"SELECT * FROM {name}")), key=repr) for name in TABLES}
    query = "SELECT segment, dataLength, indexLength, records, state FROM segments WHERE state <> 'swept'"
    return out | {"segments": sorted(map(tuple, await rows(url, query)))}


async def first_and_next(writer: Writer) -> None:
    """One commit, so that a segment stands with its row."""
    await writer.committer.commit(await writer.batch({0: [packet(1), packet(2)], 1: [packet(3)]}, {}))


async def test_a_commit_is_visible_whole(url: str, tmp_path: Path) -> None:
    async with writing(url, tmp_path / "a") as writer:
        messages = {0: [packet(1), packet(2), None, packet(2)], 1: [packet(3), packet(4)[:-1], packet(1, psfFlux=2.0)]}
        done = await writer.committer.commit(await writer.batch(messages, {}))
        assert (done.new, done.repeated, done.conflicts, done.quarantined) == (3, 1, 1, 1)
        assert done.visit_parts == 2 and done.data_bytes > 0 and done.index_bytes > 0
        now = await everything(url)
        assert {row[0]: row[1] for row in await rows(url, "SELECT kafkaPartition, next FROM ledger")} == {
            0: 4, 1: 3, 2: 0, 3: 0,
        }  # fmt: skip
        ranges = await rows(url, "SELECT kafkaPartition, records, tombstones FROM commit_ranges ORDER BY 1")
        assert [tuple(row) for row in ranges] == [(0, 3, 1), (1, 3, 0)]
        assert {name: len(found) for name, found in now.items()} == {
            "level1": 3, "ledger": 4, "segments": 2, "commits": 1, "commit_ranges": 2, "level1_repeat": 2,
            "quarantine": 1, "visit_part": 2,
        }  # fmt: skip


async def test_the_fence_refuses_a_ledger_that_has_moved_and_nothing_of_the_batch_is_seen(
    url: str, tmp_path: Path
) -> None:
    async with writing(url, tmp_path / "a") as first, writing(url, tmp_path / "a") as second:
        await first_and_next(first)
        before = await everything(url)
        late = await second.batch({0: [packet(1)], 2: [packet(9), packet(9)[:-1]]}, {})
        with pytest.raises(Fenced, match="1 of 2 places") as fenced:
            await second.committer.commit(late)
        assert fenced.value.code == "ledger_fenced"
        assert await everything(url) == before
        again = await second.batch({0: [packet(5)], 2: [packet(9)]}, {0: 2})
        assert (await second.committer.commit(again)).new == 2, "its next append writes over what was not published"


async def test_a_database_file_that_is_away_at_the_first_commit_is_waited_for(tmp_path: Path) -> None:
    file, away = tmp_path / "l1.db", tmp_path / "moved.db"
    await make_tables(f"sqlite:///{file}")
    async with writing(f"sqlite:///{file}", tmp_path / "a") as writer:
        batch, waits = await writer.batch({0: [packet(1)]}, {}), asyncio.Event()

        def tell(error: SkyburstError | None) -> None:
            writer.told.append(error)
            waits.set()

        writer.committer.tell = tell
        file.rename(away)
        commit = asyncio.create_task(writer.committer.commit(batch))
        await asyncio.wait({commit, asyncio.create_task(waits.wait())}, return_when=asyncio.FIRST_COMPLETED)
        away.rename(file)
        assert (await commit).new == 1
        assert {error.code for error in writer.told if error} == {"level1_away"} and writer.told[-1] is None


async def test_a_wait_that_a_fence_ends_is_over(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon goes on from the ledger: it must not say for ever that it waits."""
    real, lost = commit_rows.write_repeats, [1]

    async def losing(*arguments: Any) -> None:
        await real(*arguments)
        if lost:
            lost.pop()
            raise refusal(url, 2013)

    async with writing(url, tmp_path / "a") as writer:
        batch = await writer.batch({0: [packet(1)]}, {})
        monkeypatch.setattr(commit_rows, "write_repeats", losing)
        moves = [besides(execute(url, "UPDATE ledger SET next = 1 WHERE kafkaPartition = 0"))]

        def tell(error: SkyburstError | None) -> None:
            writer.told.append(error)
            if moves:
                moves.pop()()

        writer.committer.tell = tell
        with pytest.raises(Fenced):
            await writer.committer.commit(batch)
        assert [type(error) for error in writer.told] == [Transient, type(None)]


async def test_another_instance_of_the_database_ends_the_daemon_at_its_next_commit(url: str, tmp_path: Path) -> None:
    async with writing(url, tmp_path / "a") as writer:
        await first_and_next(writer)
        before = await everything(url)
        await execute(url, f"UPDATE schema_version SET instance = '{'f' * 32}'")
        for batch in (await writer.batch({3: [packet(7)]}, {}), Batch((), (), writer.number, survey().digest)):
            with pytest.raises(Fatal, match="with which this process began") as ended:
                await writer.committer.commit(batch)
            assert ended.value.code == "level1_instance"
        assert await everything(url) == before


async def test_another_instance_of_the_database_gets_no_survey_and_no_digest_of_one(url: str, tmp_path: Path) -> None:
    async with writing(url, tmp_path / "a") as writer:
        before = [tuple(row) for row in await rows(url, "SELECT * FROM surveys")]
        await execute(url, f"UPDATE schema_version SET instance = '{'f' * 32}'")
        for name in (survey().name, "another"):
            with pytest.raises(Fatal, match="with which this process began"):
                await survey_number(writer.engine, name, "0" * 32, writer.committer.daemon.instance)
        assert [tuple(row) for row in await rows(url, "SELECT * FROM surveys")] == before


@pytest.mark.parametrize("change", ["dataLength = dataLength + 1", "indexLength = indexLength - 1", "state = 'sealed'"])
async def test_the_second_fence_refuses_a_segment_that_somebody_changed_and_the_batch_goes_into_a_new_one(
    url: str, tmp_path: Path, change: str
) -> None:
    async with writing(url, tmp_path / "a") as writer:
        await first_and_next(writer)
        (old,) = await rows(url, "SELECT segment FROM segments")
        await execute(url, f"UPDATE segments SET {change}")
        (before,) = (await everything(url))["segments"]
        done = await writer.committer.commit(await writer.batch({0: [packet(11)]}, {0: 2}))
        assert done.new == 1
        ((mine, error),) = writer.left
        assert (mine.number, error.code) == (old.segment, "segment_fenced")
        after = {row[0]: row for row in (await everything(url))["segments"]}
        assert after.pop(old.segment) == before and [row[4] for row in after.values()] == ["open"]
        (row,) = await rows(url, "SELECT segment FROM level1 WHERE diaSourceId = 11")
        assert row.segment in after


async def test_a_number_that_was_swept_between_sync_and_transaction_is_never_published(
    url: str, tmp_path: Path
) -> None:
    async with writing(url, tmp_path / "a") as writer:

        def sweep() -> None:
            (mine,) = writer.committer.segments
            zeros = "stream, survey, night, dataLength, indexLength, records, heartbeat"
            texts = "kind, fingerprint, dataName, indexName, owner"
            values = ", ".join([str(mine.number), "'swept'", *["0"] * 7, *["''"] * 5])
            insert = f"INSERT INTO segments (segment, state, {zeros}, {texts}) VALUES ({values})"
            besides(execute(url, insert))()

        writer.points.then["after_sync"] = sweep
        done = await writer.committer.commit(await writer.batch({0: [packet(1)]}, {}))
        assert done.new == 1 and [error.code for _, error in writer.left] == ["segment_fenced"]
        (swept, kept) = sorted(await rows(url, "SELECT segment, state FROM segments"), key=lambda r: r.state == "open")
        assert (swept.state, kept.state) == ("swept", "open")
        (row,) = await rows(url, "SELECT segment FROM level1")
        assert row.segment == kept.segment


def refusal(url: str, number: int) -> OperationalError:
    """What the driver raises for a MariaDB error, or SQLite's own for a busy database."""
    if url.startswith("sqlite"):
        busy = sqlite3.OperationalError("database is locked")
        busy.sqlite_errorcode = sqlite3.SQLITE_BUSY
        return OperationalError("", {}, busy)
    return OperationalError("", {}, pymysql.err.OperationalError(number, "made by the test"))


@pytest.mark.parametrize("number", [1205, 1213])
async def test_a_lock_wait_or_a_deadlock_repeats_the_whole_transaction_from_the_fence(
    url: str, tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, write, left, strict = commit_rows.write_repeats, commit_rows.write_rows, [2], list[bool]()

    async def failing(*arguments: Any) -> None:
        await real(*arguments)
        left[0] -= 1
        if left[0] >= 0:
            raise refusal(url, number)

    async def writing_rows(*arguments: Any, **how: bool) -> Any:
        strict.append(how["strict"])
        return await write(*arguments, **how)

    monkeypatch.setattr(commit_rows, "write_repeats", failing)
    monkeypatch.setattr(commit_rows, "write_rows", writing_rows)
    async with writing(url, tmp_path / "a") as writer:
        done = await writer.committer.commit(await writer.batch({0: [packet(1), packet(1), packet(2)]}, {}))
        assert (done.new, done.repeated) == (2, 1)
        assert writer.points.passed.count("after_fence") == 3 and writer.points.passed.count("after_sync") == 1
        waited = {"level1_busy"} if url.startswith("sqlite") else {"deadlock" if number == 1213 else "lock_wait"}
        assert {error.code for error in writer.told if error} == waited and writer.told[-1] is None
        assert strict == ([True, False, False] if "deadlock" in waited else [True] * 3), "behind a deadlock it asks"
        assert {name: len(found) for name, found in (await everything(url)).items()} == {
            "level1": 2, "ledger": 4, "segments": 1, "commits": 1, "commit_ranges": 1, "level1_repeat": 1,
            "quarantine": 0, "visit_part": 1,
        }  # fmt: skip


@pytest.mark.parametrize("landed", [True, False])
async def test_a_commit_whose_answer_is_lost_is_looked_for_by_its_own_id(
    url: str, tmp_path: Path, landed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = AsyncConnection.commit, [1]

    async def lost(self: AsyncConnection) -> None:
        left[0] -= 1
        if left[0] < 0 or landed:
            await real(self)
        if left[0] >= 0:
            raise refusal(url, 2013)

    async with writing(url, tmp_path / "a") as writer:
        batch = await writer.batch({0: [packet(1), packet(2)]}, {})
        monkeypatch.setattr(AsyncConnection, "commit", lost)
        done = await writer.committer.commit(batch)
        monkeypatch.undo()
        assert done.new == 2 and writer.points.passed.count("after_begin") == (1 if landed else 2)
        (commit,) = await rows(url, "SELECT commitId FROM commits")
        assert commit.commitId == done.commit
        assert (await writer.committer.commit(await writer.batch({0: [packet(3)]}, {0: 2}))).new == 1


async def test_a_lock_wait_while_the_outcome_is_looked_for_means_that_it_is_still_unknown(
    level1_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_tables(level1_url)
    real_commit, real_execute, asked = AsyncConnection.commit, AsyncConnection.execute, list[str]()

    async def lost(self: AsyncConnection) -> None:
        monkeypatch.setattr(AsyncConnection, "commit", real_commit)
        await self.rollback()
        raise refusal(level1_url, 2013)

    async def still_held(self: AsyncConnection, statement: Any, *rest: Any) -> Any:
        if "FROM commits" in str(statement):
            asked.append(str(statement))
            if len(asked) < 4:
                raise refusal(level1_url, 1205)
        return await real_execute(self, statement, *rest)

    async with writing(level1_url, tmp_path / "a") as writer:
        batch = await writer.batch({0: [packet(1), packet(2)]}, {})
        monkeypatch.setattr(AsyncConnection, "commit", lost)
        monkeypatch.setattr(AsyncConnection, "execute", still_held)
        done = await writer.committer.commit(batch)
        monkeypatch.undo()
        assert done.new == 2 and len(asked) == 4
        assert writer.points.passed.count("after_begin") == 2, "not again before it was known"
        assert [error.code for error in writer.told if error] == ["level1_away", *["lock_wait"] * 3]


async def test_a_heartbeat_refreshes_only_the_rows_of_its_own_id(url: str, tmp_path: Path) -> None:
    async with writing(url, tmp_path / "a") as one, writing(url, tmp_path / "a") as two:
        await first_and_next(one)
        await two.committer.commit(await two.batch({2: [packet(8)]}, {}))
        await execute(url, "UPDATE segments SET heartbeat = 1.0")
        await heartbeat(one.engine, one.committer.daemon.id)
        beats = {row.owner: row.heartbeat for row in await rows(url, "SELECT owner, heartbeat FROM segments")}
        assert beats.pop(one.committer.daemon.id) > 1e9 and beats == {two.committer.daemon.id: 1.0}
        (left,) = await left_behind(one.engine, 60.0, "nobody")
        assert left.owner == two.committer.daemon.id


async def test_a_night_without_a_partition_is_held_and_committed_once_there_is_one(
    level1_url: str, tmp_path: Path
) -> None:
    await make_tables(level1_url)
    last = "PARTITION later VALUES LESS THAN MAXVALUE"
    await execute(level1_url, "ALTER TABLE level1 DROP PARTITION later")
    async with writing(level1_url, tmp_path / "a") as writer:
        await first_and_next(writer)
        before = await everything(level1_url)
        batch = await writer.batch({0: [packet(4, mjd=MJD + 3000)]}, {0: 2})
        for _ in range(2):
            with pytest.raises(Held) as held:
                await writer.committer.commit(batch)
            assert held.value.code == "level1_partition" and await everything(level1_url) == before
        await execute(level1_url, f"ALTER TABLE level1 ADD PARTITION ({last})")
        assert (await writer.committer.commit(batch)).new == 1


async def test_segments_used_longest_ago_are_let_go_where_too_many_would_be_open(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "MOST_OPEN", 3)
    async with writing(url, tmp_path / "a") as writer:
        for night in range(3):
            await writer.committer.commit(await writer.batch({0: [packet(night, mjd=MJD - night)]}, {0: night}))
        first, second, third = writer.committer.segments
        await writer.committer.commit(await writer.batch({0: [packet(3)]}, {0: 3}))
        assert not writer.left, "it goes into the first, which is used last now"
        values = [packet(4, mjd=MJD - 4), packet(5, mjd=MJD - 2)]
        assert (await writer.committer.commit(await writer.batch({0: values}, {0: 4}))).new == 2
        ((mine, error),) = writer.left
        assert (mine, error.code) == (second, "too_many_files")
        assert [one in writer.committer.segments for one in (first, second, third)] == [True, False, True]
        assert await seal(writer.engine, writer.store, mine, writer.points)
        states = [row.state for row in await rows(url, "SELECT state FROM segments")]
        assert sorted(states) == ["open", "open", "open", "sealed"]


async def test_two_writers_of_one_database_commit_side_by_side(level1_url: str, tmp_path: Path) -> None:
    await make_tables(level1_url)

    async def commit(writer: Writer, partition: int) -> None:
        for turn in range(12):
            values = [packet(1 + k) for k in range(turn * 10, turn * 10 + 10)]
            await writer.committer.commit(await writer.batch({partition: values}, {partition: turn * 10}))

    async with writing(level1_url, tmp_path / "a") as one, writing(level1_url, tmp_path / "a") as two:
        await asyncio.gather(commit(one, 0), commit(two, 1))
        assert not one.left and not two.left
    found = await everything(level1_url)
    assert (len(found["level1"]), len(found["level1_repeat"]), len(found["commits"])) == (120, 120, 24)
    (parts,) = await rows(level1_url, "SELECT SUM(new), SUM(repeated), SUM(conflicts) FROM visit_part")
    assert tuple(parts) == (120, 120, 0)


@pytest.mark.parametrize("part", ["data", "index"])
async def test_after_a_failed_sync_the_published_bytes_are_copied_and_the_batch_goes_into_another_segment(
    tmp_path: Path, part: str
) -> None:
    url = f"sqlite:///{tmp_path}/l1.db"
    await make_tables(url)
    disk = ForgetfulDisk()
    async with writing(url, Path("alertdb"), disk) as writer:
        await first_and_next(writer)
        (old,) = await rows(url, "SELECT * FROM segments")
        name = old.dataName if part == "data" else old.indexName
        disk.trouble = on("sync", name, Fault(error=errno.EIO))
        assert (await writer.committer.commit(await writer.batch({0: [packet(21)]}, {0: 2}))).new == 1
        ((mine, error),) = writer.left
        assert (mine.number, error.code, mine.segment.failed) == (old.segment, "disk_failed", True)
        await take_over_own(writer.engine, writer.store, mine, writer.points)
        states = {row.segment: row for row in await rows(url, "SELECT * FROM segments")}
        sealed = states[old.segment]
        assert (sealed.state, sealed.records) == ("sealed", 3) and sealed.dataName != old.dataName
        assert sorted(row.state for row in states.values()) == ["copy", "open", "sealed"]
        ref = SegmentRef(sealed.segment, sealed.dataName, sealed.indexName, sealed.dataLength, sealed.indexLength)
        reader = writer.store.read(ref)
        for row in await rows(url, f"SELECT * FROM level1 WHERE segment = {old.segment}"):
            assert reader.datum(row.blockOffset, row.slot) == packet(row.diaSourceId)[5:]
        fresh = next(row for row in states.values() if row.state == "open")
        (row,) = await rows(url, "SELECT segment FROM level1 WHERE diaSourceId = 21")
        assert row.segment == fresh.segment


@pytest.mark.parametrize("what", ["file", "folder", "root", "root replaced"])
async def test_what_is_taken_away_under_its_writer_takes_no_further_commit(tmp_path: Path, what: str) -> None:
    url = f"sqlite:///{tmp_path}/l1.db"
    root, aside = tmp_path / "alertdb", tmp_path / "aside"
    await make_tables(url)
    async with writing(url, root) as writer:
        await first_and_next(writer)
        (old,) = await rows(url, "SELECT * FROM segments")
        (root / {"file": old.dataName, "folder": old.dataName.split("/")[0]}.get(what, "")).rename(aside)
        if what == "root replaced":
            root.mkdir()
        commit = asyncio.ensure_future(writer.committer.commit(await writer.batch({0: [packet(21)]}, {0: 2})))
        if what == "root":
            while not any(error is not None and error.code == "store_away" for error in writer.told):
                assert not commit.done(), "it waits"
                await asyncio.sleep(0.01)
            aside.rename(root)
        assert (await asyncio.wait_for(commit, 30)).new == 1
        ((mine, error),) = writer.left
        assert (mine.number, error.code, mine.segment.failed) == (old.segment, "disk_failed", True)
        (row,) = await rows(url, "SELECT * FROM level1 JOIN segments USING (segment) WHERE diaSourceId = 21")
        ref = SegmentRef(row.segment, row.dataName, row.indexName, row.dataLength, row.indexLength)
        with writer.store.read(ref) as reader:
            assert reader.datum(row.blockOffset, row.slot) == packet(21)[5:]
