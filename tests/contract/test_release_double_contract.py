"""What a loader relies on, held against the double, and against a live Qserv where SKYBURST_TEST_QSERV names one.

A live one is the URL of its ingest controller, with SKYBURST_TEST_QSERV_AUTH_KEY and SKYBURST_TEST_QSERV_ADMIN_KEY.
Each test makes a database of its own and deletes it. Publishing may take a while there.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from doubles.release_double_client import CHUNKS, Caller, Service, There, calling, rows

from consumers.release.double import QservDouble
from stream.local import LocalMariadb

CHUNK, OTHER = CHUNKS[:2]
LIVE = os.environ.get("SKYBURST_TEST_QSERV", "")


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["double", *(["live"] if LIVE else [])])
async def service(
    request: pytest.FixtureRequest, mariadb: LocalMariadb, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """The double, or the live service."""
    if request.param == "live":
        yield There(
            LIVE, os.environ["SKYBURST_TEST_QSERV_AUTH_KEY"], os.environ.get("SKYBURST_TEST_QSERV_ADMIN_KEY", "")
        )
        return
    folder: Path = tmp_path_factory.mktemp("double")
    async with QservDouble.start(folder, mariadb=mariadb) as double:
        yield double


@pytest_asyncio.fixture(loop_scope="module")
async def caller(service: Service) -> AsyncIterator[Caller]:
    """Calls the service."""
    async with calling(service) as caller:
        yield caller


@pytest_asyncio.fixture(loop_scope="module")
async def database(caller: Caller) -> AsyncIterator[str]:
    """A database with the director ``Object``, deleted at the end."""
    name = f"skyburst_test_{uuid.uuid4().hex[:12]}"
    await caller.database(name)
    yield name
    admin = {"admin_auth_key": caller.service.admin_auth_key}
    assert (await caller.ask("DELETE", "controller", f"ingest/database/{name}", **admin))["success"]


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def loaded(caller: Caller, database: str, *contents: str) -> tuple[int, str]:
    """A transaction with contributions to a chunk, still open, and the chunk's worker."""
    transaction = await caller.begin(database)
    at = (await caller.place(transaction, CHUNK))[CHUNK]
    for content in contents:
        assert (await caller.send(at, transaction, content))["success"]
    return transaction, at


async def published(caller: Caller, database: str, *contents: str) -> None:
    """Publish a database after a transaction for each of the contents."""
    for content in contents:
        transaction, _ = await loaded(caller, database, content)
        assert (await caller.end(transaction))["success"]
    assert (await caller.ask("PUT", "controller", f"ingest/database/{database}"))["success"]


async def test_a_request_without_the_right_key_is_refused(caller: Caller) -> None:
    told = await caller.ask("POST", "controller", "ingest/trans", auth_key="not the key", database="x")
    assert told["success"] == 0 and told["error"].startswith("failed to pass authorization requirements")


async def test_a_body_with_a_charset_in_its_content_type_is_not_read(caller: Caller) -> None:
    answer = await caller.http.post(
        f"{caller.service.url}/ingest/trans",
        params={"version": "55"},
        content=f'{{"auth_key": "{caller.service.auth_key}"}}',
        headers={"Content-Type": "application/json; charset=utf-8"},
    )
    assert answer.status_code == 200 and "none of the authorization keys" in answer.json()["error"]


async def test_a_version_out_of_range_is_refused_with_the_range(caller: Caller, database: str) -> None:
    told = await caller.ask("POST", "controller", "ingest/chunks", {"version": 53}, database=database, chunks=[])
    assert (told["success"], told["error_ext"]["min_version"]) == (0, 54)


async def test_a_transaction_ends_once_and_its_state_tells(caller: Caller, database: str) -> None:
    transaction, _ = await loaded(caller, database, rows(3))
    assert (await caller.end(transaction))["success"] == 1
    for abort in (False, True):
        told = await caller.end(transaction, abort=abort)
        assert told["success"] == 0 and "state=FINISHED" in told["error"]
    state = await caller.state(transaction)
    assert (state["state"], state["contrib"]["summary"]["num_rows_loaded"]) == ("FINISHED", 3)


async def test_chunks_have_a_place_and_keep_it(caller: Caller, database: str) -> None:
    transaction = await caller.begin(database)
    places = await caller.place(transaction, CHUNK, OTHER)
    assert await caller.place(transaction, OTHER, CHUNK) == places
    told = await caller.ask("POST", "controller", "ingest/chunk", transaction_id=transaction, chunk=169)
    assert told["error"] == "this chunk number is not valid"
    assert (await caller.end(transaction, abort=True))["success"]


async def test_nan_is_found_in_the_first_row_only_and_a_commit_minds_nothing(caller: Caller, database: str) -> None:
    transaction, at = await loaded(caller, database, rows(1))
    told = await caller.send(at, transaction, f"1,nan,1,2,{CHUNK},3\n")
    assert told["success"] == 0 and told["error"].endswith("errno: 1366")
    contribution = (await caller.send(at, transaction, rows(1, first=5) + f"6,nan,1,2,{CHUNK},3\n"))["contrib"]
    assert contribution["status"] == "FINISHED" and contribution["num_rows"] == contribution["num_rows_loaded"] == 2
    assert contribution["num_warnings"] == 1
    summary = (await caller.state(transaction))["contrib"]["summary"]
    assert (summary["num_files_by_status"]["LOAD_FAILED"], summary["num_warnings"]) == (1, 1)
    assert (await caller.end(transaction))["success"] == 1


async def test_rows_that_came_twice_are_found_by_a_unique_index_and_by_counters(caller: Caller, database: str) -> None:
    await published(caller, database, rows(4), rows(4))
    index = {"database": database, "director_table": "Object", "rebuild": 1}
    told = await caller.ask("POST", "controller", "ingest/index/secondary", **index)
    assert told["error"] == "index creation failed" and "1062,Duplicate entry" in str(told["error_ext"])
    scan = {"database": database, "table": "Object", "row_counters_state_update_policy": "ENABLED"}
    assert (await caller.ask("POST", "controller", "ingest/table-stats", force_rescan=1, **scan))["success"]
    told = await caller.ask("GET", "controller", f"ingest/table-stats/{database}/Object")
    assert [each["num_rows"] for each in told["entries"] if not each["is_overlap"]] == [4, 4]


async def test_an_abort_takes_its_rows(caller: Caller, database: str) -> None:
    transaction, _ = await loaded(caller, database, rows(4))
    assert (await caller.end(transaction, abort=True))["success"]
    await published(caller, database, rows(4))
    index = {"database": database, "director_table": "Object", "rebuild": 1}
    assert (await caller.ask("POST", "controller", "ingest/index/secondary", **index))["success"]


async def test_a_database_is_published_once_and_not_before_it_is_whole(caller: Caller, database: str) -> None:
    call = "PUT", "controller", f"ingest/database/{database}"
    assert (await caller.ask(*call))["error"] == "the database doesn't have any chunks"
    transaction, _ = await loaded(caller, database, rows(1))
    assert (await caller.ask(*call))["error"] == "database has uncommitted transactions"
    assert (await caller.end(transaction))["success"]
    assert (await caller.ask(*call))["success"]
    assert (await caller.ask(*call))["error"] == "the database is already published"
    told = await caller.ask("POST", "controller", "ingest/trans", database=database)
    assert told["error"] == "the database is already published"
    told = await caller.ask("DELETE", "controller", f"ingest/table/{database}/Object")
    assert told["error"] == "deleting tables of published databases requires administrator's privileges."


async def test_a_chunk_is_not_taken_by_another_worker(caller: Caller, database: str) -> None:
    transaction = await caller.begin(database)
    places = await caller.place(transaction, CHUNK, OTHER)
    if places[CHUNK] == places[OTHER]:
        pytest.skip("both chunks are on one worker")
    told = await caller.send(places[OTHER], transaction, rows(1))
    assert told["success"] == 0 and "is not allocated to worker" in told["error"]
    assert (await caller.end(transaction, abort=True))["success"]
