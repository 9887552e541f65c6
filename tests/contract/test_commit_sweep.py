"""Which files a sweep may take: only those that no row has named for long, and only where this daemon's rows are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from committing import Meanwhile, Writer, database, writing
from doubles.ingest_live import execute, rows
from doubles.ingest_run import packet

from stream.alertdb.names import number_of
from stream.clock import ManualClock
from stream.commit import authors, sweep
from stream.commit.sealing import seal
from stream.commit.sweep import Sweeper
from stream.errors import Fatal, Transient
from stream.tables.model import table

AGE_S = 60.0
PLACES = ("commit_ranges", "ledger")


@pytest.fixture(params=["mariadb", "sqlite"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with tables, once of each kind."""
    return await database(request, tmp_path)


async def make_three_segments(writer: Writer) -> None:
    """Commit three packets, each to a segment of its own."""
    for number in range(3):
        await writer.committer.commit(await writer.batch({0: [packet(number)]}, {0: number}))
        for mine in tuple(writer.committer.segments):
            writer.committer.segments.forget(mine.number)


def sweeper(writer: Writer, clock: ManualClock, instance: str = "") -> Sweeper:
    """That of another daemon on the same database and store."""
    instance = instance or writer.committer.daemon.instance
    return Sweeper(writer.engine, writer.store, clock, Meanwhile(), AGE_S, instance)


async def test_the_grace_of_a_number_begins_when_no_row_names_it_any_more(url: str, tmp_path: Path) -> None:
    async with writing(url, tmp_path / "a") as writer:
        await writer.committer.commit(await writer.batch({0: [packet(1)]}, {}))
        clock = ManualClock()
        other = sweeper(writer, clock)
        for _ in range(3):
            assert await other.sweep(frozenset()) == [] and other.orphans == 0
            clock.advance(2 * AGE_S)
        await execute(url, "UPDATE segments SET segment = segment + 1")
        assert await other.sweep(frozenset()) == [] and other.orphans == 2
        clock.advance(AGE_S / 2)
        await execute(url, "UPDATE segments SET segment = segment - 1")
        assert await other.sweep(frozenset()) == [] and other.orphans == 0
        clock.advance(AGE_S)
        await execute(url, "DELETE FROM segments")
        assert await other.sweep(frozenset()) == [], "the row was there meanwhile: the watch begins again"
        clock.advance(AGE_S)
        assert len(await other.sweep(frozenset())) == 2
        assert [row.state for row in await rows(url, "SELECT state FROM segments")] == ["swept"]


async def test_nothing_is_swept_where_the_database_is_another_one(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sweep._rows

    async def replaced(*arguments: object) -> object:
        await execute(url, f"UPDATE schema_version SET instance = '{'f' * 32}'")
        return await real(*arguments)  # type: ignore[arg-type]

    async with writing(url, tmp_path / "a") as writer:
        await writer.committer.commit(await writer.batch({0: [packet(1)]}, {}))
        clock = ManualClock()
        other = sweeper(writer, clock)
        await execute(url, "DELETE FROM segments")
        assert await other.sweep(frozenset()) == []
        clock.advance(2 * AGE_S)
        monkeypatch.setattr(sweep, "_rows", replaced)
        with pytest.raises(Fatal) as meanwhile:
            await other.sweep(frozenset())
        with pytest.raises(Fatal) as at_once:
            await other.sweep(frozenset())
        assert {meanwhile.value.code, at_once.value.code} == {"level1_instance"}
        assert len(list(writer.store.names())) == 2 and not await rows(url, "SELECT segment FROM segments")


async def test_what_daemons_of_another_database_wrote_is_swept_only_where_a_segment_of_theirs_is_named(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authors, "HEADS", 1)
    async with writing(url, tmp_path / "a") as writer:
        await make_three_segments(writer)
        named = await rows(url, "SELECT * FROM segments ORDER BY segment")
        renewed, clock = "f" * 32, ManualClock()
        await execute(url, f"UPDATE schema_version SET instance = '{renewed}'")

        async def swept() -> tuple[int, int]:
            """Names that go, and that stay as another database's."""
            one = sweeper(writer, clock, renewed)
            await one.sweep(frozenset())
            clock.advance(AGE_S)
            return len(await one.sweep(frozenset())), one.foreign

        await execute(url, "DELETE FROM segments")
        assert await swept() == (0, 6), "as on a database that was just made"
        async with writer.engine.begin() as connection:
            await connection.execute(sa.insert(table("segments")), [row._asdict() for row in named[1:]])
        assert await swept() == (2, 0), "as after a rebuild, which left one out"
        assert {number for _, number in writer.store.names()} == {row.segment for row in named[1:]}


async def test_a_sweep_reads_a_bounded_number_of_headers_of_named_segments_however_many_files_ask(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authors, "HEADS", 2)
    async with writing(url, tmp_path / "a") as writer:
        await make_three_segments(writer)
        (row, *_) = await rows(url, "SELECT * FROM segments")
        await execute(url, "DELETE FROM segments")
        named = [f"{row.night}/{number}-{'0' * 16}.avro" for number in range(1, 8)]
        many = [row._asdict() | {"segment": number_of(name), "dataName": name} for name in named]
        async with writer.engine.begin() as connection:
            await connection.execute(sa.insert(table("segments")), many)
        renewed, real = "f" * 32, writer.store.whole
        await execute(url, f"UPDATE schema_version SET instance = '{renewed}'")
        asked: list[str] = []
        monkeypatch.setattr(writer.store, "whole", lambda name: asked.append(name) or real(name))
        one = sweeper(writer, ManualClock(), renewed)
        for seen in (2, 4, 6, 7, 7):
            assert await one.sweep(frozenset()) == [] and one.foreign == 6
            assert [name for name in asked if name in named] == named[:seen]


async def test_files_of_one_segment_that_are_listed_far_from_each_other_are_judged_together(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "NAMES", 1)
    async with writing(url, tmp_path / "a") as writer:
        for number in range(2):
            await writer.committer.commit(await writer.batch({0: [packet(number)]}, {0: number}))
        await execute(url, "DELETE FROM segments")
        await execute(url, "UPDATE ledger SET next = 0 WHERE sink = 'alertdb'")
        names = sorted(writer.store.names(), key=lambda each: each[0].rpartition(".")[2])
        assert [name.rpartition(".")[2] for name, _ in names] == ["arrows", "avro"]
        monkeypatch.setattr(writer.store, "names", lambda: iter(names))

        async def swept(instance: str) -> tuple[list[str], int, bool]:
            clock = ManualClock()
            one = sweeper(writer, clock, instance)
            await one.sweep(frozenset())
            clock.advance(AGE_S)
            return await one.sweep(frozenset()), one.foreign, one.set_back

        assert await swept("") == ([], 0, True), "its index tells of a later state"
        await execute(url, f"UPDATE schema_version SET instance = '{'f' * 32}'")
        assert await swept("f" * 32) == ([], 2, False), "they are another database's, whose offsets tell nothing"


async def test_nothing_goes_before_every_file_without_a_row_was_looked_into(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "NAMES", 2)
    async with writing(url, tmp_path / "a") as writer:
        order = []
        for number in range(2):
            await writer.committer.commit(await writer.batch({0: [packet(number)]}, {0: number}))
            for mine in tuple(writer.committer.segments):
                order.append(mine.number)
                writer.committer.segments.forget(mine.number)
        await execute(url, "DELETE FROM segments")
        await execute(url, "UPDATE ledger SET next = 0 WHERE sink = 'alertdb'")
        names = sorted(writer.store.names(), key=lambda each: order.index(each[1]))
        monkeypatch.setattr(writer.store, "names", lambda: iter(names))
        clock, real, away = ManualClock(), writer.store.whole, True

        def whole(name: str) -> object:
            if away and number_of(name) == order[1]:
                raise Transient("store_away", name)
            return real(name)

        monkeypatch.setattr(writer.store, "whole", whole)
        one = sweeper(writer, clock)
        for _ in range(2):
            with pytest.raises(Transient):
                await one.sweep(frozenset())
            clock.advance(2 * AGE_S)
        away = False
        assert await one.sweep(frozenset()) == [] and one.set_back, "the second segment begins behind the ledger"


async def test_a_file_that_this_user_may_not_read_stays_and_holds_up_no_other(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with writing(url, tmp_path / "a") as writer:
        for number in range(2):
            await writer.committer.commit(await writer.batch({0: [packet(number)]}, {0: number}))
            for mine in tuple(writer.committer.segments):
                writer.committer.segments.forget(mine.number)
        await execute(url, "UPDATE ledger SET next = 9 WHERE sink = 'alertdb'")
        await execute(url, "DELETE FROM segments")
        closed = min(number for _, number in writer.store.names())
        clock, real = ManualClock(), writer.store.whole

        def whole(name: str) -> object:
            if number_of(name) == closed:
                raise Fatal("store_refused", name)
            return real(name)

        monkeypatch.setattr(writer.store, "whole", whole)
        one = sweeper(writer, clock)
        assert await one.sweep(frozenset()) == []
        clock.advance(2 * AGE_S)
        assert len(await one.sweep(frozenset())) == 2
        assert [number for _, number in writer.store.names()] == [closed] * 2


@pytest.mark.parametrize("sealed", [False, True])
async def test_nothing_without_a_row_is_swept_where_the_database_was_set_back(
    url: str, tmp_path: Path, sealed: bool
) -> None:
    async with writing(url, tmp_path / "a") as writer:
        for number in range(2):
            await writer.committer.commit(await writer.batch({0: [packet(number)]}, {0: number}))
        for mine in writer.committer.segments if sealed else ():
            await seal(writer.engine, writer.store, mine, Meanwhile())
        await execute(url, "DELETE FROM segments")
        names = {name for name, _ in writer.store.names()}
        clock = ManualClock()

        async def swept(stands: int) -> tuple[bool, int]:
            """With the ledger there: whether it is seen to have gone back, and how many names went."""
            await execute(url, f"UPDATE ledger SET next = {stands} WHERE sink = 'alertdb'")
            one = sweeper(writer, clock)
            await one.sweep(frozenset())
            clock.advance(AGE_S)
            return one.set_back, len(await one.sweep(frozenset()))

        assert await swept(0) == (True, 0), "the second commit began at 1"
        known = {name: [row._asdict() for row in await rows(url, f"SELECT * FROM {name}")] for name in PLACES}
        await execute(url, "DELETE FROM commit_ranges")
        assert await swept(5) == (True, 0), "it began later than the files did"
        await execute(url, "DELETE FROM ledger")
        assert await swept(5) == (True, 0), "it does not have the partition"
        async with writer.engine.begin() as connection:
            for name, told in known.items():
                await connection.execute(sa.insert(table(name)), told)
        assert await swept(1) == (False, len(names)), "a batch that was not published begins where the ledger stands"


async def test_a_sweep_reads_the_rows_of_many_segments_at_once(url: str, tmp_path: Path) -> None:
    async with writing(url, tmp_path / "a") as writer:
        await writer.committer.commit(await writer.batch({0: [packet(1)]}, {}))
        row, folder = (await rows(url, "SELECT * FROM segments"))[0]._asdict(), tmp_path / "a"
        (name,) = (name for name, _ in writer.store.names() if name == row["dataName"])
        many = [row | {"segment": k, "state": "sealed"} for k in range(1, 1200)]
        for one in many:
            one["dataName"] = f"{name.partition('/')[0]}/{one['segment']}-{'0' * 16}.avro"
            (folder / one["dataName"]).touch()
        stray = folder / name.partition("/")[0] / f"7-{'1' * 16}.avro"
        stray.touch()
        async with writer.engine.begin() as connection:
            await connection.execute(sa.insert(table("segments")), many)
        asked: list[str] = []
        sa.event.listen(writer.engine.sync_engine, "before_cursor_execute", lambda *said: asked.append(said[2]))
        gone = await sweeper(writer, ManualClock()).sweep(frozenset())
        assert gone == [str(stray.relative_to(folder))]
        assert len(asked) < 10


async def test_a_sweep_holds_a_bounded_number_of_names(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with writing(url, tmp_path / "a") as writer:
        await writer.committer.commit(await writer.batch({0: [packet(1)]}, {}))
        (row,) = await rows(url, "SELECT * FROM segments")
        strays = [f"{row.night}/{number}-{'0' * 16}.avro" for number in range(1, 60)]
        read, gone = 0, 0
        ahead: list[int] = []

        def names() -> Iterator[tuple[str, int]]:
            nonlocal read
            for name in [*strays, row.dataName, row.indexName]:
                read += 1
                yield name, number_of(name) or 0

        def remove(name: str) -> None:
            nonlocal gone
            gone += 1
            ahead.append(read - gone)

        monkeypatch.setattr(sweep, "NAMES", 8)
        monkeypatch.setattr(writer.store, "names", names)
        monkeypatch.setattr(writer.store, "remove", remove)
        clock = ManualClock()
        other = sweeper(writer, clock)
        assert await other.sweep(frozenset()) == [] and other.orphans == len(strays)
        clock.advance(2 * AGE_S)
        read = 0
        assert await other.sweep(frozenset()) == strays
        assert max(ahead) < 8, "names are read page by page"
