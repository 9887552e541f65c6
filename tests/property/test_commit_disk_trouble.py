"""Disks that are full or fail under a commit, and each rule of the commit shown to be needed by leaving it out."""

from __future__ import annotations

import asyncio
import errno
import random
import shutil
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from commit_lives import Story, check
from commit_on_disk import Player, World, empty_database, made_log
from doubles.disk import Fault, ForgetfulDisk, on
from sqlalchemy.ext.asyncio import AsyncConnection

import stream.commit.committer
import stream.commit.ledger
import stream.commit.sweep
from consumers.ingest.upkeep import Upkeep
from stream.clock import SystemClock
from stream.commit.committer import Durable
from stream.commit.segments import Written
from stream.errors import Transient
from stream.tables.model import table
from stream.web.health import Health

RESERVE = 5000


@pytest.fixture
def world(tmp_path: Path) -> Any:
    """A machine with a sound disk and an empty database."""
    database = empty_database(tmp_path / "level1.db", tmp_path / "template.db")
    with ThreadPoolExecutor(1) as pool:
        yield World(ForgetfulDisk(), database, made_log(3), pool)


def play(world: World, story: Callable[[Player, Player], Awaitable[None]]) -> None:
    """Two daemons and what is done with them."""

    async def run() -> None:
        try:
            await story(await Player.start(world), await Player.start(world))
        finally:
            await world.engine.dispose()

    asyncio.run(run())


async def until_told(player: Player, code: str, commit: asyncio.Task[bool]) -> None:
    """Wait until the daemon says what it waits for; the commit goes on waiting."""
    async with asyncio.timeout(20):
        while not any(error is not None and error.code == code for error in player.told):
            assert not commit.done()
            await asyncio.sleep(0.01)


def upkeep_of(world: World, player: Player) -> Upkeep:
    """What seals each of the daemon's segments that has a byte, and takes others' over; no more is to be called."""
    return Upkeep(
        engine=world.engine,
        store=player.store,
        segments=player.segments,
        sweeper=player._sweeper,
        outcome=SimpleNamespace(health=Health()),  # type: ignore[arg-type]
        window=None,  # type: ignore[arg-type]
        last_partition=None,  # type: ignore[arg-type]
        clock=SystemClock(),
        failpoints=player.steps,
        survey=1,
        segment_bytes=1,
        heartbeat_s=5.0,
        abandoned_s=-1e9,
        reserve_bytes=RESERVE,
    )


def whole_after_a_crash(world: World, tmp_path: Path) -> None:
    """Whatever the disk forgets of what was not synced, nothing published is lost."""
    for seed in range(5):
        database = tmp_path / f"{seed}.db"
        shutil.copy(world.database, database)
        check(world.disk.after_crash(random.Random(seed)), database, world.log, tmp_path / "alertdb")


def test_a_full_disk_is_waited_for_and_the_batch_written_again(world: World, tmp_path: Path) -> None:
    async def story(player: Player, _other: Player) -> None:
        await player.commit()
        world.disk.room = 700 + sum(len(world.disk.content(name)) for name in world.disk.names())
        commit = asyncio.create_task(player.commit())
        await until_told(player, "disk_full", commit)
        assert world.count(tmp_path / "now").sound
        world.disk.room = None
        assert await commit
        assert player.told[-1] is None
        assert world.count(tmp_path / "now").sound

    play(world, story)
    whole_after_a_crash(world, tmp_path)


def test_a_full_segment_of_a_commit_that_was_cut_short_is_not_sealed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed, answer = AsyncConnection.commit, asyncio.Event()

    async def unanswered(connection: AsyncConnection) -> None:
        await committed(connection)
        answer.set()
        await asyncio.Event().wait()

    async def story(player: Player, _other: Player) -> None:
        await player.commit()
        monkeypatch.setattr(AsyncConnection, "commit", unanswered)
        commit = asyncio.create_task(player.commit())
        await answer.wait()
        monkeypatch.setattr(AsyncConnection, "commit", committed)
        upkeep = upkeep_of(world, player)
        turn = asyncio.create_task(upkeep._seal_due())
        while not player.segments.turn._waiters:
            await asyncio.sleep(0)
        commit.cancel()
        await asyncio.wait([commit, turn])
        await turn
        assert commit.cancelled()
        assert upkeep.leaving == []

    play(world, story)
    assert world.count(tmp_path / "now").sound
    whole_after_a_crash(world, tmp_path)


@pytest.mark.parametrize("whose", ["another daemon's", "our own, whose disk failed"])
def test_a_segment_whose_copy_would_not_leave_the_reserve_free_is_copied_once_it_would(
    world: World, tmp_path: Path, whose: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(player: Player, other: Player) -> None:
        await other.commit()
        refs = [mine.segment.ref for mine in other.segments]
        sizes = [ref.data_length + ref.index_length for ref in refs]
        upkeep, turn = upkeep_of(world, player), "_left_behind"
        if whose.startswith("our own"):
            upkeep, turn = upkeep_of(world, other), "_seal_leaving"
            for mine in tuple(other.segments):
                mine.segment._data.failed = True  # type: ignore[attr-defined]
                other.segments.forget(mine.number)
                upkeep.leave(mine, Transient("disk_failed", "", ""))
        used = sum(len(world.disk.content(name)) for name in world.disk.names())
        made: list[str] = []
        world.disk.trouble = lambda _, call, name: made.append(name) if call == "create" else None
        world.disk.room = used + min(sizes) + RESERVE - 1
        await getattr(upkeep, turn)()
        assert made == []
        assert [each.skyburst[0] for each in caplog.records] == ["disk_full"] * len(sizes)  # type: ignore[attr-defined]
        world.disk.room = 2 * used + 2 * RESERVE
        await getattr(upkeep, turn)()
        assert len(made) == 2 * len(sizes)
        assert not upkeep.leaving
        world.disk.room = None

    play(world, story)
    assert world.count(tmp_path / "now").sound
    whole_after_a_crash(world, tmp_path)


def test_after_a_failed_sync_the_batch_goes_elsewhere_and_the_published_bytes_are_copied(
    world: World, tmp_path: Path
) -> None:
    async def story(player: Player, _other: Player) -> None:
        await player.commit()
        world.disk.trouble = on("sync", ".avro", Fault(errno.EIO))
        assert await player.commit()
        ((mine, error),) = player.left
        assert error.code == "disk_failed"
        assert mine.segment.failed
        await player.seal()
        assert world.count(tmp_path / "now").sound

    play(world, story)
    whole_after_a_crash(world, tmp_path)


def test_a_commit_waits_while_its_quarantine_cannot_be_written(world: World, tmp_path: Path) -> None:
    async def story(player: Player, _other: Player) -> None:
        batch = await player.batch(30)
        assert batch is not None
        assert any(work.quarantined for work in batch.works)
        made = player.store.create
        refused: list[str] = []

        def create(header: Any) -> Any:
            segment = made(header)
            if header.key.kind == "quarantine":
                refused.append(segment.ref.data_name)
            return segment

        player.store.create = create  # type: ignore[method-assign]
        world.disk.trouble = lambda _n, call, name: Fault(errno.ENOSPC) if call == "write" and name in refused else None
        commit = asyncio.create_task(player.publish(batch))
        await until_told(player, "disk_full", commit)
        assert world.count(tmp_path / "now").kept == 0
        world.disk.trouble = None
        assert await commit
        found = world.count(tmp_path / "now")
        assert found.sound, found
        assert found.quarantined

    play(world, story)


@pytest.mark.parametrize("meanwhile", ["nothing", "commit", "take_over", "sweep"])
def test_what_is_written_ahead_counts_only_behind_what_stands(world: World, tmp_path: Path, meanwhile: str) -> None:
    async def story(player: Player, other: Player) -> None:
        if meanwhile != "sweep":
            await player.commit(8)
        passed = player.steps.passed
        await player.two(None if meanwhile == "nothing" else getattr(other, meanwhile))
        # Nothing is written ahead into what has no row, and may be swept.
        assert player.aheads == (meanwhile != "sweep")
        # Done anew where another daemon has sealed or swept what it lay in; dropped behind a fence.
        assert passed["after_sync"] == {"nothing": 3, "commit": 3, "take_over": 5, "sweep": 3}[meanwhile]
        found = world.count(tmp_path / "now")
        assert found.sound, found
        await player.commit(len(world.log[0]))
        found = world.count(tmp_path / "now")
        assert found.sound and found.kept + found.quarantined + found.tombstones == sum(map(len, world.log)), found

    play(world, story)
    whole_after_a_crash(world, tmp_path)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", ["write", "sync"])
def test_what_cannot_be_written_ahead_is_written_at_its_turn(
    world: World, tmp_path: Path, call: str, code: int
) -> None:
    async def story(player: Player, _other: Player) -> None:
        await player.commit()
        first = await player.batch(3)
        second = await player.batch(3, first)
        assert first is not None and second is not None
        tried: list[Durable | None] = []

        async def write_ahead() -> None:
            world.disk.trouble = on(call, ".avro", Fault(code))
            tried.append(await player.committer.ahead(second, first.ranges))

        player.committer.before = write_ahead
        assert await player.publish(first)
        assert tried == [None]
        assert (player.steps.passed["before_ahead"], player.steps.passed["after_ahead"]) == (1, 0)
        assert not player.left and not player.segments.unsettled
        assert await player.publish(second)
        assert [error.code for _, error in player.left] == (["disk_failed"] if code == errno.EIO else [])
        await player.seal()

    play(world, story)
    assert world.count(tmp_path / "now").sound
    whole_after_a_crash(world, tmp_path)


def test_nothing_is_written_ahead_of_a_batch_that_waits_nor_behind_two(world: World) -> None:
    async def story(player: Player, _other: Player) -> None:
        await player.commit()
        first = await player.batch(3)
        second = await player.batch(3, first)
        third = await player.batch(3, second)
        assert first is not None and second is not None and third is not None
        assert await player.committer.ahead(second, first.ranges) is None
        tried: list[Durable | None] = []

        async def write_ahead() -> None:
            for batch, behind in ((third, second), (second, first), (third, first)):
                tried.append(await player.committer.ahead(batch, behind.ranges))

        player.committer.before = write_ahead
        assert await player.publish(first)
        assert [each is not None for each in tried] == [False, True, False]
        assert await player.publish(second, tried[1])
        assert player.steps.passed["after_sync"] == 3

    play(world, story)


def test_nothing_is_sealed_while_something_is_written_ahead_nor_after_that_was_cut_short(world: World) -> None:
    async def story(player: Player, _other: Player) -> None:
        await player.commit()
        batch = await player.batch(3)
        assert batch is not None
        player.steps.hold("after_append")
        player.committer._publishing = batch.ranges
        ahead = asyncio.create_task(player.committer.ahead(batch, batch.ranges))
        await asyncio.to_thread(player.steps.held.wait, 30)
        upkeep = upkeep_of(world, player)
        turn = asyncio.create_task(upkeep._seal_due())
        while not player.segments.writing._waiters:
            await asyncio.sleep(0)
        assert player.segments.unsettled
        ahead.cancel()
        await asyncio.wait([ahead, turn])
        player.steps.go_on.set()
        assert upkeep.leaving == []
        await upkeep.finish()
        assert upkeep.leaving == []

    play(world, story)


async def _move(connection: Any, ranges: Iterable[Any], _instance: str, sink: str = "alertdb") -> None:
    rows = table("ledger")
    for r in ranges:
        where = (rows.c.sink == sink, rows.c.stream == r.stream, rows.c.kafkaPartition == r.partition)
        await connection.execute(sa.update(rows).where(*where).values(next=r.end))


def _unfenced_lengths(real: Any) -> Any:
    async def publish_lengths(connection: Any, written: Iterable[Written], *rest: Any) -> None:
        rows = table("segments")
        for item in written:
            lengths = {"dataLength": item.appended.data_length, "indexLength": item.appended.index_length}
            names = {"dataName": item.before.data_name, "indexName": item.before.index_name}
            values = {**lengths, **names, "state": "open", "night": item.work.key.night, "kind": item.work.key.kind}
            done = await connection.execute(sa.update(rows).where(rows.c.segment == item.mine.number).values(**values))
            if done.rowcount == 0:
                await real(connection, [item], *rest)

    return publish_lengths


async def _claimed(_engine: Any, _number: int, _instance: str) -> bool:
    return True


def without(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take one rule away."""
    match rule:
        case "first fence":
            monkeypatch.setattr(stream.commit.ledger, "move", _move)
        case "second fence":
            real = stream.commit.committer.publish_lengths
            monkeypatch.setattr(stream.commit.committer, "publish_lengths", _unfenced_lengths(real))
        case "row before a sweep":
            monkeypatch.setattr(stream.commit.sweep, "_claim", _claimed)
        case "sync":
            monkeypatch.setattr(ForgetfulDisk, "sync", lambda disk, fd: None)
        case "sync of names":
            monkeypatch.setattr(ForgetfulDisk, "sync_folder", lambda disk, folder: None)


@pytest.mark.parametrize(
    ("rule", "action"),
    [
        ("first fence", "outrun_while_frozen"),
        ("second fence", "sealed_while_frozen"),
        ("second fence", "swept_while_frozen"),
        ("row before a sweep", "swept_while_frozen"),
        ("sync", "commit"),
        ("sync of names", "commit"),
    ],
)
def test_without_this_rule_something_is_lost_or_doubled(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str, action: str
) -> None:
    async def story(first: Player, second: Player) -> None:
        story = Story(world)
        story.players = [first, second]
        if action != "swept_while_frozen":
            await first.commit()
        await getattr(story, action)()

    without(rule, monkeypatch)
    play(world, story)
    unsound = 0
    for seed in range(5):
        disk = world.disk if rule in ("first fence", "second fence") else world.disk.after_crash(random.Random(seed))
        with ThreadPoolExecutor(1) as pool:
            after = World(disk, world.database, world.log, pool)
            unsound += not after.count(tmp_path / "alertdb").sound
            asyncio.run(after.engine.dispose())
    assert unsound
