"""A real server's troubles become the errors that say what to do; TLS is checked against its authority."""
# ruff: noqa: F811 (fixtures are imported and then named as parameters)

from __future__ import annotations

import asyncio
import os
import signal
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import trustme
from level1_batches import FIRST, LAST, batch, put, server  # noqa: F401
from sqlalchemy import Connection, Engine, event
from sqlalchemy.dialects.mysql.aiomysql import MySQLDialect_aiomysql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stream.commit.sealing import heartbeat
from stream.errors import Fatal, SkyburstError, Transient
from stream.local import LocalMariadb
from stream.tables import engine as engine_module
from stream.tables.engine import free_locks, open_engine, open_reader
from stream.tables.engine import level1_url as parsed
from stream.tables.migrate import migrate
from stream.tables.trouble import translated


async def run(conn: AsyncConnection, *statements: str) -> None:
    with translated():
        for statement in statements:
            await conn.exec_driver_sql(statement)


async def failing(url: str) -> SkyburstError:
    made = open_engine(url)
    with pytest.raises(SkyburstError) as caught, translated():
        async with made.connect():
            pass
    await made.dispose()
    return caught.value


async def test_a_server_that_is_not_there_is_transient(level1_url: str) -> None:
    found = await failing(parsed(level1_url).set(port=1).render_as_string(False))
    assert (type(found), found.code) == (Transient, "level1_away")


async def test_a_wrong_password_is_fatal_and_not_repeated_in_the_message(level1_url: str) -> None:
    found = await failing(parsed(level1_url).set(password="s3cret").render_as_string(False))
    assert (type(found), found.code) == (Fatal, "level1_rights")
    assert "s3cret" not in str(found)


async def test_a_connection_that_was_killed_is_transient_and_the_next_one_works(server: AsyncEngine) -> None:
    async with server.connect() as one, server.connect() as other:
        number = (await one.exec_driver_sql("SELECT CONNECTION_ID()")).scalar_one()
        await other.exec_driver_sql(f"KILL {number}")
        with pytest.raises(Transient) as caught:
            await run(one, "SELECT 1")
        assert caught.value.code == "level1_away"
    async with server.connect() as conn:
        await run(conn, "SELECT 1")


async def test_a_lock_that_is_not_given_is_lock_wait_and_a_deadlock_is_one(server: AsyncEngine) -> None:
    ledger = "INSERT INTO ledger (sink, stream, kafkaPartition, next) VALUES ('a', 1, 0, 0), ('a', 1, 1, 0)"
    first, second = (
        f"UPDATE ledger SET next = next + 1 WHERE kafkaPartition = {n} AND sink = 'a' AND stream = 1" for n in (0, 1)
    )
    async with server.begin() as conn:
        await run(conn, ledger)
    async with server.connect() as one, server.connect() as other:
        await run(one, first)
        await run(other, "SET SESSION innodb_lock_wait_timeout = 1", second)
        with pytest.raises(Transient) as caught:
            await run(other, first)
        assert caught.value.code == "lock_wait"
        found = await asyncio.gather(run(one, second), run(other, first), return_exceptions=True)
    codes = [one.code for one in found if isinstance(one, SkyburstError)]
    assert codes == ["deadlock"]


def stop(mariadb: LocalMariadb) -> None:
    """Freeze the server, and return once it is."""
    mariadb.process.send(signal.SIGSTOP)
    while psutil.Process(mariadb.process.pid).status() != psutil.STATUS_STOPPED:
        pass


async def test_a_connection_that_is_lost_before_its_rollback_is_given_up_without_a_word(
    server: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    async with server.connect() as conn:
        lost = (await conn.get_raw_connection()).driver_connection
        number = (await conn.exec_driver_sql("SELECT CONNECTION_ID()")).scalar_one()
        async with server.connect() as other:
            await run(other, f"KILL {number}")
    async with server.connect() as conn:
        assert lost.closed and (await conn.get_raw_connection()).driver_connection is not lost
    assert caplog.records == []


async def test_rows_that_a_frozen_process_has_only_locked_are_free_again(
    server: AsyncEngine, level1_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "LOCK_WAIT_S", 1)
    mine = "SELECT * FROM schema_version FOR UPDATE"
    owner = open_engine(level1_url)
    free_locks(owner)
    async with owner.connect() as frozen:
        await run(frozen, mine)
        async with server.connect() as other:
            await run(other, mine)
        with pytest.raises(Transient):
            await run(frozen, "SELECT 1")
        await frozen.invalidate()
    await owner.dispose()


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_server_that_freezes_as_a_heartbeat_ends_holds_up_neither_its_deadline_nor_its_end(
    server: AsyncEngine, mariadb: LocalMariadb, monkeypatch: pytest.MonkeyPatch, cancelled: bool
) -> None:
    monkeypatch.setattr(engine_module, "ROLLBACK_S", 0.3)
    frozen = asyncio.Event()

    @event.listens_for(server.sync_engine, "reset")
    def freeze(*_: object) -> None:
        """All is committed; what SQLAlchemy asks last, a ROLLBACK, gets no answer."""
        stop(mariadb)
        frozen.set()

    async def beat() -> None:
        async with asyncio.timeout(None if cancelled else 0.1):
            await heartbeat(server, "nobody")

    task = asyncio.create_task(beat())
    try:
        await frozen.wait()
        if cancelled:
            task.cancel()
        await asyncio.wait({task}, timeout=10)
        assert task.done()
    finally:
        event.remove(server.sync_engine, "reset", freeze)
        mariadb.process.send(signal.SIGCONT)
    with pytest.raises(asyncio.CancelledError if cancelled else TimeoutError):
        await task
    await heartbeat(server, "nobody")


@pytest.mark.parametrize("how", ["frozen", "killed"])
async def test_a_server_that_goes_as_the_first_connection_is_made_is_transient(
    level1_url: str, mariadb: LocalMariadb, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(engine_module, "ROLLBACK_S", 0.3)
    initialize = MySQLDialect_aiomysql.initialize

    def and_go(dialect: MySQLDialect_aiomysql, connection: Connection) -> None:
        """All is known of the server; the ROLLBACK that ends it gets no answer."""
        initialize(dialect, connection)
        stop(mariadb) if how == "frozen" else mariadb.kill()

    monkeypatch.setattr(engine_module._Patient, "initialize", and_go)
    try:
        found = await failing(level1_url)
    finally:
        mariadb.process.send(signal.SIGCONT)
    assert (type(found), found.code) == (Transient, "level1_away")


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[tuple[LocalMariadb, Path]]:
    """A server with a certificate, and the file of the authority that signed it."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    paths = [tmp_path / name for name in ("authority.pem", "server.pem", "server.key")]
    authority.cert_pem.write_to_path(paths[0])
    issued.cert_chain_pems[0].write_to_path(paths[1])
    issued.private_key_pem.write_to_path(paths[2])
    options = dict(zip(("ssl-ca", "ssl-cert", "ssl-key"), map(str, paths), strict=True))
    made = LocalMariadb(tmp_path / "mariadb", options=options).start()
    made.create_database("d")
    yield made, paths[0]
    made.stop()


async def test_tls_is_used_and_held_against_the_authority(encrypted: tuple[LocalMariadb, Path], tmp_path: Path) -> None:
    made, authority = encrypted
    url = f"{made.url('d')}?ssl_ca={authority}"
    engine = open_engine(url)
    async with engine.connect() as conn:
        assert (await conn.exec_driver_sql("SHOW STATUS LIKE 'Ssl_cipher'")).one()[1]
    await migrate(engine, FIRST, LAST)
    await put(engine, batch(range(50), np.random.default_rng(1)))
    async with engine.connect() as conn:
        raw: Any = (await conn.get_raw_connection()).driver_connection
        assert raw.bulk and (await conn.exec_driver_sql("SELECT COUNT(*) FROM level1")).scalar_one() == 50
    await engine.dispose()
    reader = open_reader(url)
    with reader.connect() as conn:
        assert conn.exec_driver_sql("SHOW STATUS LIKE 'Ssl_cipher'").one()[1]
    reader.dispose()
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    found = await failing(f"{made.url('d')}?ssl_ca={other}")
    assert (type(found), found.code) == (Fatal, "level1_tls")
    assert "CERTIFICATE_VERIFY_FAILED" in found.message


async def test_a_host_that_vanishes_is_noticed_by_its_connections(server: AsyncEngine) -> None:
    async with server.connect() as connection:
        raw: Any = (await connection.get_raw_connection()).driver_connection
        line = raw._writer.get_extra_info("socket")
        wanted = {"TCP_KEEPIDLE": 10, "TCP_USER_TIMEOUT": 30_000}
        there = {name: value for name, value in wanted.items() if hasattr(socket, name)}
        assert {name: line.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in there} == there


def connection_of(reader: Engine) -> int:
    with reader.connect() as conn:
        return int(conn.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one())


def test_a_forked_process_has_connections_of_its_own(level1_url: str) -> None:
    reader = open_reader(level1_url)
    ours = connection_of(reader)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # later Pythons warn of forks beside threads
        child = os.fork()
    if child == 0:
        shared = True
        try:
            shared = connection_of(reader) == ours
        finally:
            os._exit(int(shared))
    assert os.waitpid(child, 0)[1] == 0
    assert connection_of(reader) == ours, "what the fork let go of still serves here"
    reader.dispose()
