"""A release is loaded into the double, whose workers then hold, in a real MariaDB, what the manifests have."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest
from doubles import release_world
from doubles.release_loading import Heard, load, world_of

from consumers.release import manifest as manifests
from consumers.release.double import QservDouble
from consumers.release.load.gate import NotLoaded
from consumers.release.load.records import State
from consumers.release.service import LostAnswer
from consumers.release.service.transport import Answer, HttpTransport, Request
from stream.errors import SkyburstError, Wrong
from stream.local import LocalMariadb

STEPS = [
    ("POST", "/ingest/database"),
    ("POST", "/ingest/table"),
    ("POST", "/ingest/trans"),
    ("POST", "/ingest/chunks"),
    ("POST", "/ingest/file-async"),
    ("PUT", "/ingest/trans"),
    ("GET", "/ingest/trans"),
    ("GET", "/replication/config"),
]


def attempts(qserv: QservDouble) -> list[str]:
    """The states of all transactions of the double."""
    return [str(each.state) for each in qserv.memory.transactions.values()]


@pytest.mark.parametrize("by", ["reference", "value"])
async def test_every_row_of_a_release_is_loaded_once(qserv: QservDouble, release_folder: Path, by: str) -> None:
    loaded = await load(qserv, release_folder, release_by=by)
    assert loaded.complete
    assert len(loaded.standings) >= 5
    assert release_world.counted(qserv) == release_world.wanted(release_folder)
    begun = len(attempts(qserv))
    assert (await load(qserv, release_folder, release_by=by)).complete
    assert len(attempts(qserv)) == begun == len(loaded.standings)


async def test_workers_load_as_many_at_once_as_the_setting_says(qserv: QservDouble, release_folder: Path) -> None:
    loaded = await load(qserv, release_folder, release_worker_limit=1)
    (database,) = qserv.memory.databases.values()
    assert loaded.complete and database.config["ASYNC_PROC_LIMIT"] == 1


async def test_a_transaction_says_in_its_context_what_it_brings(qserv: QservDouble, release_folder: Path) -> None:
    loaded = await load(qserv, release_folder)
    told = [each.context["skyburst"] for each in qserv.memory.transactions.values()]
    assert {each["key"] for each in told} == {each.key for each in loaded.standings}
    assert len({each["token"] for each in told}) == len(told)
    fingerprints = {manifests.read(place).fingerprint for place in manifests.tables(release_folder)}
    assert all(set(each["fingerprints"].values()) == fingerprints for each in told)


async def test_answers_lost_at_every_step_lose_and_double_nothing(qserv: QservDouble, release_folder: Path) -> None:
    for method, path in STEPS:
        qserv.troubles.lose_answers(2, method=method, path=path)
    assert (await load(qserv, release_folder)).complete
    assert release_world.counted(qserv) == release_world.wanted(release_folder)
    assert set(attempts(qserv)) <= {"FINISHED", "ABORTED"}
    assert all(each.left < 2 for each in qserv.troubles._losses), "a step lost no answer"


async def test_requests_that_were_never_heard_are_said_again(
    qserv: QservDouble, release_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, send = dict.fromkeys(STEPS, 2), HttpTransport.send

    async def sometimes(self: HttpTransport, request: Request) -> Answer:
        for step in left:
            if left[step] and step[0] == request.method and f"/{request.path}".startswith(step[1]):
                left[step] -= 1
                raise LostAnswer(f"{request.method} {request.path}", "Server disconnected")
        return await send(self, request)

    monkeypatch.setattr(HttpTransport, "send", sometimes)
    assert (await load(qserv, release_folder)).complete
    assert release_world.counted(qserv) == release_world.wanted(release_folder)
    assert not any(left[step] for step in STEPS[:2])


async def test_a_lost_answer_to_bytes_that_were_sent_aborts_and_starts_anew(
    qserv: QservDouble, release_folder: Path
) -> None:
    qserv.troubles.lose_answers(2, method="POST", path="/ingest/csv")
    loaded = await load(qserv, release_folder, release_by="value")
    assert loaded.complete
    assert release_world.counted(qserv) == release_world.wanted(release_folder)
    assert attempts(qserv).count("ABORTED") >= 1
    assert attempts(qserv).count("FINISHED") == len(loaded.standings)


async def test_what_could_not_be_read_is_read_again_at_the_same_worker(
    qserv: QservDouble, release_folder: Path
) -> None:
    heard = Heard()
    qserv.troubles.fail_reads(5)
    loaded = await load(qserv, release_folder, heard=heard)
    assert loaded.complete and "ABORTED" not in attempts(qserv)
    assert any("could not read" in text for text in heard.said)
    assert release_world.counted(qserv) == release_world.wanted(release_folder)


async def test_what_can_never_be_read_is_said_with_its_url_and_nothing_is_committed(
    qserv: QservDouble, release_folder: Path
) -> None:
    loaded = await load(qserv, release_folder, release_url="file:///nowhere", release_readings=1)
    assert not loaded.complete and release_world.counted(qserv) == {}
    assert {each.code for each in loaded.failed} == {"release_read_failed"}
    assert "--release-url" in str(loaded.failed[0])
    assert (await load(qserv, release_folder)).complete


async def test_a_chunk_that_is_not_the_manifests_is_never_committed_and_is_named(
    qserv: QservDouble, release_folder: Path, rng: np.random.Generator
) -> None:
    """Six chunks, a transaction each, five of them wrong in five ways."""
    chunks = dict(zip(("rows", "later nan", "first nan", "too few", "changed", "good"), range(7480, 7486), strict=True))
    lines = {
        how: release_world.object_lines(rng, range(40 * n, 40 * n + 40), c) for n, (how, c) in enumerate(chunks.items())
    }
    for how, line in (("later nan", 1), ("first nan", 0)):
        field = lines[how][line].split(",")
        lines[how][line] = ",".join([*field[:3], "nan", *field[4:]])
    lines["too few"][0] = lines["too few"][0].rpartition(",")[0]
    files = {(chunks[how], False): each for how, each in lines.items()}
    other = {(chunks["rows"], False): 41}
    release_world.write_table(release_folder, release_world.database(), "Object", files, rows=other)
    path = release_folder / f"Object/chunk_{chunks['changed']}.txt"
    path.write_text(path.read_text().replace("n1", "x1", 1))
    loaded = await load(qserv, release_folder, release_least_transaction_bytes=1)
    wanted = {
        "rows": ("release_rows", ["41 rows in the manifest, 40 read, 40 loaded"]),
        "later nan": ("release_warnings", ["1 warnings", "1366", "nan"]),
        "first nan": ("release_load_failed", ["LOAD_FAILED", "nan"]),
        "too few": ("release_load_failed", ["LOAD_FAILED", "doesn't contain data for all columns"]),
        "changed": ("release_file_changed", ["SHA-256"]),
    }
    failed = {each.error: each.code for each in loaded.standings if each.state is State.FAILED}
    assert failed == {each.message: each.code for each in loaded.failed} and len(failed) == 5
    for how, (code, words) in wanted.items():
        (message,) = [message for message in failed if f"chunk {chunks[how]}" in message]
        assert failed[message] == code
        for word in (*words, f"Object/chunk_{chunks[how]}.txt", "table Object"):
            assert word in message
    held = release_world.counted(qserv)
    gone = {("Object", chunks[how], False) for how in wanted}
    assert held == {place: rows for place, rows in release_world.wanted(release_folder).items() if place not in gone}


async def test_small_files_of_a_chunk_are_merged_and_the_merged_ones_removed(
    qserv: QservDouble, release_folder: Path, rng: np.random.Generator
) -> None:
    files = {(chunk, False): release_world.object_lines(rng, range(9 * n, 9 * n + 9), chunk)
             for n, chunk in enumerate(release_world.CHUNKS)}  # fmt: skip
    release_world.write_table(release_folder, release_world.database(), "Object", files, pieces=9)
    loaded = await load(qserv, release_folder)
    assert loaded.complete
    contributions = sum(each.contributions for each in loaded.standings if each.table == "Object")
    assert contributions == len(release_world.CHUNKS)
    assert release_world.counted(qserv) == release_world.wanted(release_folder)
    assert not list((release_folder / "merged").iterdir())


async def test_an_unreachable_worker_is_waited_for_and_the_next_run_goes_on(
    qserv: QservDouble, release_folder: Path
) -> None:
    await qserv.refuse("worker1")
    with pytest.raises(ExceptionGroup) as raised:
        await load(qserv, release_folder, release_unreachable_s=0.3)
    codes = {each.code for each in raised.value.exceptions if isinstance(each, SkyburstError)}
    assert codes == {"qserv_unreachable"}
    await qserv.accept("worker1")
    assert (await load(qserv, release_folder)).complete
    assert release_world.counted(qserv) == release_world.wanted(release_folder)


async def test_a_worker_that_comes_back_in_time_is_gone_on_with(qserv: QservDouble, release_folder: Path) -> None:
    await qserv.refuse("worker2")
    loading = asyncio.create_task(load(qserv, release_folder))
    await asyncio.sleep(0.5)
    await qserv.accept("worker2")
    assert (await loading).complete
    assert release_world.counted(qserv) == release_world.wanted(release_folder)


@pytest.mark.parametrize("kind", ["sqlite", "mariadb"])
async def test_two_loaders_on_one_ledger_share_the_work(
    qserv: QservDouble, release_folder: Path, level1_url: str, kind: str
) -> None:
    more = {"release_least_transaction_bytes": 1, "release_transactions": 1}
    if kind == "mariadb":
        more |= {"release_ledger": level1_url}  # type: ignore[dict-item]
    qserv.troubles.contribution_delay_s = 0.02
    takers: list[list[str]] = [[], []]

    def crossing(number: int) -> object:
        return lambda name: takers[number].append(name) if name == "after_commit" else None

    several = await asyncio.gather(*(load(qserv, release_folder, crossing=crossing(n), **more) for n in (0, 1)))  # type: ignore[arg-type]
    assert all(each.complete for each in several)
    assert release_world.counted(qserv) == release_world.wanted(release_folder)
    assert all(takers), "one of them did nothing"
    assert len(takers[0]) + len(takers[1]) == len(several[0].standings) == attempts(qserv).count("FINISHED")


@pytest.mark.parametrize("where", ["after_send", "before_commit"])
async def test_a_loader_frozen_past_its_lease_commits_nothing_twice(
    qserv: QservDouble, release_folder: Path, where: str
) -> None:
    """The frozen one has a thread and an event loop of its own, all of which stand still."""
    frozen, thaw, once = threading.Event(), threading.Event(), threading.Lock()
    more = {"release_lease_s": 0.4, "release_transactions": 1, "release_least_transaction_bytes": 1}

    def freeze(name: str) -> None:
        if name == where and once.acquire(blocking=False):
            frozen.set()
            thaw.wait(30)

    loading = asyncio.create_task(
        asyncio.to_thread(lambda: asyncio.run(load(qserv, release_folder, crossing=freeze, **more)))  # type: ignore[arg-type]
    )
    assert await asyncio.to_thread(frozen.wait, 30)
    assert (await load(qserv, release_folder, **more)).complete  # type: ignore[arg-type]
    thaw.set()
    assert (await loading).complete
    assert release_world.counted(qserv) == release_world.wanted(release_folder)
    assert set(attempts(qserv)) <= {"FINISHED", "ABORTED"}


async def test_without_its_ledger_a_load_recognises_what_is_committed(qserv: QservDouble, release_folder: Path) -> None:
    loaded = await load(qserv, release_folder)
    for path in release_folder.glob("load.sqlite*"):
        path.unlink()
    assert (await load(qserv, release_folder)).complete
    assert attempts(qserv) == ["FINISHED"] * len(loaded.standings)
    assert release_world.counted(qserv) == release_world.wanted(release_folder)


async def test_rows_that_the_ledger_does_not_know_are_refused(qserv: QservDouble, release_folder: Path) -> None:
    async with world_of(qserv, release_folder) as (world, _):
        from consumers.release.load.registering import register
        from consumers.release.service import LoadDialect, Source

        await register(world)
        begun = await world.controller.begin("dr1", {})
        place = (await world.controller.chunks(begun.id, [7310]))[0]
        source = Source(begun.id, "Object", 7310, False, LoadDialect(delimiter=","))
        await world.worker(place.url).load(source, f"file://{release_folder}/Object/chunk_7310.txt")
        await world.controller.end(begun.id, abort=False)
    with pytest.raises(Wrong) as error:
        await load(qserv, release_folder)
    assert error.value.code == "release_not_empty"
    assert ("Object", 7480, False) not in release_world.counted(qserv)


async def test_what_a_lost_ledger_left_open_is_aborted_only_when_told(qserv: QservDouble, release_folder: Path) -> None:
    class Killed(BaseException):
        pass

    def die(name: str) -> None:
        if name == "before_gate":
            raise Killed

    with pytest.raises(BaseExceptionGroup):
        await load(qserv, release_folder, crossing=die)
    for path in release_folder.glob("load.sqlite*"):
        path.unlink()
    with pytest.raises(Wrong) as error:
        await load(qserv, release_folder)
    assert error.value.code == "release_other_load"
    assert (await load(qserv, release_folder, take_over=True)).complete
    assert release_world.counted(qserv) == release_world.wanted(release_folder)


async def test_a_table_that_is_there_and_is_another_is_refused_with_the_difference(
    qserv: QservDouble, release_folder: Path
) -> None:
    async with world_of(qserv, release_folder) as (world, _):
        from consumers.release.load import registering

        await world.controller.register_database("dr1", 85, 12, 0.01667)
        body = registering.request("dr1", world.release.tables["Object"].table, 0.01667)
        body["schema"] = [each | ({"type": "DOUBLE DEFAULT NULL"} if each["name"] == "flux" else {})
                          for each in body["schema"]]  # fmt: skip
        await world.controller.register_table(body)
    with pytest.raises(Wrong) as error:
        await load(qserv, release_folder)
    assert error.value.code == "release_table_differs"
    assert "column flux is DOUBLE there and FLOAT here" in error.value.message
    assert attempts(qserv) == []


async def test_a_table_whose_files_changed_after_its_load_began_is_refused(
    qserv: QservDouble, release_folder: Path, rng: np.random.Generator
) -> None:
    await load(qserv, release_folder)
    files = {(7310, False): release_world.object_lines(rng, range(7), 7310)}
    release_world.write_table(release_folder, release_world.database(), "Object", files)
    with pytest.raises(Wrong) as error:
        await load(qserv, release_folder)
    assert error.value.code == "release_changed"


async def test_a_failed_transaction_is_tried_again_once_its_cause_is_gone(
    qserv: QservDouble, release_folder: Path
) -> None:
    path = release_folder / "Source/chunk_7310.txt"
    good = path.read_bytes()
    path.write_bytes(good[:-20])
    loaded = await load(qserv, release_folder)
    assert [type(each) for each in loaded.failed] == [NotLoaded]
    path.write_bytes(good)
    assert (await load(qserv, release_folder)).complete
    assert release_world.counted(qserv) == release_world.wanted(release_folder)


async def test_a_load_stays_within_its_bound_of_contributions_in_flight(
    qserv: QservDouble, release_folder: Path, mariadb: LocalMariadb, rng: np.random.Generator
) -> None:
    files = {(7310, False): release_world.object_lines(rng, range(120), 7310)}
    release_world.write_table(release_folder, release_world.database(), "Object", files, pieces=120)
    qserv.troubles.contribution_delay_s = 0.01
    most = 0

    def look(name: str) -> None:
        nonlocal most
        if name == "after_send":
            waiting = [each for each in qserv.memory.contributions.values() if str(each.status) == "IN_PROGRESS"]
            most = max(most, len(waiting))

    more = {"release_in_flight": 8, "release_merge_bytes": 0, "release_transactions": 1}
    assert (await load(qserv, release_folder, crossing=look, **more)).complete  # type: ignore[arg-type]
    assert 0 < most <= 8
