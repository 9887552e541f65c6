"""Rows by MariaDB's bulk command: that it is used, what it stores, and what a connection is worth after trouble."""
# ruff: noqa: F811 (fixtures are imported and then named as parameters)

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from level1_batches import (  # noqa: F401
    FIRST,
    LAST,
    batch,
    column,
    put,
    server,
    stored,
    until_a_lock_is_waited_for,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stream.errors import Poison, Transient
from stream.level1.rows import ready
from stream.level1.write import insert_rows
from stream.local import LocalMariadb
from stream.tables import engine as engine_module
from stream.tables.bulk import _offers_bulk
from stream.tables.engine import level1_url as level1_url_of
from stream.tables.engine import open_engine
from stream.tables.migrate import migrate


async def counted(conn: AsyncConnection, name: str) -> int:
    """A counter of this connection at the server."""
    return int((await conn.exec_driver_sql(f"SHOW SESSION STATUS LIKE '{name}'")).one()[1])


async def line(conn: AsyncConnection) -> Any:
    """The driver's connection."""
    return (await conn.get_raw_connection()).driver_connection


async def test_a_connection_prepares_once_and_sends_every_batch_as_one_command(
    server: AsyncEngine, rng: np.random.Generator
) -> None:
    batches = [ready(batch(np.arange(k, k + 500), rng), dialect="mysql") for k in (0, 500, 1000)]
    async with server.connect() as conn:
        assert (await line(conn)).bulk
        asked = await counted(conn, "Questions")
        for one in batches:
            await insert_rows(conn, one)
        await conn.commit()
        # Three bulks, COMMIT, and this SHOW; a preparation has a counter of its own.
        assert await counted(conn, "Questions") - asked == 5
        assert await counted(conn, "Com_stmt_prepare") == 1
    assert set(await stored(server)) == set(range(1500))


@pytest.mark.parametrize("sign", ["x", "é", "€", "😀"], ids=["1 byte", "2 bytes", "3 bytes", "4 bytes"])
async def test_texts_come_back_whatever_their_length_in_bytes(
    server: AsyncEngine, rng: np.random.Generator, sign: str
) -> None:
    names = [sign * k for k in range(65)]
    null = np.arange(65) % 5 == 4
    await put(server, batch(np.arange(65), rng, ssObjectName=column(np.array(names, object), null)))
    back = await stored(server)
    assert [back[k].ssObjectName for k in range(65)] == [None if null[k] else names[k] for k in range(65)]


async def test_what_was_prepared_holds_after_the_table_was_changed(
    server: AsyncEngine, rng: np.random.Generator
) -> None:
    changes = ["DO 0", "ADD COLUMN tried INT NULL FIRST", "DROP COLUMN tried"]
    columns = [batch(np.arange(100 * k, 100 * k + 100), rng) for k in range(3)]
    async with server.connect() as conn:
        for change, some in zip(changes, columns, strict=True):
            async with server.connect() as other:
                await other.exec_driver_sql(change if change == "DO 0" else f"ALTER TABLE level1 {change}")
            await insert_rows(conn, ready(some, dialect="mysql"))
            await conn.commit()
        assert await counted(conn, "Com_stmt_reprepare") == 2
    by_bulk = await stored(server)
    async with server.begin() as conn:
        await conn.exec_driver_sql("DELETE FROM level1")
        raw = await line(conn)
        raw.bulk = False
        for some in columns:
            await insert_rows(conn, ready(some, dialect="mysql"))
        raw.bulk = True
    assert await stored(server) == by_bulk
    assert len(by_bulk) == 300


async def test_a_refused_row_leaves_the_connection_good(server: AsyncEngine, rng: np.random.Generator) -> None:
    bad = batch(np.arange(100), rng, detector=column(np.where(np.arange(100) == 60, 2**15, 1)))
    async with server.connect() as conn:
        with pytest.raises(Poison, match=r"detector.* row 61"):
            await insert_rows(conn, ready(bad, dialect="mysql"))
        await conn.rollback()
        await insert_rows(conn, ready(batch([7], rng), dialect="mysql"))
        await conn.commit()
    assert set(await stored(server)) == {7}


async def test_a_bulk_that_is_cancelled_while_it_waits_stores_nothing_and_costs_its_connection(
    server: AsyncEngine, rng: np.random.Generator
) -> None:
    async with server.connect() as holding:
        await insert_rows(holding, ready(batch([1], rng), dialect="mysql"))
        async with server.connect() as waiting:
            raw = await line(waiting)
            insert = asyncio.create_task(insert_rows(waiting, ready(batch([0, 1, 2], rng, 2), dialect="mysql")))
            await until_a_lock_is_waited_for(server, insert)
            insert.cancel()
            with pytest.raises(asyncio.CancelledError):
                await insert
            assert raw.closed
            await waiting.invalidate()
        await holding.commit()
    assert set(await stored(server)) == {1}


async def test_a_connection_that_was_killed_prepares_again_on_its_next_one(
    server: AsyncEngine, rng: np.random.Generator
) -> None:
    async with server.connect() as conn:
        await insert_rows(conn, ready(batch([1], rng), dialect="mysql"))
        await conn.commit()
        number = (await conn.exec_driver_sql("SELECT CONNECTION_ID()")).scalar_one()
        async with server.connect() as other:
            await other.exec_driver_sql(f"KILL {number}")
        with pytest.raises(Transient):
            await insert_rows(conn, ready(batch([2], rng), dialect="mysql"))
    await put(server, batch([3], rng))
    assert set(await stored(server)) == {1, 3}


async def test_a_bulk_that_is_cancelled_while_it_is_prepared_costs_its_connection(
    server: AsyncEngine, rng: np.random.Generator
) -> None:
    async with server.connect() as conn:
        raw = await line(conn)
        insert = asyncio.create_task(insert_rows(conn, ready(batch([1], rng), dialect="mysql")))
        preparing = raw._prepare

        async def cancelled(sql: str) -> int:
            asyncio.get_running_loop().call_soon(insert.cancel)
            number: int = await preparing(sql)
            return number

        raw._prepare = cancelled
        with pytest.raises(asyncio.CancelledError):
            await insert
        assert raw.closed and not raw._prepared
        await conn.invalidate()
    await put(server, batch([2], rng))
    assert set(await stored(server)) == {2}


async def test_a_session_that_was_exchanged_behind_a_connection_is_no_place_to_go_on(
    server: AsyncEngine, rng: np.random.Generator
) -> None:
    """Its transaction is gone with what it had prepared: rows without their ledger must not follow as text."""
    async with server.connect() as conn:
        raw, one = await line(conn), ready(batch([1], rng), dialect="mysql")
        raw._prepared[one.statements[0].sql] = 2**31
        with pytest.raises(Transient) as caught:
            await insert_rows(conn, one)
        assert caught.value.code == "level1_away" and raw.closed
    await put(server, batch([2], rng))
    assert set(await stored(server)) == {2}


@pytest.fixture
async def without_prepared(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    """A server that offers the command and keeps no prepared statement."""
    made = LocalMariadb(tmp_path / "mariadb", options={"max-prepared-stmt-count": "0"}).start()
    made.create_database("d")
    engine = open_engine(made.url("d"))
    try:
        await migrate(engine, FIRST, LAST)
        yield engine
    finally:
        await engine.dispose()
        made.stop()


async def test_a_server_that_refuses_the_command_gets_statements_in_the_same_transaction(
    without_prepared: AsyncEngine, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    async with without_prepared.connect() as conn:
        raw = await line(conn)
        assert raw.bulk
        for k in (0, 200):
            await insert_rows(conn, ready(batch(np.arange(k, k + 200), rng), dialect="mysql"))
            assert not raw.bulk
        assert set(await stored(without_prepared)) == set()
        await conn.commit()
    assert set(await stored(without_prepared)) == set(range(400))
    assert [record.message for record in caplog.records] == ["bulk_refused"]


async def test_a_connection_that_was_refused_the_command_is_not_kept_for_ever(
    level1_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "RECYCLE_S", 0)
    engine = open_engine(level1_url)
    async with engine.connect() as conn:
        refused = await line(conn)
        refused.bulk = False
    async with engine.connect() as conn:
        assert (await line(conn)) is not refused and (await line(conn)).bulk
    await engine.dispose()


def test_what_a_greeting_offers_is_read_where_mariadb_puts_it(level1_url: str) -> None:
    address = level1_url_of(level1_url)
    with socket.create_connection((str(address.host), int(address.port or 0))) as plain:
        greeting = bytearray(plain.recv(4096)[4:])
    behind = greeting.index(0, 1) + 1
    assert _offers_bulk(bytes(greeting))
    without, of_mysql = greeting.copy(), greeting.copy()
    without[behind + 27] ^= 4
    of_mysql[behind + 13] |= 1
    assert not _offers_bulk(bytes(without))
    assert not _offers_bulk(bytes(of_mysql))
    assert not _offers_bulk(bytes(greeting[: behind + 20]))
    assert not _offers_bulk(b"\x0a11.4")
