"""Rows into Level-1: what goes in comes out, the first copy stays, and which ids were there before."""
# ruff: noqa: F811 (fixtures are imported and then named as parameters)

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from level1_batches import (  # noqa: F401
    FIRST,
    LAST,
    batch,
    column,
    engine,
    put,
    server,
    stored,
    text,
    until_a_lock_is_waited_for,
    url_of,
    verdicts,
)
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from stream.errors import Fatal, Held, Poison
from stream.level1 import rows, write
from stream.level1.rows import Level1Column, ready
from stream.level1.write import RowStands, Verdict, foreign_query, insert_new, insert_rows, judge
from stream.local import LocalMariadb
from stream.tables import bulk
from stream.tables.bulk import Bulk
from stream.tables.engine import open_engine
from stream.tables.migrate import migrate
from stream.tables.model import Version, table, version
from stream.tables.trouble import translated

NEW, REPEATED, CONFLICT = (int(one) for one in Verdict)


@pytest.fixture(params=["mariadb", "mariadb without bulk", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty database: once of each kind, and once as if the server did not offer its bulk command."""
    if request.param == "mariadb without bulk":
        monkeypatch.setattr(bulk, "_BULK", 0)
    return url_of(request, tmp_path)


def doubles(rng: np.random.Generator, n: int) -> np.ndarray:
    """Doubles of all sizes by their bits, and the awkward ones."""
    drawn = rng.integers(0, 2**63, n, dtype=np.uint64) ^ (rng.integers(0, 2, n, dtype=np.uint64) << np.uint64(63))
    values = drawn.view(np.float64)
    odd = [
        -0.0,
        5e-324,
        -5e-324,
        2.2250738585072014e-308,
        1.7976931348623157e308,
        0.1,
        1 / 3,
        1e22,
        1e15,
        9007199254740993.0,
    ]
    values[: len(odd)] = odd
    return np.where(np.isfinite(values), values, 1.0)


async def test_every_double_comes_back_bit_for_bit_but_for_the_sign_of_zero(
    engine: AsyncEngine, rng: np.random.Generator
) -> None:
    values = doubles(rng, 3000)
    await put(engine, batch(np.arange(3000), rng, psfFlux=column(values)))
    back = await stored(engine)
    got = np.array([back[k].psfFlux for k in range(3000)])
    assert (got.view(np.uint64) == (values + 0.0).view(np.uint64)).all()


async def test_the_limits_of_integers_come_back(engine: AsyncEngine, rng: np.random.Generator) -> None:
    ids = np.array([-(2**63), -1, 0, 2**63 - 1])
    changes = {
        "detector": column([-(2**15), 2**15 - 1, 0, 1]),
        "flags": column([0, 2**32 - 1, 1, 2]),
        "healpix": np.array([0, 2**62, 2**63 - 1, 1]),
    }
    await put(engine, batch(ids, rng, **changes))
    back = await stored(engine)
    assert set(back) == set(ids.tolist())
    assert [back[k].flags for k in ids.tolist()] == [0, 2**32 - 1, 1, 2]
    assert [back[k].detector for k in ids.tolist()] == [-(2**15), 2**15 - 1, 0, 1]
    assert back[-1].healpix == 2**62


async def test_text_comes_back_whatever_is_in_it(engine: AsyncEngine, rng: np.random.Generator) -> None:
    names = ["tx_isolation", "innodb_lock_wait_timeout", "idle_write_transaction_timeout", "autocommit"]
    names.append("character_set_connection")
    column_of_names = column(np.array(names, object))
    await put(engine, batch(np.arange(len(names)), rng, objectName=column_of_names))
    back = await stored(engine)
    assert [back[k].objectName for k in range(len(names))] == names


async def test_every_byte_comes_back_written_and_bound(engine: AsyncEngine, rng: np.random.Generator) -> None:
    digests = np.arange(256, dtype=np.uint8).reshape(16, 16)
    await put(engine, batch(np.arange(16), rng, digest=digests))
    back = await stored(engine)
    assert b"".join(back[k].digest for k in range(16)) == bytes(range(256))
    level1 = table("level1").c
    async with engine.begin() as conn:
        for k in range(16):
            found = await conn.scalar(select(level1.diaSourceId).where(level1.digest == bytes(digests[k])))
            assert found == k
        plain = {"dataLength": 0, "indexLength": 0, "records": 0, "state": "open", "owner": "a" * 32, "heartbeat": 0.0}
        made = [plain | {"segment": k, "digest": bytes(digests[k])} for k in range(16)]
        await conn.execute(table("segments").insert(), made)
        segments = table("segments").c
        bound = (await conn.scalars(select(segments.digest).order_by(segments.segment))).all()
    assert b"".join(bound) == bytes(range(256))


async def test_null_nan_and_infinities_are_null(engine: AsyncEngine, rng: np.random.Generator) -> None:
    values = column([1.5, np.nan, np.inf, -np.inf, 7.0], [0, 0, 0, 0, 1])
    await put(engine, batch(np.arange(5), rng, snr=values, band=column(np.array(["g"] * 5, object), [0, 1, 0, 1, 0])))
    back = await stored(engine)
    assert [back[k].snr for k in range(5)] == [1.5, None, None, None, None]
    assert [back[k].band for k in range(5)] == ["g", None, "g", None, "g"]


async def test_many_small_statements_store_what_one_does(engine: AsyncEngine, rng: np.random.Generator) -> None:
    columns = batch(rng.permutation(300), rng)
    cut, _ = await put(engine, columns, max_bytes=2000)
    if engine.dialect.name != "sqlite":
        made = [one.parameters[0] for one in cut.statements]
        assert len(made) > 40
        assert all(isinstance(one, Bulk) and len(one.rows) <= 2000 for one in made)
        assert all(len(text) <= 2000 for one in made if isinstance(one, Bulk) for text in one.text())
    one = await stored(engine)
    async with engine.begin() as conn:
        await conn.execute(table("level1").delete())
    await put(engine, columns)
    assert await stored(engine) == one
    assert len(one) == 300


async def test_an_empty_batch_is_nothing(engine: AsyncEngine, rng: np.random.Generator) -> None:
    prepared, found = await put(engine, batch([], rng))
    assert (len(prepared.taken), len(found), len(judge(prepared, found))) == (0, 0, 0)


async def test_of_a_batch_the_lowest_record_id_of_a_key_becomes_the_row(
    engine: AsyncEngine, rng: np.random.Generator
) -> None:
    digest = np.zeros((6, 16), np.uint8)
    digest[3] = 1
    changes = {
        "stream": np.array([2, 1, 1, 1, 1, 1]),
        "kafkaPartition": np.array([0, 4, 3, 3, 3, 3]),
        "kafkaOffset": np.array([0, 0, 9, 8, 7, 7]),
        "digest": digest,
        "slot": np.arange(6),
    }
    columns = batch([5] * 6, rng, **changes)
    found = await verdicts(engine, columns, 1, part=np.array([0, 0, 0, 0, 1, 0]))
    assert (await stored(engine))[5].slot == 5
    assert found == [REPEATED, REPEATED, REPEATED, CONFLICT, REPEATED, NEW]


async def test_the_same_id_on_another_night_or_survey_is_another_row(
    engine: AsyncEngine, rng: np.random.Generator
) -> None:
    columns = batch([5, 5, 5], rng, night=column([20261121, 20261122, 20261121]), survey=np.array([1, 1, 2]))
    assert await verdicts(engine, columns, 1) == [NEW, NEW, NEW]
    async with engine.connect() as conn:
        assert len((await conn.execute(select(table("level1")))).all()) == 3


async def test_the_first_copy_stays_and_later_ones_are_repeated_or_in_conflict(
    engine: AsyncEngine, rng: np.random.Generator
) -> None:
    first = batch([1, 2, 3], rng, commit=1)
    assert await verdicts(engine, first, 1) == [NEW] * 3
    before = await stored(engine)
    digest = np.concatenate((np.asarray(first["digest"])[[2, 0]], np.full((2, 16), 7, np.uint8)))
    second = batch([3, 1, 2, 4], rng, commit=2, digest=digest)
    prepared, found = await put(engine, second, 2)
    assert judge(prepared, found).tolist() == [REPEATED, REPEATED, CONFLICT, NEW]
    assert sorted(found.alert.tolist()) == [0, 1, 2]
    assert set(found.offset.tolist()) == {1000, 1001, 1002}
    assert (found.stream.tolist(), found.partition.tolist()) == ([1] * 3, [3] * 3)
    after = await stored(engine)
    assert {k: after[k] for k in (1, 2, 3)} == before
    assert after[4].commitId == 2


async def test_a_transaction_done_again_finds_its_own_rows_new(engine: AsyncEngine, rng: np.random.Generator) -> None:
    columns = batch(np.arange(50), rng, commit=9)
    assert await verdicts(engine, columns, 9) == [NEW] * 50
    assert await verdicts(engine, columns, 9) == [NEW] * 50
    assert len(await stored(engine)) == 50


async def test_its_own_record_found_under_another_commit_is_new(engine: AsyncEngine, rng: np.random.Generator) -> None:
    columns = batch(np.arange(5), rng, commit=9)
    await put(engine, columns, 9)
    assert await verdicts(engine, columns | {"commitId": 10}, 10) == [NEW] * 5


async def test_of_several_thousand_ids_exactly_the_foreign_ones_are_found(
    engine: AsyncEngine, rng: np.random.Generator
) -> None:
    ids = rng.choice(10**12, 2500, replace=False)
    night = column(np.where(np.arange(2500) % 3, 20261121, 20261231))
    theirs = rng.random(2500) < 0.3
    columns = batch(ids, rng, night=night)
    some = {
        name: values if isinstance(values, int)
        else Level1Column(values.values[theirs], values.null[theirs]) if isinstance(values, Level1Column)
        else values[theirs]
        for name, values in columns.items()
    }  # fmt: skip
    await put(engine, some, 1)
    _, found = await put(engine, columns | {"commitId": 2}, 2)
    assert sorted(found.alert.tolist()) == np.flatnonzero(theirs).tolist()
    assert (found.digest == np.asarray(columns["digest"])[found.alert]).all()


async def test_rolled_back_rows_are_not_there(engine: AsyncEngine, rng: np.random.Generator) -> None:
    prepared = ready(batch(np.arange(5), rng), dialect=engine.dialect.name)
    async with engine.connect() as conn:
        await insert_rows(conn, prepared)
        await conn.rollback()
    assert await stored(engine) == {}


async def test_rows_whose_ids_must_be_new_are_those_that_may_stand(
    engine: AsyncEngine, rng: np.random.Generator
) -> None:
    columns = batch(np.arange(3000), rng)
    async with engine.begin() as conn:
        await insert_new(conn, ready(columns, dialect=engine.dialect.name, max_bytes=20_000))
    one = await stored(engine)
    async with engine.begin() as conn:
        await conn.execute(table("level1").delete())
    await put(engine, columns)
    assert len(one) == 3000 and one == await stored(engine)


@pytest.mark.parametrize("standing", [0, 999, 1999], ids=["the first", "one amidst", "the last"])
async def test_an_id_that_has_a_row_refuses_those_that_must_be_new(
    engine: AsyncEngine, rng: np.random.Generator, standing: int
) -> None:
    await put(engine, batch([standing], rng, commit=1), 1)
    before = await stored(engine)
    async with engine.connect() as conn:
        with pytest.raises(RowStands):
            await insert_new(conn, ready(batch(np.arange(2000), rng, commit=2), dialect=engine.dialect.name))
        await conn.rollback()
    assert await stored(engine) == before


async def test_rows_are_written_in_the_order_of_the_primary_key(engine: AsyncEngine, rng: np.random.Generator) -> None:
    columns = batch(rng.permutation(100), rng, night=column(rng.choice([20261121, 20261122], 100)))
    prepared = ready(columns, dialect=engine.dialect.name)
    assert prepared.keys.id[prepared.taken].tolist() == list(range(100))


def test_a_column_of_another_length_is_told(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="column ra has 2 rows"):
        ready(batch([1, 2, 3], rng, ra=column([1.0, 2.0]), healpix=np.zeros(3, np.int64)), dialect="mysql")


# What only a server has: limits, locks, partitions, plans.


@pytest.mark.parametrize(
    "change",
    [{"objectName": "x" * 33}, {"detector": 2**15}, {"flags": -1}, {"ra": np.nan}],
    ids=["too long", "too large", "unsigned", "null"],
)
async def test_a_value_that_the_server_refuses_is_poison_and_nothing_is_cut_to_fit(
    server: AsyncEngine, rng: np.random.Generator, change: dict[str, object]
) -> None:
    made = {
        name: column(np.array([value], object if isinstance(value, str) else None)) for name, value in change.items()
    }
    columns = batch([1], rng, healpix=np.zeros(1, np.int64), **made)
    with pytest.raises(Poison) as caught:
        await put(server, columns)
    assert caught.value.code == "level1_refused"
    assert await stored(server) == {}


async def test_the_read_back_goes_by_ranges_of_the_primary_key(server: AsyncEngine, rng: np.random.Generator) -> None:
    await put(server, batch(np.arange(3000), rng))
    for ids, access in (([5], "const"), (list(range(1000)), "range"), (list(range(0, 3000, 3)), "range")):
        async with server.connect() as conn:
            plan = (
                await conn.exec_driver_sql("EXPLAIN PARTITIONS " + foreign_query("mysql", 1, 20261121, ids, 2))
            ).all()
        assert len(plan) == 1
        assert (plan[0].type, plan[0].key, plan[0].partitions) == (access, "PRIMARY", "p20261031")


async def test_writers_of_the_same_ids_share_them_out_without_a_deadlock(
    server: AsyncEngine, rng: np.random.Generator
) -> None:
    batches = [batch(rng.choice(400, 200, replace=False), rng, commit=k) for k in range(1, 25)]

    async def write_some(mine: list[int]) -> list[list[int]]:
        return [await verdicts(server, batches[k], k + 1) for k in mine]

    found = await asyncio.gather(*(write_some(list(range(k, 24, 3))) for k in range(3)))
    rows = await stored(server)
    assert sum(one.count(NEW) for some in found for one in some) == len(rows)
    assert len(rows) > 390


async def test_a_foreign_row_is_waited_for_until_its_writer_decides(
    server: AsyncEngine, rng: np.random.Generator
) -> None:
    first = ready(batch([1], rng, commit=1), dialect="mysql")
    async with server.connect() as conn:
        await insert_rows(conn, first)
        other = asyncio.create_task(put(server, batch([1], rng, commit=2), 2))
        await until_a_lock_is_waited_for(server, other)
        await conn.commit()
    _, found = await other
    assert found.offset.tolist() == [1000]


@pytest.mark.parametrize("commits", [True, False])
async def test_whether_an_id_is_new_is_known_once_its_other_writer_has_decided(
    server: AsyncEngine, rng: np.random.Generator, commits: bool
) -> None:
    async def insert() -> None:
        async with server.begin() as conn:
            await insert_new(conn, ready(batch([0, 1, 2], rng, commit=2), dialect="mysql"))

    async with server.connect() as conn:
        await insert_rows(conn, ready(batch([1], rng, commit=1), dialect="mysql"))
        other = asyncio.create_task(insert())
        await until_a_lock_is_waited_for(server, other)
        await (conn.commit() if commits else conn.rollback())
    if commits:
        with pytest.raises(RowStands):
            await other
    else:
        await other
    assert set(await stored(server)) == ({1} if commits else {0, 1, 2})


async def test_a_night_without_a_partition_is_held_not_poison(server: AsyncEngine, rng: np.random.Generator) -> None:
    async with server.begin() as conn:
        await conn.exec_driver_sql("ALTER TABLE level1 DROP PARTITION later")
    with pytest.raises(Held) as caught:
        await put(server, batch([1], rng, night=column([20300101])))
    assert caught.value.code == "level1_partition"


async def test_every_connection_is_set_as_the_protocol_asks(server: AsyncEngine) -> None:
    names = [
        "tx_isolation",
        "innodb_lock_wait_timeout",
        "idle_write_transaction_timeout",
        "autocommit",
        "character_set_connection",
    ]
    async with server.connect() as conn:
        found = (await conn.exec_driver_sql(f"SELECT @@{', @@'.join(names)}, @@sql_mode")).one()
        with translated():
            assert await write.statement_limit(conn) == rows.STATEMENT_BYTES
    assert tuple(found[:-1]) == ("READ-COMMITTED", 5, 5, 0, "utf8mb4")
    assert "STRICT_ALL_TABLES" in found[-1] and "ONLY_FULL" not in found[-1]


async def test_what_a_server_sets_for_people_who_type_changes_no_answer(
    mariadb: LocalMariadb, level1_url: str, rng: np.random.Generator
) -> None:
    odd = {"sql_select_limit": 2, "completion_type": 2, "sql_safe_updates": 1, "max_join_size": 1, "sql_big_selects": 0}
    usual = {name: mariadb.execute(f"SELECT @@GLOBAL.{name}")[0][0] for name in odd}
    made = open_engine(level1_url)
    try:
        for name, value in odd.items():
            mariadb.execute(f"SET GLOBAL {name} = {value}")
        await migrate(made, FIRST, LAST)
        await put(made, batch(range(9), rng))
        async with made.begin() as conn:
            await conn.execute(update(table("schema_version")).values(minor=0))
        assert len(await stored(made)) == 9
        assert len((await put(made, batch(range(9), rng, commit=2), commit=2))[1]) == 9
        assert (await migrate(made, FIRST, LAST)).found == Version(version().major, 0)
    finally:
        for name, value in usual.items():
            mariadb.execute(f"SET GLOBAL {name} = {value!r}")
        await made.dispose()


async def test_on_sqlite_a_writer_has_the_lock_from_the_beginning_and_a_reader_never(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    writer, reader = open_engine(url), open_engine(url, readonly=True)
    await migrate(writer, 20261101, 20261101)
    other = sqlite3.connect(tmp_path / "a.db", timeout=0, isolation_level=None)
    async with writer.begin() as conn, reader.begin() as reading:
        assert (await conn.exec_driver_sql("PRAGMA journal_mode")).scalar() == "wal"
        assert (await conn.exec_driver_sql("PRAGMA synchronous")).scalar() == 2
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        assert (await reading.exec_driver_sql("SELECT COUNT(*) FROM level1")).scalar() == 0
        with pytest.raises(Fatal) as caught, translated():
            await reading.exec_driver_sql("DELETE FROM level1")
        assert caught.value.code == "level1_rights"
    other.execute("BEGIN IMMEDIATE")
    other.close()
    await writer.dispose()
    await reader.dispose()
