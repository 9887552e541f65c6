"""Making, checking and migrating the tables; partitions by night; what each role may do."""
# ruff: noqa: F811 (fixtures are imported and then named as parameters)

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from level1_batches import FIRST, LAST, batch, column, engine, put, server, stored, url  # noqa: F401
from sqlalchemy import inspect, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stream.commit import ledger
from stream.errors import Fatal, SkyburstError, Transient
from stream.level1.write import statement_limit
from stream.local import LocalMariadb
from stream.tables import migrate as migration
from stream.tables import nights as tables_nights
from stream.tables.engine import level1_url as parsed
from stream.tables.engine import open_engine
from stream.tables.migrate import check, migrate, must_be_whole, renew_instance
from stream.tables.migrate import stored as version_stored
from stream.tables.model import Version, metadata, table, version
from stream.tables.nights import (
    Partition,
    block_of,
    clear_part,
    ensure_partitions,
    partitions,
    retire,
    rows_in_last,
)
from stream.tables.roles import Role, roles_sql
from stream.tables.trouble import translated


async def test_an_empty_database_has_no_version_and_serves_no_daemon(url: str) -> None:
    empty = open_engine(url)
    async with empty.connect() as conn:
        assert await version_stored(conn) is None
        with pytest.raises(Fatal, match="level1 migrate") as caught:
            await check(conn)
    assert caught.value.code == "level1_version"
    await empty.dispose()


async def test_migrate_makes_every_table_column_and_key_and_is_done_again_without_harm(url: str) -> None:
    made = open_engine(url)
    first = await migrate(made, FIRST, LAST)
    again = await migrate(made, FIRST, LAST)
    assert (first.found, again.found) == (None, version())
    assert first.now == again.now
    assert len(first.now.instance) == 32 and int(first.now.instance, 16)
    async with made.connect() as conn:
        found = await conn.run_sync(lambda sync: {
            name: (
                [one["name"] for one in inspect(sync).get_columns(name)],
                {one["name"] for one in inspect(sync).get_indexes(name)},
                inspect(sync).get_pk_constraint(name)["constrained_columns"],
            )
            for name in inspect(sync).get_table_names()
        })  # fmt: skip
    assert set(found) == set(metadata().tables)
    for name, expected in metadata().tables.items():
        columns, indexes, key = found[name]
        assert columns == expected.columns.keys()
        assert {index.name for index in expected.indexes} <= indexes
        assert key == [one.name for one in expected.primary_key]
    await made.dispose()


async def test_a_making_that_was_cut_off_is_resumed(url: str) -> None:
    made = open_engine(url)
    await migrate(made, FIRST, LAST)
    async with made.begin() as conn:
        for name in ("schema_version", "visits", "quarantine"):
            await conn.exec_driver_sql(f"DROP TABLE {name}")
    assert (await migrate(made, FIRST, LAST)).found is None
    async with made.connect() as conn:
        assert (await check(conn)).version == version()
    await made.dispose()


@pytest.mark.parametrize(
    ("major", "minor", "runs"), [(0, 0, True), (0, 1, True), (0, -1, False), (1, 0, False), (-1, 5, False)]
)
async def test_a_daemon_runs_on_its_own_minor_version_or_a_later_one(
    engine: AsyncEngine, major: int, minor: int, runs: bool
) -> None:
    ours = version()
    async with engine.begin() as conn:
        there = {"major": ours.major + major, "minor": ours.minor + minor}
        await conn.execute(update(table("schema_version")).values(**there))
        if runs:
            assert (await check(conn)).version == Version(**there)
        else:
            with pytest.raises(Fatal) as caught:
                await check(conn)
            assert caught.value.code == "level1_version"


async def test_migrate_takes_the_steps_between_the_versions_in_order(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []

    def step(name: str) -> migration.Step:
        async def take(conn: AsyncConnection) -> None:
            taken.append(name)

        return take

    steps = {
        Version(1, 2): step("1.2"),
        Version(1, 1): step("1.1"),
        Version(1, 0): step("1.0"),
        Version(1, 3): step("1.3"),
    }
    monkeypatch.setattr(migration, "STEPS", steps)
    monkeypatch.setattr(migration, "version", lambda: Version(1, 2))
    async with engine.begin() as conn:
        await conn.execute(update(table("schema_version")).values(major=1, minor=0))
    found = await migrate(engine, FIRST, LAST)
    assert taken == ["1.1", "1.2"]
    assert (found.found, found.now.version) == (Version(1, 0), Version(1, 2))


LEDGER_1_0 = (
    "CREATE TABLE ledger (sink VARCHAR(64) NOT NULL, stream SMALLINT NOT NULL, kafkaPartition INTEGER NOT NULL, "
    "next BIGINT NOT NULL, PRIMARY KEY (sink, stream, kafkaPartition))"
)
"""The ledger as version 1.0 made it."""


async def columns_of(made: AsyncEngine, name: str) -> list[tuple[str, str, bool]]:
    async with made.connect() as conn:
        found = await conn.run_sync(lambda sync: inspect(sync).get_columns(name))
    return [(one["name"], str(one["type"]), one["nullable"]) for one in found]


@pytest.mark.parametrize("cut_off", [False, True])
async def test_a_ledger_of_version_1_0_gets_its_new_column_and_keeps_its_places(
    engine: AsyncEngine, cut_off: bool
) -> None:
    made = await columns_of(engine, "ledger")
    place = "INSERT INTO ledger (sink, stream, kafkaPartition, next) VALUES ('alertdb', 1, {}, 7)"
    async with engine.begin() as conn:
        await conn.exec_driver_sql("DROP TABLE ledger")
        await conn.exec_driver_sql(LEDGER_1_0)
        await conn.exec_driver_sql(place.format(0))
        await conn.execute(update(table("schema_version")).values(major=1, minor=0))
        with pytest.raises(Fatal, match="level1 migrate"):
            await check(conn)
    if cut_off:
        async with engine.begin() as conn:
            await migration.add_column(conn, "ledger", "aheadOf")
    done = await migrate(engine, FIRST, LAST)
    assert (done.found, done.now.version) == (Version(1, 0), Version(1, 1))
    assert await columns_of(engine, "ledger") == made
    async with engine.begin() as conn:
        await conn.exec_driver_sql(place.format(1))
        rows = await conn.execute(select(table("ledger")).order_by(table("ledger").c.kafkaPartition))
        assert [tuple(row) for row in rows] == [("alertdb", 1, n, 7, None) for n in (0, 1)], "also from a daemon of 1.0"


async def test_migrate_leaves_a_newer_database_alone(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await conn.execute(update(table("schema_version")).values(major=99))
    with pytest.raises(Fatal, match="newer"):
        await migrate(engine, FIRST, LAST)


async def test_migrations_that_begin_together_make_everything_once(level1_url: str) -> None:
    several = [open_engine(level1_url) for _ in range(4)]
    for last in (LAST, 20280101):
        done = await asyncio.gather(*(migrate(one, FIRST, last) for one in several))
        assert sum(bool(one.partitions) for one in done) == 1
        assert len({one.now for one in done}) == 1
    for one in several:
        await one.dispose()


async def test_a_migration_that_waits_for_somebody_gives_up_before_everybody_waits_behind_it(
    server: AsyncEngine, level1_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables_nights, "ALTER_WAIT_S", 1)
    forgotten = open_engine(level1_url)
    async with forgotten.connect() as conn:
        await conn.exec_driver_sql("SELECT COUNT(*) FROM level1")
        for change in (migrate(server, FIRST, 20280101), retired(server, 20270101)):
            with pytest.raises(Transient) as caught:
                await asyncio.wait_for(change, 30)
            assert caught.value.code == "lock_wait" and "PROCESSLIST" in caught.value.advice
    assert (await migrate(server, FIRST, 20280101)).partitions
    assert await retired(server, 20270101)
    await forgotten.dispose()


async def retired(made: AsyncEngine, before: int) -> list[str]:
    async with made.begin() as conn:
        return await retire(conn, before)


async def test_a_table_of_somebody_else_is_not_taken_for_ours(url: str) -> None:
    made = open_engine(url)
    async with made.begin() as conn:
        await conn.exec_driver_sql("CREATE TABLE commits (number INTEGER)")
        await conn.exec_driver_sql("CREATE TABLE notes (number INTEGER)")
    with pytest.raises(Fatal, match="commits is none of skyburst's") as caught:
        await migrate(made, FIRST, LAST)
    assert caught.value.code == "level1_tables"
    async with made.begin() as conn:
        assert set(await conn.run_sync(lambda sync: inspect(sync).get_table_names())) == {"commits", "notes"}
        await conn.exec_driver_sql("DROP TABLE commits")
    assert (await migrate(made, FIRST, LAST)).found is None, "tables of other names are none of our concern"
    await made.dispose()


async def test_a_table_that_was_lost_is_told_and_not_made_again_empty(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await conn.exec_driver_sql("DROP TABLE ledger")
        await conn.exec_driver_sql("ALTER TABLE level1 ADD COLUMN remark INTEGER")
    for look in (migrate(engine, FIRST, LAST), whole(engine)):
        with pytest.raises(Fatal, match="lost its table ledger") as caught:
            await look
        assert caught.value.code == "level1_tables"


async def whole(made: AsyncEngine) -> None:
    async with made.connect() as conn:
        await must_be_whole(conn)


async def test_a_migration_that_cannot_reach_its_database_is_transient(level1_url: str) -> None:
    made = open_engine(parsed(level1_url).set(port=1))
    with pytest.raises(Transient) as caught:
        await migrate(made, FIRST, LAST)
    assert caught.value.code == "level1_away"
    await made.dispose()


async def test_a_new_instance_id_is_another_one(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        before = await check(conn)
        assert await renew_instance(conn) != before.instance
        assert (await check(conn)).instance != before.instance


async def test_partitions_are_thirty_nights_each_between_earlier_and_later(server: AsyncEngine) -> None:
    async with server.connect() as conn:
        assert await partitions(conn) == [
            Partition("earlier", 20261031),
            Partition("p20261031", 20261130),
            Partition("p20261130", 20261230),
            Partition("p20261230", 20270129),
            Partition("later", None),
        ]
        assert await ensure_partitions(conn, 20270128) == []
        assert await ensure_partitions(conn, 20270129) == ["p20270129"]
        assert await ensure_partitions(conn, 20270630) == [
            "p20270228",
            "p20270330",
            "p20270429",
            "p20270529",
            "p20270628",
        ]


async def test_rows_in_the_last_partition_are_seen_and_moved_when_it_is_split(
    server: AsyncEngine, rng: np.random.Generator
) -> None:
    async with server.connect() as conn:
        assert not await rows_in_last(conn)
    await put(server, batch([1, 2], rng, night=column([20270128, 20270129])))
    async with server.connect() as conn:
        assert await rows_in_last(conn)
        await ensure_partitions(conn, 20270129)
        assert not await rows_in_last(conn)
    assert set(await stored(server)) == {1, 2}


async def test_retiring_drops_only_blocks_that_lie_wholly_before_the_night(
    engine: AsyncEngine, rng: np.random.Generator
) -> None:
    nights = [20200101, 20261030, 20261031, 20261129, 20261130, 20261215, 20270101, 20300101]
    await put(engine, batch(np.arange(8), rng, night=column(nights)))
    async with engine.begin() as conn:
        gone = await retire(conn, 20261229)
    assert gone == (["earlier"] if engine.dialect.name == "sqlite" else ["earlier", "p20261031"])
    assert set(await stored(engine)) == {4, 5, 6, 7}
    await put(engine, batch([1], rng, night=column([20261101])))
    assert set(await stored(engine)) == {1, 4, 5, 6, 7}


async def test_retiring_clears_a_first_partition_that_reaches_beyond_the_block_in_portions(
    server: AsyncEngine, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables_nights, "PORTION", 2)
    inside, at, later = 20200101, block_of(20260305), 20261101
    await put(server, batch(np.arange(7), rng, night=column([inside] * 5 + [at, later])))
    assert await clear_part(server, at + 3) == ("earlier", 5)
    async with server.begin() as conn:
        assert await retire(conn, at + 3) == []
    assert set(await stored(server)) == {5, 6}
    assert await clear_part(server, 20261229) == ("", 0), "that one goes as a whole"


async def test_on_sqlite_there_are_no_partitions_to_make(tmp_path: object) -> None:
    made = open_engine(f"sqlite:///{tmp_path}/a.db")
    await migrate(made, FIRST, LAST)
    async with made.connect() as conn:
        assert await partitions(conn) == [] == await ensure_partitions(conn, 20300101)
        assert not await rows_in_last(conn)
    await made.dispose()


@pytest.fixture
async def roles(server: AsyncEngine, level1_url: str, mariadb: LocalMariadb) -> dict[Role, str]:
    """URL of the test's database for each role."""
    database = str(parsed(level1_url).database)
    passwords: dict[Role, str] = {"ingest": "in gest%", "reader": "read-er", "migrate": "mi:grate"}
    async with server.begin() as conn:
        for _ in range(2):
            for statement in roles_sql(database, passwords, host="127.0.0.1", prefix=f"{database[5:]}_"):
                await conn.exec_driver_sql(statement.replace("%", "%%"))
    return {
        role: parsed(level1_url).set(username=f"{database[5:]}_{role}", password=secret).render_as_string(False)
        for role, secret in passwords.items()
    }


FORBIDDEN = {
    "ingest": [
        "DELETE FROM level1",
        "TRUNCATE TABLE level1",
        "REPLACE INTO surveys VALUES (1, 'a', 'b')",
        "DROP TABLE level1",
        "ALTER TABLE level1 ADD COLUMN a INT",
        "ALTER TABLE level1 TRUNCATE PARTITION earlier",
        "CREATE TABLE a (b INT)",
        "CREATE INDEX a ON level1 (night)",
        "GRANT SELECT ON *.* TO CURRENT_USER",
    ],
    "reader": [
        "INSERT INTO surveys VALUES (1, 'a', 'b')",
        "UPDATE ledger SET next = 0",
        "DELETE FROM level1",
        "DROP TABLE level1",
        "CREATE TEMPORARY TABLE a (b INT)",
        "SELECT * FROM mysql.user",
    ],
    "migrate": ["SELECT * FROM mysql.user", "CREATE USER a", "GRANT SELECT ON *.* TO CURRENT_USER"],
}


@pytest.mark.parametrize("role", FORBIDDEN)
async def test_what_a_role_may_not_do_is_refused(roles: dict[str, str], role: str) -> None:
    made = open_engine(roles[role])
    async with made.connect() as conn:
        for statement in FORBIDDEN[role]:
            with pytest.raises(SkyburstError) as caught, translated():
                await conn.exec_driver_sql(statement)
            assert caught.value.code == "level1_rights", statement
    await made.dispose()


async def test_each_role_can_do_its_work(roles: dict[Role, str], rng: np.random.Generator) -> None:
    owner, ingest, reader = (open_engine(roles[role]) for role in ("migrate", "ingest", "reader"))
    assert (await migrate(owner, FIRST, 20270401)).partitions
    await put(ingest, batch([1, 2], rng))
    async with ingest.begin() as conn:
        instance = (await check(conn)).instance
    await ledger.begin(ingest, {(1, 0): 7}, instance)
    await ledger.mark_ahead(ingest, {(1, 0): 3}, instance)
    assert await ledger.ahead(reader, [(1, 0)]) == {(1, 0): 3}
    async with ingest.begin() as conn:
        await ledger.clear_ahead(conn, [(1, 0)])
    assert await ledger.ahead(reader, [(1, 0)]) == {}
    async with ingest.connect() as conn:
        await check(conn)
        assert await statement_limit(conn)
        assert not await rows_in_last(conn)
    assert set(await stored(reader)) == {1, 2}
    async with owner.begin() as conn:
        assert "p20261031" in await retire(conn, 20261201)
    assert await stored(reader) == {}
    await put(ingest, batch([3], rng, night=column([20280101])))
    for role in (ingest, reader):
        async with role.connect() as conn:
            assert await rows_in_last(conn), "a role that cannot see the partitions is never warned"
    for made in (owner, ingest, reader):
        await made.dispose()
