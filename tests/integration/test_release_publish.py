"""A loaded release is published, proven, taken away and brought back, in the double."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from doubles import release_world
from doubles.release_loading import load, published, verified, world_of

from consumers.release.double import QservDouble
from consumers.release.load.gate import NotLoaded
from consumers.release.load.loader import Loader
from consumers.release.load.release import read
from consumers.release.publish.publishing import Wishes, publish
from consumers.release.publish.rebuilding import rebuild
from consumers.release.publish.removing import delete, replace, unpublish
from consumers.release.publish.standing import standing
from consumers.release.service import LostAnswer, Refused
from stream.errors import SkyburstError, Wrong
from stream.local import LocalMariadb

OBJECTS = 40 * len(release_world.CHUNKS)
STEPS = [
    ("PUT", "/ingest/database"),
    ("POST", "/ingest/index/secondary"),
    ("POST", "/replication/sql/index"),
    ("POST", "/ingest/table-stats"),
    ("PUT", "/replication/qserv/css"),
]


def contents(qserv: QservDouble) -> dict[tuple[str, str, str], object]:
    """A checksum of every table of the release at every worker, of its rows without their transaction, by MariaDB."""
    found = {}
    for worker in qserv.workers:
        place = qserv.database_of(worker, "dr1")
        for (table,) in qserv.sql(f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{place}'"):
            columns = [
                name
                for (name,) in qserv.sql(
                    "SELECT column_name FROM information_schema.columns"
                    f" WHERE table_schema = '{place}' AND table_name = '{table}' AND column_name != 'qserv_trans_id'"
                )
            ]
            told = ", ".join(f"COALESCE(`{name}`, 'NULL')" for name in columns)
            ((rows, digest),) = qserv.sql(
                f"SELECT COUNT(*), SUM(CRC32(CONCAT_WS(',', {told}))) FROM `{place}`.`{table}`"
            )
            if rows:
                found[worker, str(table), "rows"] = (rows, digest)
    return found


async def test_a_release_is_published_with_its_indexes_and_everything_matches(
    qserv: QservDouble, release_folder: Path
) -> None:
    wishes = Wishes(indexes=(("Source", ("objectId", "flux")),), ratings={"Source": 3})
    await load(qserv, release_folder)
    await published(qserv, release_folder, wishes)
    assert qserv.memory.databases["dr1"].is_published
    assert qserv.index_rows("dr1", "Object") == OBJECTS
    checks = await verified(qserv, release_folder, wishes, files=True)
    assert [each for each in checks if not each.good] == []
    assert {each.what for each in checks} >= {
        "published", "open transactions", "columns and keys", "transactions", "contributions", "rows per chunk",
        "director index", "index IDX_objectId", "index IDX_objectId of the overlap", "index IDX_objectId_flux",
        "scan rating", "files on disk",
    }  # fmt: skip
    before = contents(qserv)
    await published(qserv, release_folder, wishes)
    assert contents(qserv) == before and qserv.index_rows("dr1", "Object") == OBJECTS


async def test_a_publication_that_hangs_is_recognised_by_what_it_did(qserv: QservDouble, release_folder: Path) -> None:
    await load(qserv, release_folder)
    with qserv.troubles.hang_publish():
        await published(qserv, release_folder, release_publish_s=0.3)
    assert all(each.good for each in await verified(qserv, release_folder))


async def test_a_publication_that_is_never_done_is_given_up(qserv: QservDouble, release_folder: Path) -> None:
    await load(qserv, release_folder)

    class Deaf:
        """Publishes nothing, and answers nothing."""

        def __init__(self, controller: object) -> None:
            self._controller = controller

        def __getattr__(self, name: str) -> object:
            return getattr(self._controller, name)

        async def publish(self, database: str) -> None:
            raise LostAnswer("PUT", "late")

    async with world_of(qserv, release_folder, release_publish_s=0.2) as (world, _):
        world.controller = Deaf(world.controller)  # type: ignore[assignment]
        with pytest.raises(LostAnswer):
            await publish(world, Wishes(publish_s=0.2))
    assert not qserv.memory.databases["dr1"].is_published


async def test_answers_lost_after_the_load_are_resolved(qserv: QservDouble, release_folder: Path) -> None:
    await load(qserv, release_folder)
    for method, path in STEPS:
        qserv.troubles.lose_answers(2, method=method, path=path)
    await published(qserv, release_folder)
    assert all(each.good for each in await verified(qserv, release_folder))
    assert qserv.index_rows("dr1", "Object") == OBJECTS
    assert [each.left for each in qserv.troubles._losses] == [1, 0, 0, 0, 0]


async def test_what_another_published_is_taken_for_done(qserv: QservDouble, release_folder: Path) -> None:
    await load(qserv, release_folder)
    async with world_of(qserv, release_folder) as (world, _):
        await world.controller.publish("dr1")
    await published(qserv, release_folder)
    assert all(each.good for each in await verified(qserv, release_folder))


async def test_nothing_is_published_that_is_not_loaded_whole(qserv: QservDouble, release_folder: Path) -> None:
    path = release_folder / "Source/chunk_7310.txt"
    path.write_bytes(path.read_bytes()[:-20])
    await load(qserv, release_folder)
    with pytest.raises(SkyburstError) as error:
        await published(qserv, release_folder)
    assert error.value.code == "release_not_loaded"
    assert not qserv.memory.databases["dr1"].is_published


async def test_transactions_of_others_that_are_open_are_named(qserv: QservDouble, release_folder: Path) -> None:
    await load(qserv, release_folder)
    async with world_of(qserv, release_folder) as (world, _):
        begun = await world.controller.begin("dr1", {"who": "somebody"})
    with pytest.raises(SkyburstError, match=f"transactions {begun.id} are open") as error:
        await published(qserv, release_folder)
    assert error.value.code == "release_open_transactions"


async def test_a_key_that_is_there_twice_is_found_and_named(
    qserv: QservDouble, release_folder: Path, rng: np.random.Generator
) -> None:
    lines = {(chunk, False): release_world.object_lines(rng, range(n, n + 9), chunk)
             for n, chunk in enumerate(release_world.CHUNKS)}  # fmt: skip
    release_world.write_table(release_folder, release_world.database(), "Object", lines)
    await load(qserv, release_folder)
    with pytest.raises(SkyburstError, match=r"table Object: a key is there twice: '[0-9]+' in chunk 7") as error:
        await published(qserv, release_folder)
    assert error.value.code == "release_duplicate_keys"
    checks = await verified(qserv, release_folder)
    assert [each.what for each in checks if not each.good and each.table == "Object"][:1] == ["director index"]


async def test_rows_that_vanish_behind_our_back_are_found(qserv: QservDouble, release_folder: Path) -> None:
    await load(qserv, release_folder)
    for worker in qserv.workers:
        place = qserv.database_of(worker, "dr1")
        tables = [name for (name,) in qserv.sql(f"SHOW TABLES IN `{place}`")]
        if "Object_7310" in tables:
            async with world_of(qserv, release_folder) as (world, _):
                await world.controller.publish("dr1")
            qserv.sql(f"DELETE FROM `{place}`.`Object_7310` LIMIT 3")
    with pytest.raises(SkyburstError, match="chunk 7310 has 37 rows, 40 in the manifest") as error:
        await published(qserv, release_folder)
    assert error.value.code == "release_rows"
    (wrong,) = [
        each for each in await verified(qserv, release_folder) if each.what == "rows per chunk" and not each.good
    ]
    assert "chunk 7310 has 37 rows, 40 in the manifest" in wrong.found


async def test_a_qserv_that_lost_everything_is_rebuilt_from_the_files_alone(
    qserv: QservDouble, release_folder: Path, tmp_path: Path, mariadb: LocalMariadb
) -> None:
    await load(qserv, release_folder)
    await published(qserv, release_folder)
    before = contents(qserv)
    async with QservDouble.start(tmp_path / "empty", mariadb=mariadb) as empty:
        with pytest.raises(Wrong) as error:
            await load(empty, release_folder)
        assert error.value.code == "release_lost"
        async with world_of(empty, release_folder) as (world, planned):
            await rebuild(world, planned, Wishes())
        assert {key[1:]: value for key, value in contents(empty).items()} == {k[1:]: v for k, v in before.items()}
        assert empty.memory.databases["dr1"].is_published
        assert empty.index_rows("dr1", "Object") == OBJECTS
        assert all(each.good for each in await verified(empty, release_folder, files=True))


async def test_a_rebuild_begins_only_with_files_that_are_the_manifests_and_in_an_empty_qserv(
    qserv: QservDouble, release_folder: Path
) -> None:
    path = release_folder / "Source/chunk_7310.txt"
    good = path.read_bytes()
    path.write_bytes(good.replace(b"7310", b"7311", 1))
    async with world_of(qserv, release_folder) as (world, planned):
        with pytest.raises(NotLoaded, match=r"Source/chunk_7310.txt .* is not what the manifest says"):
            await rebuild(world, planned, Wishes())
        assert qserv.memory.databases == {}
        path.write_bytes(good)
        await load(qserv, release_folder)
        with pytest.raises(Wrong) as error:
            await rebuild(world, planned, Wishes())
        assert error.value.code == "release_not_empty"


async def test_an_interrupted_rebuild_goes_on_where_it_was(qserv: QservDouble, release_folder: Path) -> None:
    class Killed(BaseException):
        pass

    def die(name: str) -> None:
        if name == "after_commit":
            raise Killed

    with pytest.raises(BaseExceptionGroup):
        async with world_of(qserv, release_folder, crossing=die) as (world, planned):
            await rebuild(world, planned, Wishes())
    async with world_of(qserv, release_folder) as (world, planned):
        await rebuild(world, planned, Wishes())
    assert release_world.counted(qserv) == release_world.wanted(release_folder)
    assert all(each.good for each in await verified(qserv, release_folder))


async def test_a_table_is_replaced_by_a_newer_one(
    qserv: QservDouble, release_folder: Path, rng: np.random.Generator
) -> None:
    await load(qserv, release_folder)
    await published(qserv, release_folder)
    files = {(7310, False): [f"{k},{k},1.5,7310,3" for k in range(11)]}
    release_world.write_table(release_folder, release_world.database(), "Source", files)
    async with world_of(qserv, release_folder) as (world, _):
        with pytest.raises(Wrong) as error:
            await replace(world, "Object")
        assert error.value.code == "release_followed"
        await replace(world, "Source")
        await replace(world, "Source")
    assert (await load(qserv, release_folder)).complete
    await published(qserv, release_folder)
    assert release_world.counted(qserv) == release_world.wanted(release_folder)
    assert all(each.good for each in await verified(qserv, release_folder))


async def test_a_load_is_refused_while_a_replacement_has_not_ended(qserv: QservDouble, release_folder: Path) -> None:
    await load(qserv, release_folder)
    async with world_of(qserv, release_folder) as (world, _):
        await world.ledger.step("replace:Source", "begun")
    for work in (load, published):
        with pytest.raises(Wrong) as error:
            await work(qserv, release_folder)
        assert error.value.code == "release_begun"
    async with world_of(qserv, release_folder) as (world, _):
        await replace(world, "Source")
    assert (await load(qserv, release_folder)).complete


async def test_taking_away_needs_the_administrators_key_and_can_be_lost_and_said_again(
    qserv: QservDouble, release_folder: Path
) -> None:
    await load(qserv, release_folder)
    await published(qserv, release_folder)
    async with world_of(qserv, release_folder, qserv_admin_key="no") as (world, _):
        for take in (unpublish, delete):
            with pytest.raises(SkyburstError) as error:
                await take(world)
            assert error.value.code == "qserv_auth"
    qserv.troubles.lose_answers(1, method="PUT", path="/replication/config/database")
    qserv.troubles.lose_answers(1, method="DELETE", path="/ingest/database")
    async with world_of(qserv, release_folder) as (world, _):
        assert await unpublish(world)
        assert not await unpublish(world)
        assert await delete(world)
        assert not await delete(world)
    assert "dr1" not in qserv.memory.databases
    assert (await load(qserv, release_folder)).complete


async def test_more_tables_are_loaded_after_unpublishing_only(qserv: QservDouble, release_folder: Path) -> None:
    held_back = release_folder / "Source"
    away = release_folder.with_name("away")
    held_back.rename(away)
    await load(qserv, release_folder)
    await published(qserv, release_folder)
    away.rename(held_back)
    with pytest.raises(SkyburstError) as error:
        await load(qserv, release_folder)
    assert error.value.code in ("release_published", "qserv_refused")
    async with world_of(qserv, release_folder) as (world, _):
        await unpublish(world)
    assert (await load(qserv, release_folder)).complete
    await published(qserv, release_folder)
    assert all(each.good for each in await verified(qserv, release_folder))


async def test_the_standing_is_told_at_any_time(qserv: QservDouble, release_folder: Path) -> None:
    async with world_of(qserv, release_folder) as (world, planned):
        before = await standing(world, ask=True)
        assert (before.published, [each.transactions for each in before.tables]) == (None, [0, 0, 0])
        heard = []

        async def look() -> None:
            heard.append(await standing(world, ask=True))

        tasks = []
        world.crossing = lambda name: tasks.append(asyncio.ensure_future(look())) if name == "before_gate" else None
        await Loader(world, planned).run()
        await asyncio.gather(*tasks)
        assert any(each.open_transactions for each in heard)
        after = await standing(world, ask=True)
    wanted = {
        name: sum(file.rows for file in each.manifest.files) for name, each in read(release_folder).tables.items()
    }
    assert {each.table: each.rows_committed for each in after.tables} == wanted
    assert (after.published, after.open_transactions) == (False, ())


async def test_a_service_that_says_no_is_quoted(qserv: QservDouble, release_folder: Path) -> None:
    (release_folder / "Object").rename(release_folder.with_name("gone"))
    (release_folder / "Source").rename(release_folder.with_name("gone too"))
    async with world_of(qserv, release_folder) as (world, _):
        await world.controller.register_database("dr1", 85, 12, 0.01667)
    await load(qserv, release_folder)
    with pytest.raises(Refused, match="the database doesn't have any chunks"):
        await published(qserv, release_folder)
