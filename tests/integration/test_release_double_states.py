"""What the double holds and in which state, where no exchange was recorded; rows are counted in its MariaDB."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from doubles.release_double_client import CHUNKS, COLUMNS, Caller, calling, rows_file

from consumers.release.double import QservDouble, Rows
from stream.local import LocalMariadb
from stream.local.ports import free_ports

CHUNK, OTHER = CHUNKS[:2]


@pytest_asyncio.fixture
async def caller(tmp_path: Path, mariadb: LocalMariadb) -> AsyncIterator[Caller]:
    """Of an empty double with two workers."""
    async with QservDouble.start(tmp_path / "double", mariadb=mariadb) as double, calling(double) as caller:
        yield caller


async def until_done(caller: Caller, worker: str, contribution: int) -> str:
    """How an asynchronous contribution ended."""
    while (status := (await caller.status(worker, contribution))["status"]) == "IN_PROGRESS":
        await asyncio.sleep(0.005)
    return str(status)


async def test_rows_lie_in_the_table_of_their_chunk_overlap_and_transaction(caller: Caller, tmp_path: Path) -> None:
    await caller.database()
    first, second = await caller.begin(), await caller.begin()
    at = (await caller.place(first, CHUNK))[CHUNK]
    for transaction, rows, overlap in ((first, 5, 0), (second, 3, 0), (second, 2, 1)):
        assert (await caller.load(at, transaction, rows_file(tmp_path, rows), overlap=overlap))["success"]
    assert caller.double.rows("dr1") == [
        Rows(at, "Object", CHUNK, False, first, 5),
        Rows(at, "Object", CHUNK, False, second, 3),
        Rows(at, "Object", CHUNK, True, second, 2),
    ]
    assert caller.double.count("dr1", "Object") == 8
    assert caller.double.count("dr1", "Object", transaction=second, overlap=True, chunk=CHUNK, worker=at) == 2
    held = caller.double.database_of(at, "dr1")
    assert caller.double.sql(f"SELECT MAX(id) FROM `{held}`.`Object_{CHUNK}`") == [(4,)]


async def test_an_abort_takes_the_rows_of_its_transaction_and_no_others(caller: Caller, tmp_path: Path) -> None:
    await caller.database(auto_build=True)
    kept, gone = await caller.begin(), await caller.begin()
    at = (await caller.place(kept, CHUNK, OTHER))[CHUNK]
    for transaction in (kept, gone):
        assert (await caller.load(at, transaction, rows_file(tmp_path, 4, first=transaction * 10)))["success"]
    assert (await caller.end(kept))["secondary-index-build-success"] == 1
    assert (await caller.end(gone, abort=True))["success"] == 1
    assert [(each.transaction, each.rows) for each in caller.double.rows("dr1")] == [(kept, 4)]
    assert caller.double.index_rows("dr1", "Object") == 4


async def test_an_abort_of_the_only_transaction_leaves_nothing(caller: Caller, tmp_path: Path) -> None:
    await caller.database(auto_build=True)
    transaction = await caller.begin()
    at = (await caller.place(transaction, CHUNK))[CHUNK]
    await caller.load(at, transaction, rows_file(tmp_path, 4))
    await caller.end(transaction, abort=True)
    assert caller.double.rows("dr1") == [] and caller.double.index_rows("dr1", "Object") == 0


async def test_an_abort_waits_for_the_file_that_is_being_loaded(caller: Caller, tmp_path: Path) -> None:
    await caller.database()
    transaction = await caller.begin()
    at = (await caller.place(transaction, CHUNK))[CHUNK]
    caller.double.troubles.contribution_delay_s = 60.0
    loading = (await caller.load(at, transaction, rows_file(tmp_path, 4), wait=False))["contrib"]["id"]
    queued = [
        (await caller.load(at, transaction, rows_file(tmp_path, 4), wait=False))["contrib"]["id"] for _ in range(3)
    ]
    ending = asyncio.create_task(caller.end(transaction, abort=True))
    while (await caller.state(transaction))["state"] != "IS_ABORTING":
        await asyncio.sleep(0.005)
    caller.double.troubles.contribution_delay_s = 0.0
    assert (await ending)["success"]
    assert await until_done(caller, at, loading) == "FINISHED"
    assert await until_done(caller, at, queued[-1]) == "START_FAILED"
    assert caller.double.rows("dr1") == []


async def test_a_chunk_stays_where_it_is_and_new_ones_are_spread(caller: Caller) -> None:
    await caller.database()
    transaction = await caller.begin()
    places = await caller.place(transaction, *CHUNKS)
    assert sorted(places.values()) == ["worker1", "worker1", "worker2", "worker2"]
    await caller.end(transaction, abort=True)
    assert await caller.place(await caller.begin(), *reversed(CHUNKS)) == places


@pytest.mark.parametrize(("chunk", "valid"), [(0, True), (1, False), (CHUNK, True), (14449, False), (14450, False)])
async def test_chunks_that_the_layout_has_not_are_refused(caller: Caller, chunk: int, valid: bool) -> None:
    await caller.database()
    told = await caller.ask("POST", "controller", "ingest/chunk", database="dr1", chunk=chunk)
    assert (told["success"], told["error"]) == ((1, "") if valid else (0, "this chunk number is not valid"))


async def test_nan_is_refused_in_the_first_row_and_0_in_a_later_one(caller: Caller, tmp_path: Path) -> None:
    await caller.database()
    transaction = await caller.begin()
    at = (await caller.place(transaction, CHUNK))[CHUNK]
    path = tmp_path / "nan.txt"
    path.write_text(f"1,nan,1,2,{CHUNK},3\n")
    assert "errno: 1366" in (await caller.load(at, transaction, path))["error"]
    path.write_text(f"1,1,1,2,{CHUNK},3\n2,nan,1,2,{CHUNK},3\n3,inf,1,2,{CHUNK},3\n")
    contribution = (await caller.load(at, transaction, path))["contrib"]
    assert (contribution["status"], contribution["num_rows"], contribution["num_rows_loaded"]) == ("FINISHED", 3, 3)
    assert contribution["num_warnings"] == 2
    held = caller.double.database_of(at, "dr1")
    assert caller.double.sql(f"SELECT id, x FROM `{held}`.`Object_{CHUNK}` ORDER BY 1") == [
        (1, 1.0),
        (2, 0.0),
        (3, 0.0),
    ]
    assert (await caller.end(transaction))["success"] == 1


async def test_a_worker_takes_no_chunk_of_another(caller: Caller, tmp_path: Path) -> None:
    await caller.database()
    transaction = await caller.begin()
    places = await caller.place(transaction, CHUNK, OTHER)
    told = await caller.load(places[OTHER], transaction, rows_file(tmp_path, 1))
    assert f"is not allocated to worker '{places[OTHER]}'" in told["error"] and told["success"] == 0
    assert caller.double.rows("dr1") == []


async def test_duplicates_are_taken_and_only_a_unique_index_tells(caller: Caller, tmp_path: Path) -> None:
    await caller.database()
    for _ in range(2):
        transaction = await caller.begin()
        at = (await caller.place(transaction, CHUNK))[CHUNK]
        assert (await caller.load(at, transaction, rows_file(tmp_path, 4)))["success"]
        assert (await caller.end(transaction))["success"]
    assert (await caller.ask("PUT", "controller", "ingest/database/dr1"))["success"]
    assert caller.double.count("dr1", "Object") == 8
    index = {"database": "dr1", "director_table": "Object", "rebuild": 1}
    told = await caller.ask("POST", "controller", "ingest/index/secondary", **index)
    assert "1062,Duplicate entry '0'" in told["error_ext"][at][str(CHUNK)]
    assert (await caller.ask("POST", "controller", "ingest/index/secondary", **index, unique_primary_key=0))["success"]
    assert caller.double.index_rows("dr1", "Object") == 8


async def test_duplicates_in_one_transaction_spoil_its_index_and_not_its_commit(caller: Caller, tmp_path: Path) -> None:
    await caller.database(auto_build=True)
    transaction = await caller.begin()
    at = (await caller.place(transaction, CHUNK))[CHUNK]
    for _ in range(2):
        await caller.load(at, transaction, rows_file(tmp_path, 4))
    told = await caller.end(transaction)
    assert (told["success"], told["secondary-index-build-success"]) == (1, 0)
    assert caller.double.count("dr1", "Object") == 8


@pytest.mark.parametrize(("limit", "begun"), [(0, 2), (1, 1)])
async def test_so_many_files_of_a_database_are_loaded_at_once(
    caller: Caller, tmp_path: Path, limit: int, begun: int
) -> None:
    await caller.database()
    await caller.ask("PUT", "controller", "ingest/config", database="dr1", ASYNC_PROC_LIMIT=limit)
    transaction = await caller.begin()
    at = (await caller.place(transaction, CHUNK))[CHUNK]
    caller.double.troubles.contribution_delay_s = 60.0
    numbers = [
        (await caller.load(at, transaction, rows_file(tmp_path, 1), wait=False))["contrib"]["id"] for _ in range(4)
    ]
    told = [await caller.status(at, number) for number in numbers]
    assert {each["status"] for each in told} == {"IN_PROGRESS"}
    assert sum(each["start_time"] > 0 for each in told) == begun
    caller.double.troubles.contribution_delay_s = 0.0
    assert [await until_done(caller, at, number) for number in numbers] == ["FINISHED"] * 4


async def test_what_waits_can_be_cancelled_and_what_runs_is_left_alone(caller: Caller, tmp_path: Path) -> None:
    await caller.database()
    await caller.ask("PUT", "controller", "ingest/config", database="dr1", ASYNC_PROC_LIMIT=1)
    transaction = await caller.begin()
    at = (await caller.place(transaction, CHUNK))[CHUNK]
    caller.double.troubles.contribution_delay_s = 60.0
    runs, waits, more = [
        (await caller.load(at, transaction, rows_file(tmp_path, 2), wait=False))["contrib"]["id"] for _ in range(3)
    ]
    assert (await caller.ask("DELETE", at, f"ingest/file-async/{waits}"))["contrib"]["status"] == "CANCELLED"
    told = await caller.ask("DELETE", at, f"ingest/file-async/trans/{transaction}")
    assert [(each["id"], each["status"]) for each in told["contribs"]] == [
        (runs, "IN_PROGRESS"),
        (waits, "CANCELLED"),
        (more, "CANCELLED"),
    ]
    caller.double.troubles.contribution_delay_s = 0.0
    assert await until_done(caller, at, runs) == "FINISHED"
    assert caller.double.count("dr1", "Object") == 2


async def test_reading_is_tried_again_as_often_as_is_allowed_and_then_by_hand(caller: Caller, tmp_path: Path) -> None:
    await caller.database()
    transaction = await caller.begin()
    at = (await caller.place(transaction, CHUNK))[CHUNK]
    path = rows_file(tmp_path, 2)
    caller.double.troubles.fail_reads(2)
    contribution = (await caller.load(at, transaction, path, max_retries=2))["contrib"]
    assert (contribution["status"], contribution["num_failed_retries"]) == ("FINISHED", 2)
    caller.double.troubles.fail_reads(2)
    told = await caller.load(at, transaction, path, max_retries=1)
    assert told["error_ext"] == {"http_error": 404, "system_error": 0, "retry_allowed": 1}
    number = max(caller.double.memory.contributions)
    assert (await caller.ask("PUT", "worker1", "ingest/file/999"))["success"] == 0
    assert (await caller.ask("PUT", at, f"ingest/file/{number}"))["contrib"]["status"] == "FINISHED"
    assert "no retry is allowed" in (await caller.ask("PUT", at, f"ingest/file/{number}"))["error"]
    assert caller.double.count("dr1", "Object") == 4


async def test_a_database_may_be_deleted_while_a_file_is_loaded(caller: Caller, tmp_path: Path) -> None:
    await caller.database()
    transaction = await caller.begin()
    at = (await caller.place(transaction, CHUNK))[CHUNK]
    caller.double.troubles.contribution_delay_s = 60.0
    loading = asyncio.create_task(caller.load(at, transaction, rows_file(tmp_path, 2)))
    while not caller.double.memory.contributions:
        await asyncio.sleep(0.005)
    assert (await caller.ask("DELETE", "controller", "ingest/database/dr1"))["success"]
    caller.double.troubles.contribution_delay_s = 0.0
    assert "errno: 1146" in (await loading)["error"]
    assert not caller.double.memory.contributions
    await caller.database()
    assert await caller.begin() == transaction + 1 and caller.double.rows("dr1") == []


async def test_a_file_of_a_server_that_is_not_there_cannot_be_read(caller: Caller) -> None:
    await caller.database()
    transaction = await caller.begin()
    at = (await caller.place(transaction, CHUNK))[CHUNK]
    told = await caller.load(at, transaction, f"http://127.0.0.1:{free_ports(1)[0]}/rows.txt", max_retries=0)
    assert (told["success"], told["error_ext"]["retry_allowed"]) == (0, 1)
    summary = (await caller.state(transaction))["contrib"]["summary"]
    assert summary["num_files_by_status"]["READ_FAILED"] == 1 and summary["num_failed_retries"] == 0


async def test_a_transaction_tells_of_the_contributions_that_are_asked_for(caller: Caller, tmp_path: Path) -> None:
    await caller.database()
    transaction = await caller.begin()
    places = await caller.place(transaction, CHUNK, OTHER)
    for chunk in (CHUNK, OTHER):
        await caller.load(places[chunk], transaction, rows_file(tmp_path, 2), chunk=chunk)
    await caller.load(places[CHUNK], transaction, tmp_path / "missing.txt", max_retries=2)
    whole = {"contrib_long": 1, "include_retries": 1}

    async def asked(**query: object) -> list[tuple[int, str]]:
        files = (await caller.state(transaction, **whole | query))["contrib"]["files"]
        return [(each["chunk"], each["status"]) for each in files]

    assert await asked() == [(CHUNK, "FINISHED"), (OTHER, "FINISHED"), (CHUNK, "READ_FAILED")]
    assert await asked(chunk=OTHER) == [(OTHER, "FINISHED")]
    assert await asked(worker=places[CHUNK]) == [(CHUNK, "FINISHED"), (CHUNK, "READ_FAILED")]
    assert await asked(contrib_status="READ_FAILED") == await asked(min_retries=2) == [(CHUNK, "READ_FAILED")]
    assert await asked(max_entries=1) == [(CHUNK, "FINISHED")]
    assert await asked(table="Other") == []


async def test_a_table_that_is_registered_late_has_no_tables_for_earlier_chunks(caller: Caller, tmp_path: Path) -> None:
    await caller.database(tables=("Object", "Other"))
    transaction = await caller.begin()
    at = (await caller.place(transaction, CHUNK))[CHUNK]
    await caller.load(at, transaction, rows_file(tmp_path, 2))
    assert (await caller.table("dr1", "Late"))["success"]
    held = caller.double.database_of(at, "dr1")
    names = {name for (name,) in caller.double.sql(f"SHOW TABLES FROM `{held}`")}
    assert {f"Object_{CHUNK}", f"ObjectFullOverlap_{CHUNK}", f"Other_{CHUNK}", f"OtherFullOverlap_{CHUNK}"} <= names
    assert not {name for name in names if name.startswith("Late_")}


async def test_a_published_table_takes_no_rows_though_its_database_is_unpublished(
    caller: Caller, tmp_path: Path
) -> None:
    await caller.database()
    transaction = await caller.begin()
    at = (await caller.place(transaction, CHUNK))[CHUNK]
    await caller.load(at, transaction, rows_file(tmp_path, 2))
    await caller.end(transaction)
    assert (await caller.ask("PUT", "controller", "ingest/database/dr1"))["success"]
    assert (await caller.table("dr1", "Late"))["error"] == "the database is already published"
    admin = {"admin_auth_key": caller.double.admin_auth_key}
    assert (await caller.ask("PUT", "controller", "replication/config/database/dr1", **admin))["success"]
    assert (await caller.table("dr1", "Late"))["success"]
    transaction = await caller.begin()
    assert "already published" in (await caller.load(at, transaction, rows_file(tmp_path, 2)))["error"]
    assert (await caller.load(at, transaction, rows_file(tmp_path, 3), table="Late"))["success"]
    assert caller.double.count("dr1", "Object") == 2 and caller.double.count("dr1", "Late") == 3


async def test_a_match_table_needs_both_of_its_directors(caller: Caller) -> None:
    await caller.database()
    flags = [*COLUMNS, {"name": "other", "type": "BIGINT"}, {"name": "partitioningFlags", "type": "INT"}]
    asked = {
        "schema": flags,
        "director_table": "Object",
        "director_table2": "Other",
        "director_key2": "other",
        "flag": "partitioningFlags",
        "ang_sep": 0.01,
        "longitude_key": "",
        "latitude_key": "",
    }
    assert "non-existing director table referenced" in (await caller.table("dr1", "Pair", **asked))["error"]
    assert (await caller.table("dr1", "Other"))["success"]
    tables = {each["name"]: each for each in (await caller.table("dr1", "Pair", **asked))["database"]["tables"]}
    assert (tables["Pair"]["is_ref_match"], tables["Pair"]["is_director"]) == (1, 0)


async def test_types_that_mariadb_refuses_are_refused_with_its_words(caller: Caller) -> None:
    await caller.database()
    schema = [*COLUMNS, {"name": "y", "type": "NONSENSE"}]
    told = await caller.table("dr1", "Other", schema=schema)
    assert told["success"] == 0 and "errno: " in told["error"]
    assert {each["name"] for each in (await caller.ask("GET", "controller", "ingest/table/dr1"))["tables"]} == {
        "Object"
    }


async def test_counters_are_kept_only_where_asked_and_scanned_anew_only_where_forced(
    caller: Caller, tmp_path: Path
) -> None:
    await caller.database()
    for first in (0, 10):
        transaction = await caller.begin()
        at = (await caller.place(transaction, CHUNK, OTHER))[CHUNK]
        await caller.load(at, transaction, rows_file(tmp_path, 2, first=first))
        await caller.end(transaction)
    await caller.ask("PUT", "controller", "ingest/database/dr1")

    async def counters(**more: object) -> list[tuple[int, int, int, int]]:
        assert (await caller.ask("POST", "controller", "ingest/table-stats", database="dr1", table="Object", **more))[
            "success"
        ]
        told = await caller.ask("GET", "controller", "ingest/table-stats/dr1/Object")
        names = ("is_overlap", "chunk", "transaction_id", "num_rows")
        return [tuple(each[name] for name in names) for each in told["entries"]]  # type: ignore[misc]

    assert await counters() == []
    kept = {"row_counters_state_update_policy": "ENABLED"}
    main = [(0, CHUNK, 1, 2), (0, CHUNK, 2, 2), (0, OTHER, 0, 0)]
    assert await counters(overlap_selector="CHUNK", **kept) == main
    assert await counters(**kept) == main
    whole = await counters(force_rescan=1, **kept)
    assert whole == [(1, CHUNK, 0, 0), (1, OTHER, 0, 0), *main]


async def test_a_call_without_a_version_is_done_and_warned_of(caller: Caller) -> None:
    await caller.database()
    told = await caller.ask("GET", "controller", "ingest/table/dr1", {"version": ""})
    assert told["success"] == 0
    url = f"{caller.double.url}/ingest/table/dr1"
    told = (await caller.http.get(url)).json()
    assert (told["success"], told["warning"]) == (1, "No version number was provided in the request.")


@pytest.mark.parametrize(
    ("service", "method", "path", "lowest"),
    [
        ("controller", "POST", "ingest/chunks", 54),
        ("controller", "GET", "ingest/trans/1", 37),
        ("controller", "POST", "ingest/chunk/empty", 31),
        ("controller", "GET", "ingest/config", 14),
        ("controller", "POST", "ingest/trans", 12),
        ("worker1", "POST", "ingest/data", 35),
        ("worker2", "POST", "ingest/file", 16),
        ("worker2", "GET", "ingest/file-async/1", 13),
    ],
)
async def test_a_call_is_refused_below_the_version_that_brought_it(
    caller: Caller, service: str, method: str, path: str, lowest: int
) -> None:
    told = await caller.ask(method, service, path, {"version": lowest - 1})
    assert told["error_ext"] == {"min_version": lowest, "max_version": 55}
    assert (await caller.ask(method, service, path, {"version": lowest}))["error_ext"] == {}
