"""Rebuilding Level-1 from the files alone: equal tables, nothing beyond a gap unasked, and verify is green on them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from doubles.called import call, call_away
from doubles.history import History, all_rows, history, killed
from doubles.ingest_live import rows as asked
from doubles.ingest_run import IngestRun, sent
from doubles.nursery import Nursery
from doubles.rebuilding import rebuild
from sqlalchemy.ext.asyncio import AsyncConnection

from stream.audit import taking
from stream.audit.files import open_files
from stream.audit.order import Gap
from stream.audit.rebuild import Word
from stream.audit.verify import Stores, verify
from stream.cli.verify import survey_files
from stream.clock import SystemClock
from stream.commit import ledger
from stream.commit.batch import OffsetRange
from stream.commit.identity import Daemon
from stream.config import Settings
from stream.errors import Fatal, Fenced, Held, SkyburstError
from stream.local import LocalKafka, LocalMariadb
from stream.sky import Layout
from stream.tables.engine import open_engine, open_reader
from stream.tables.migrate import check, migrate
from stream.tables.model import table


def found(url: str, folder: Path) -> list[dict[str, object]]:
    """What verify finds."""
    engine = open_reader(url)
    report = verify(Stores(engine, open_files(str(folder)), None, survey_files(Settings.load({})), SystemClock()))
    engine.dispose()
    return report.listed()


def without(rows: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in names} for row in rows]


@pytest.fixture(scope="module")
def old(kafka: LocalKafka, mariadb: LocalMariadb, nursery: Nursery, shared_data: Path) -> Iterator[History]:
    """The store that is rebuilt from, and its tables."""
    made = history(kafka, mariadb, nursery, shared_data)
    assert found(made.run.level1, made.run.alertdb) == []
    yield made


ON_BOTH = pytest.mark.parametrize("new", ["mariadb", "sqlite"], indirect=True)


@pytest.fixture(params=[pytest.param("mariadb", marks=pytest.mark.long), "sqlite"])
def new(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new.sqlite"
    return str(request.getfixturevalue("level1_url"))


@pytest.fixture
def folder(old: History, tmp_path: Path) -> Path:
    """A copy of the segments."""
    return Path(shutil.copytree(old.run.alertdb, tmp_path / "alertdb"))


@ON_BOTH
async def test_rebuild_gives_equal_tables(old: History, new: str, folder: Path) -> None:
    done = await rebuild(new, folder)
    assert (done.torn, done.gaps, done.damaged) == (0, (), ())
    assert done.left_out == 1, "the commit that was durable and never published, whose offsets another one took"
    tables, before = all_rows(new), old.tables
    same = ("level1", "level1_repeat", "quarantine", "visit_part", "commit_ranges", "streams", "surveys", "ledger")
    for name in same:
        assert tables[name] == before[name], name
        assert before[name], name
    assert without(tables["commits"], "committedAt") == without(before["commits"], "committedAt")
    for one, other in zip(tables["commits"], before["commits"], strict=True):
        assert abs(one["committedAt"] - other["committedAt"]) < 60
    assert tables["schema_version"][0]["instance"] not in (before["schema_version"][0]["instance"], "")
    assert without(tables["schema_version"], "instance") == without(before["schema_version"], "instance")
    assert {row["state"] for row in before["quarantine"]} == {"held", "redriven"}


async def test_rebuild_names_each_segment_as_it_was_but_for_open_ones_which_are_sealed_by_copying(
    old: History, new: str, folder: Path
) -> None:
    files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}
    await rebuild(new, folder)
    tables, before = all_rows(new)["segments"], {row["segment"]: row for row in old.tables["segments"]}
    copies = {row["copyOf"]: row["segment"] for row in tables if row["state"] == "copy"}
    taken = {row["segment"]: row for row in tables if row["state"] == "sealed"}
    assert taken.keys() == {n for n, row in before.items() if row["state"] in ("open", "sealed")}
    for number, row in taken.items():
        was = before[number]
        told = ("stream", "survey", "night", "kind", "fingerprint", "schemaId", "records", "owner", "dataLength")
        assert [row[name] for name in told] == [was[name] for name in told]
        if was["state"] == "open":
            assert str(copies[number]) in row["dataName"] and copies[number] not in before
        else:
            # Where two daemons sealed for a third one, either's copy may be the one that is found.
            assert row["digest"] == was["digest"]
    assert any(row["state"] == "copy" for row in before.values()), "a daemon had sealed for another one"
    assert sum(row["state"] == "open" for row in before.values()) == 2
    for path, content in files.items():
        assert (folder / path).read_bytes() == content, "no file of the old store is changed"


async def test_rebuild_may_read_files_for_longer_than_a_writing_transaction_may_stand_idle(
    old: History, level1_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = []
    real = taking.Taking.take

    async def take(self: taking.Taking, connection: AsyncConnection, *rest: Any) -> bool:
        answer = await connection.exec_driver_sql("SELECT @@idle_write_transaction_timeout")
        allowed.append(answer.scalar_one())
        return await real(self, connection, *rest)

    monkeypatch.setattr(taking.Taking, "take", take)
    await rebuild(level1_url, folder)
    assert set(allowed) == {0}


async def test_rebuild_keeps_readers_and_decoders_of_no_more_segments_than_it_may(
    old: History, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, take = [], taking.Taking.take

    async def counted(self: taking.Taking, *of: Any) -> bool:
        done = await take(self, *of)
        held.append((len(self._readers), len(self._makers)))
        return done

    monkeypatch.setattr(taking, "_OPEN", 1)
    monkeypatch.setattr(taking.Taking, "take", counted)
    await rebuild(f"sqlite:///{tmp_path}/new.sqlite", folder)
    assert set(held) <= {(1, 0), (1, 1)}, "a segment of quarantine has no decoder"
    assert all_rows(f"sqlite:///{tmp_path}/new.sqlite")["level1"] == old.tables["level1"]


async def test_verify_is_green_on_what_was_rebuilt(old: History, new: str, folder: Path) -> None:
    await rebuild(new, folder)
    assert found(new, folder) == []


async def test_verify_is_green_where_a_re_drive_was_left_out_since_its_quarantine_is_lost(
    old: History, new: str, folder: Path
) -> None:
    again = next(row for row in old.tables["quarantine"] if row["state"] == "redriven")
    lost = next(row for row in old.tables["segments"] if row["segment"] == again["segment"])
    (folder / lost["indexName"]).unlink()
    done = await rebuild(new, folder, Word(stop=True))
    assert done.damaged
    assert again["redriveCommit"] not in {row["commitId"] for row in all_rows(new)["commits"]}
    assert found(new, folder) == []


async def test_rebuild_says_that_what_is_intact_of_a_torn_commit_will_be_swept(
    old: History, tmp_path: Path, folder: Path
) -> None:
    run = replace(old.run, level1=f"sqlite:///{tmp_path}/new.sqlite", alertdb=folder)
    lost = next(row for row in old.tables["segments"] if (row["kind"], row["state"]) == ("quarantine", "open"))
    (folder / lost["indexName"]).unlink()
    assert (await call(run, "level1", "migrate")).code == 0
    done = await call(run, "level1", "rebuild", "--json")
    assert (done.code, done.json["torn"], done.json["gaps"]) == (1, 1, [])
    assert [text.partition(":")[0] for text in done.json["damaged"]] == [lost["dataName"]]
    assert "1 commits lack a part" in done.err and "a daemon sweeps it: keep a copy first" in done.err


async def test_ingest_goes_on_where_the_rebuilt_ledger_stands(
    old: History, level1_url: str, folder: Path, kafka: LocalKafka
) -> None:
    await rebuild(level1_url, folder)
    run = replace(old.run, level1=level1_url, alertdb=folder, group=f"{old.run.group}-again")
    run.send(sent((1 << 44) + n, partition=n % 2) for n in range(6))
    assert await run.ingest() == 0
    rows = all_rows(level1_url)
    assert len(rows["level1"]) == len(old.tables["level1"]) + 6
    report = await call(run, "verify")
    assert report.code == 0, report.out + report.err


@ON_BOTH
async def test_a_daemon_of_the_old_database_can_publish_nothing_in_the_rebuilt_one(
    old: History, new: str, folder: Path
) -> None:
    await rebuild(new, folder)
    instance = old.tables["schema_version"][0]["instance"]
    place = old.tables["ledger"][0]
    moved = OffsetRange(place["stream"], place["kafkaPartition"], place["next"], place["next"] + 1, 0)
    engine = open_engine(new)
    async with engine.connect() as connection:
        with pytest.raises(Fenced):
            await ledger.move(connection, [moved], instance)
        await connection.rollback()
        await ledger.move(connection, [moved], (await Daemon.start(engine)).instance)
    await engine.dispose()


async def test_rebuild_takes_what_was_durable_and_never_published_where_nothing_else_has_its_offsets(
    kafka: LocalKafka, nursery: Nursery, topic: str, level1_url: str, tmp_path: Path
) -> None:
    kafka.create_topic(topic)
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    await run.migrate()
    run.send([sent(n) for n in range(5)])
    assert await run.ingest() == 0
    run.send([sent(10 + n) for n in range(5)])
    await asyncio.to_thread(killed, run, nursery, "after_sync", tmp_path / "fired")
    new = f"sqlite:///{tmp_path}/new.sqlite"
    done = await rebuild(new, run.alertdb)
    assert (done.alerts, done.left_out) == (10, 0)
    tables = all_rows(new)
    assert [row["next"] for row in tables["ledger"]] == [10]
    assert [row["next"] for row in all_rows(level1_url)["ledger"]] == [5]
    assert found(new, run.alertdb) == []


async def begun_at(kafka: LocalKafka, topic: str, level1_url: str, folder: Path, offset: int) -> IngestRun:
    """A store of two segments of one partition, whose ledger began at `offset`; each of two daemons made one."""
    kafka.create_topic(topic)
    run = IngestRun(kafka.bootstrap, topic, level1_url, folder)
    await run.migrate()
    for first in (0, 10):
        run.send([sent(first + n) for n in range(5)])
        assert await run.ingest(start=offset) == 0
    return run


async def test_rebuild_misses_the_first_segment_of_a_partition_and_takes_the_rest_only_at_a_word(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    run = await begun_at(kafka, topic, level1_url, tmp_path / "alertdb", 2)
    segments = (
        "SELECT dataName, indexName FROM segments WHERE segment = (SELECT segment FROM level1 WHERE diaSourceId = 4)"
    )
    ((data, index),) = await asked(level1_url, segments)
    for name in (data, index):
        (run.alertdb / name).unlink()
    with pytest.raises(Held, match=r"stream 1, partition 0: \[2, 5\)") as raised:
        await rebuild(f"sqlite:///{tmp_path}/new.sqlite", run.alertdb)
    assert raised.value.code == "rebuild_gap"
    new = f"sqlite:///{tmp_path}/word.sqlite"
    done = await rebuild(new, run.alertdb, Word((Gap(1, 0, 2, 5),), "the disk was lost"))
    assert (done.alerts, done.begins) == (5, ())
    tables = all_rows(new)
    assert [(row["startOffset"], row["endOffset"]) for row in tables["accepted_gaps"]] == [(2, 5)]
    assert tables["ledger"] == all_rows(level1_url)["ledger"]
    assert found(new, run.alertdb) == []


async def test_rebuild_of_a_partition_that_began_behind_offset_0_asks_nothing_where_all_of_it_is_there(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    run = await begun_at(kafka, topic, level1_url, tmp_path / "alertdb", 2)
    new = f"sqlite:///{tmp_path}/new.sqlite"
    done = await rebuild(new, run.alertdb)
    assert (done.alerts, done.begins, done.gaps, done.left_out) == (8, (), (), 0)
    tables, before = all_rows(new), all_rows(level1_url)
    for name in ("level1", "ledger", "commit_ranges"):
        assert tables[name] == before[name], name
    assert found(new, run.alertdb) == []


def _early(old: History) -> tuple[dict[str, Any], dict[str, Any]]:
    """A segment with a commit that others follow, and that commit's range."""
    later = (row for row in old.tables["commit_ranges"] if row["startOffset"] and row["stream"] == 1)
    row = min(later, key=lambda row: row["startOffset"])
    number = next(one["segment"] for one in old.tables["level1"] if one["commitId"] == row["commitId"])
    return next(one for one in old.tables["segments"] if one["segment"] == number), row


async def test_rebuild_takes_nothing_beyond_a_gap_without_a_word(old: History, new: str, folder: Path) -> None:
    segment, _ = _early(old)
    (folder / segment["dataName"]).unlink()
    before = sorted(folder.rglob("*"))
    with pytest.raises(Held) as raised:
        await rebuild(new, folder)
    assert raised.value.code == "rebuild_gap"
    tables = all_rows(new)
    assert all(not rows for name, rows in tables.items() if name != "schema_version")
    assert sorted(folder.rglob("*")) == before, "nothing was written"


async def test_rebuild_takes_what_lies_behind_an_accepted_gap_and_says_so_for_ever(
    old: History, new: str, folder: Path, tmp_path: Path
) -> None:
    segment, row = _early(old)
    (folder / segment["dataName"]).unlink()
    gaps = tuple(Gap(each["stream"], each["kafkaPartition"], 0, each["next"]) for each in old.tables["ledger"])
    done = await rebuild(new, folder, Word(gaps, "the disk was lost"))
    assert done.torn >= 1
    tables = all_rows(new)
    assert tables["ledger"] == old.tables["ledger"]
    accepted = {(one["stream"], one["kafkaPartition"]): one for one in tables["accepted_gaps"]}
    one = accepted[row["stream"], row["kafkaPartition"]]
    assert one["startOffset"] <= row["startOffset"] < row["endOffset"] <= one["endOffset"]
    assert one["reason"] == "the disk was lost"
    assert 0 < done.alerts < len(old.tables["level1"]) + len(old.tables["level1_repeat"])
    assert found(new, folder) == []
    again = f"sqlite:///{tmp_path}/again.sqlite"
    await rebuild(again, folder)
    assert without(all_rows(again)["accepted_gaps"], "acceptedAt") == without(tables["accepted_gaps"], "acceptedAt")
    assert all_rows(again)["level1"] == tables["level1"]


async def test_rebuild_can_stop_at_a_gap(old: History, new: str, folder: Path) -> None:
    segment, row = _early(old)
    (folder / segment["dataName"]).unlink()
    done = await rebuild(new, folder, Word(stop=True))
    assert (row["stream"], row["kafkaPartition"]) in {(gap.stream, gap.partition) for gap in done.gaps}
    ledgers = {(one["stream"], one["kafkaPartition"]): one["next"] for one in all_rows(new)["ledger"]}
    assert ledgers[row["stream"], row["kafkaPartition"]] <= row["startOffset"]


async def test_rebuild_wants_an_empty_database_and_leaves_an_unfinished_one_to_no_daemon(
    old: History, tmp_path: Path, folder: Path
) -> None:
    url = f"sqlite:///{tmp_path}/new.sqlite"
    with pytest.raises(Held) as raised:
        await rebuild(url, folder, layout=Layout(stripes=85))
    assert raised.value.code == "rebuild_layout"
    engine = open_engine(url)
    async with engine.connect() as connection:
        with pytest.raises(Fatal) as refused:
            await check(connection)
    assert refused.value.code == "level1_version"
    with pytest.raises(Fatal, match="rebuild is under way or was cut off") as not_made_whole:
        await migrate(engine, 20251101, 20260401)
    assert not_made_whole.value.code == "level1_version"
    await engine.dispose()
    half = await call(replace(old.run, level1=url, alertdb=folder), "verify", "--offline")
    assert half.code == 1
    assert "make an empty database" in half.err
    full = f"sqlite:///{tmp_path}/full.sqlite"
    await rebuild(full, folder)
    with pytest.raises(SkyburstError) as raised_again:
        await rebuild(full, folder)
    assert raised_again.value.code == "rebuild_not_empty"


async def test_rebuild_and_verify_are_verbs_of_the_command(old: History, tmp_path: Path, folder: Path) -> None:
    run = replace(old.run, level1=f"sqlite:///{tmp_path}/new.sqlite", alertdb=folder)
    assert (await call(run, "level1", "rebuild")).code == 1
    assert (await call(run, "level1", "migrate")).code == 0
    done = await call(run, "level1", "rebuild", "--json")
    assert done.code == 0, done.err
    assert done.json["alerts"] == len(old.tables["level1"]) + len(old.tables["level1_repeat"])
    judged = await call(run, "verify", "--json")
    assert judged.code == 0, judged.out + judged.err
    assert judged.json["holds"] is True
    night = str(old.tables["segments"][0]["night"] or 20260305)
    assert (await call(run, "verify", night, "--offline")).code == 0
    engine = sa.create_engine(run.level1)
    with engine.begin() as connection:
        connection.execute(sa.delete(table("visit_part")))
    engine.dispose()
    broken = await call(run, "verify", "--offline")
    assert broken.code == 1
    assert "visit_part_differs" in broken.out and "FAILS" in broken.out
    away = replace(run, level1="mysql://nobody@127.0.0.1:1/none")
    assert (await call(away, "verify", "--offline")).code == 3
    assert (await call_away(run, "verify")).code == 3
    assert (await call(run, "verify", "20261399")).code == 2


@ON_BOTH
async def test_columns_that_came_later_are_filled_from_the_packets(old: History, new: str, folder: Path) -> None:
    await rebuild(new, folder)
    before, rows = all_rows(new)["level1"], table("level1")
    later = ("psfFlux", "band", "objectName", "diaObjectId")
    engine = open_engine(new)
    async with engine.begin() as connection:
        await connection.execute(sa.update(rows).values(dict.fromkeys(later)))
    await engine.dispose()
    assert all_rows(new)["level1"] != before
    run = replace(old.run, level1=new, alertdb=folder)
    done = await call(run, "level1", "rebuild", "--columns", ",".join(later), "--json")
    assert done.code == 0, done.err
    assert done.json["alerts"] == len(before) + len(all_rows(new)["level1_repeat"])
    assert all_rows(new)["level1"] == before
    assert (await call(run, "level1", "rebuild", "--columns", "segment")).code == 2
