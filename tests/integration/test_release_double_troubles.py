"""What can be made to go wrong in the double goes wrong as it is said, and nothing else does."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pymysql
import pytest
import pytest_asyncio
from doubles.release_double_client import CHUNKS, Caller, There, calling, rows_file

from consumers.release.double import QservDouble
from consumers.release.double.model import Life
from stream.local import LocalMariadb
from stream.local.process import Process

CHUNK = CHUNKS[0]


@pytest_asyncio.fixture
async def caller(tmp_path: Path, mariadb: LocalMariadb) -> AsyncIterator[Caller]:
    """Of a double with a database and a director."""
    async with QservDouble.start(tmp_path / "double", mariadb=mariadb) as double, calling(double) as caller:
        await caller.database()
        yield caller


async def test_what_was_asked_is_done_though_its_answer_is_lost(caller: Caller, tmp_path: Path) -> None:
    transaction = await caller.begin()
    at = (await caller.place(transaction, CHUNK))[CHUNK]
    caller.double.troubles.lose_answers(1, method="POST", path="/ingest/file")
    with pytest.raises(httpx.TransportError):
        await caller.load(at, transaction, rows_file(tmp_path, 3))
    assert caller.double.count("dr1", "Object") == 3
    assert (await caller.load(at, transaction, rows_file(tmp_path, 3)))["success"]
    caller.double.troubles.lose_answers(1, service="controller", method="PUT")
    with pytest.raises(httpx.TransportError):
        await caller.end(transaction)
    assert (await caller.state(transaction))["state"] == "FINISHED"
    assert "can't be ended" in (await caller.end(transaction))["error"]


async def test_a_refused_answer_can_be_lost_too(caller: Caller) -> None:
    caller.double.troubles.lose_answers(1, path="/ingest/trans")
    with pytest.raises(httpx.TransportError):
        await caller.end(99)
    assert (await caller.end(99))["success"] == 0


async def test_a_worker_refuses_connections_until_it_accepts_again(caller: Caller, tmp_path: Path) -> None:
    transaction = await caller.begin()
    at = (await caller.place(transaction, CHUNK))[CHUNK]
    await caller.double.refuse(at)
    with pytest.raises(httpx.ConnectError):
        await caller.load(at, transaction, rows_file(tmp_path, 3))
    assert (await caller.state(transaction))["state"] == "STARTED"
    await caller.double.accept(at)
    assert (await caller.load(at, transaction, rows_file(tmp_path, 3)))["success"]


async def test_a_publication_that_hangs_is_one(caller: Caller, tmp_path: Path) -> None:
    transaction = await caller.begin()
    at = (await caller.place(transaction, CHUNK))[CHUNK]
    await caller.load(at, transaction, rows_file(tmp_path, 3))
    await caller.end(transaction)
    with caller.double.troubles.hang_publish():
        asked = asyncio.create_task(caller.ask("PUT", "controller", "ingest/database/dr1"))
        while not caller.double.memory.databases["dr1"].is_published:
            await asyncio.sleep(0.005)
        told = await caller.ask("PUT", "controller", "ingest/database/dr1")
        assert told["error"] == "the database is already published"
        assert not asked.done()
    assert (await asked)["success"]


async def test_after_a_crash_what_waited_goes_on_and_what_was_being_loaded_has_failed(
    caller: Caller, tmp_path: Path
) -> None:
    double = caller.double
    await caller.ask("PUT", "controller", "ingest/config", database="dr1", ASYNC_PROC_LIMIT=1)
    transaction = await caller.begin(context={"run": 7})
    at = (await caller.place(transaction, CHUNK))[CHUNK]
    assert (await caller.load(at, transaction, rows_file(tmp_path, 3)))["success"]
    # The tables are held, so that the file is being loaded when the double dies.
    held = double.database_of(at, "dr1")
    loading = asyncio.create_task(
        asyncio.to_thread(double.sql, f"SELECT SLEEP(30), MAX(id) FROM `{held}`.`Object_{CHUNK}`")
    )
    asleep = "SELECT 1 FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%' AND info LIKE '%{}%'"
    while not double.sql(asleep.format(held)):
        await asyncio.sleep(0.005)
    numbers = [
        (await caller.load(at, transaction, rows_file(tmp_path, 2, first=10 * each), wait=False))["contrib"]["id"]
        for each in (1, 2)
    ]
    while not double.memory.contributions[numbers[0]].loading:
        await asyncio.sleep(0.005)
    await double.crash()
    with pytest.raises(pymysql.OperationalError):
        await loading
    with pytest.raises(httpx.TransportError):
        await caller.begin()
    await double.open()
    state = await caller.state(transaction, include_context=1)
    assert (state["state"], state["context"]) == ("STARTED", {"run": 7})
    assert (await caller.status(at, numbers[0]))["status"] == "LOAD_FAILED"
    while (told := await caller.status(at, numbers[1]))["status"] == "IN_PROGRESS":
        await asyncio.sleep(0.005)
    assert told["status"] == "FINISHED"
    assert await caller.begin() == transaction + 1
    await caller.end(transaction, abort=True)
    assert double.rows("dr1") == []


@pytest.mark.parametrize(
    ("cut", "end", "rows"),
    [("IS_STARTING", "ABORTED", 0), ("IS_ABORTING", "ABORTED", 0), ("IS_FINISHING", "FINISHED", 3)],
)
async def test_what_a_crash_cut_off_is_brought_to_an_end(
    caller: Caller, tmp_path: Path, cut: str, end: str, rows: int
) -> None:
    double = caller.double
    await caller.database("dr2", auto_build=True)
    transaction = await caller.begin("dr2")
    at = (await caller.place(transaction, CHUNK))[CHUNK]
    if cut != "IS_STARTING":
        await caller.load(at, transaction, rows_file(tmp_path, 3))
        # A part of the index was built.
        index = f"`{double.database_of('czar', 'index')}`.`dr2__Object`"
        double.sql(f"INSERT INTO {index} VALUES ({transaction}, 1, {CHUNK}, 3)")
    double.memory.transactions[transaction].state = Life(cut)
    double.memory.keep(double.memory.transactions[transaction])
    await double.crash()
    await double.open()
    assert (await caller.state(transaction))["state"] == end
    assert double.count("dr2", "Object") == double.index_rows("dr2", "Object") == rows


async def test_a_double_that_is_killed_is_found_again_as_it_was(tmp_path: Path) -> None:
    at = tmp_path / "double"
    command = [sys.executable, "-m", "consumers.release.double.command", "--at", str(at)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    settings = dict(line.removeprefix("export ").split("=", 1) for line in told.splitlines())
    running = Process.find(at / "double.pid.json")
    assert running is not None
    try:
        there = There(settings["SKYBURST_QSERV"], settings["SKYBURST_QSERV_AUTH_KEY"])
        transaction = await _loaded(there, tmp_path)
        os.kill(running.pid, signal.SIGKILL)
        assert running.ended(10.0)
        assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == told
        assert await _committed(there, transaction) == ("FINISHED", 3)
        server = LocalMariadb(at / "mariadb")
        rows = server.execute(
            "SELECT SUM(table_rows) FROM information_schema.tables WHERE table_name REGEXP '^object_[0-9]'"
        )
        assert rows == ((3,),)
    finally:
        subprocess.run([*command, "--stop"], check=True, capture_output=True)
        LocalMariadb(at / "mariadb").stop()


async def _loaded(there: There, folder: Path) -> int:
    async with calling(there) as caller:
        await caller.database()
        transaction = await caller.begin()
        at = (await caller.place(transaction, CHUNK))[CHUNK]
        assert (await caller.load(at, transaction, rows_file(folder, 3)))["success"]
        return transaction


async def _committed(there: There, transaction: int) -> tuple[str, int]:
    async with calling(there) as caller:
        assert (await caller.end(transaction))["success"]
        state = await caller.state(transaction)
        return state["state"], state["contrib"]["summary"]["num_rows_loaded"]
