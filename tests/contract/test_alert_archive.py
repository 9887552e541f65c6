"""One packet back by its id, and what is known of it: on both databases, from segments of each kind."""
# ruff: noqa: F811 (fixtures are imported and then named as parameters)

from __future__ import annotations

import dataclasses
import io
import json
import statistics
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import click
import fastavro
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from doubles.alert_batches import NIGHT, SCHEMA, Batch, batch, header
from level1_batches import FIRST, LAST, put, url  # noqa: F401
from level1_batches import batch as level1_batch
from sqlalchemy.ext.asyncio import AsyncEngine

from stream.alertdb.blocks import BlockPlan, Datums
from stream.alertdb.index import IndexColumns, index_batch
from stream.alertdb.local import LocalStore
from stream.alertdb.segment import OpenSegment, SegmentRef
from stream.cli.alert import alert
from stream.cli.alerts import alerts
from stream.cli.exits import exit_code
from stream.errors import Held, Poison, SkyburstError
from stream.level1.archive import AlertArchive
from stream.tables.engine import open_engine
from stream.tables.migrate import migrate
from stream.tables.model import table

SURVEY = "made-up"


class World:
    """A database and a folder of segments, filled as a commit would."""

    def __init__(self, url: str, folder: Path, rng: np.random.Generator) -> None:
        self.url, self.folder, self.rng = url, folder, rng
        self.store = LocalStore(folder)
        self.engine: AsyncEngine = open_engine(url)

    async def begin(self) -> None:
        await migrate(self.engine, FIRST, LAST)
        await self.insert("surveys", survey=1, name=SURVEY, digest="0" * 64)

    async def insert(self, name: str, /, **row: object) -> None:
        async with self.engine.begin() as conn:
            await conn.execute(table(name).insert(), row)

    async def segment(self, kind: Any, *batches: Batch) -> OpenSegment:
        made = self.store.create(header(kind))
        for number, what in enumerate(batches):
            publish(made, what, number)
        await self.insert("segments", **segment_row(made.ref, kind))
        return made

    async def rows(self, what: Batch, segment: OpenSegment, base: int = 0, **changes: Any) -> None:
        """Level-1 rows for the alerts of a batch whose blocks lie from byte `base` on."""
        found = what.rows.to_pydict()
        columns = level1_batch(
            found["diaSourceId"],
            self.rng,
            segment=segment.header.number,
            blockOffset=np.array(found["blockOffset"]) + base,
            slot=np.array(found["slot"]),
            kafkaPartition=np.array(found["partition"]),
            kafkaOffset=np.array(found["offset"]),
            **changes,
        )
        await put(self.engine, columns)

    def archive(self) -> AlertArchive:
        return AlertArchive(self.url, self.store)


def publish(segment: OpenSegment, what: Batch, commit: int = 0) -> int:
    base = segment.ref.data_length
    appended = segment.append(what.blocks, what.rows, {"commit": commit})
    segment.sync()
    segment.publish(appended)
    return base


def segment_row(ref: SegmentRef, kind: str, state: str = "open") -> dict[str, object]:
    return {
        "segment": ref.number, "stream": 1, "survey": 1, "night": NIGHT, "kind": kind, "dataName": ref.data_name,
        "indexName": ref.index_name, "dataLength": ref.data_length, "indexLength": ref.index_length, "records": 0,
        "state": state, "owner": "0" * 32, "heartbeat": 0.0,
    }  # fmt: skip


@pytest.fixture
async def world(url: str, tmp_path: Path, rng: np.random.Generator) -> Any:
    made = World(url, tmp_path / "alertdb", rng)
    try:
        await made.begin()
        yield made
    finally:
        await made.engine.dispose()


async def stored(world: World, kind: str = "wire", **changes: Any) -> tuple[Batch, OpenSegment]:
    what = batch(world.rng, kind, count=40, offset=1000)  # type: ignore[arg-type]
    segment = world.store.create(header(kind))  # type: ignore[arg-type]
    base = publish(segment, what)
    await world.insert("segments", **segment_row(segment.ref, kind))
    await world.rows(what, segment, base, **changes)
    return what, segment


@pytest.mark.parametrize("kind", ["wire", "container"])
async def test_each_packet_and_message_comes_back_byte_for_byte(world: World, kind: str) -> None:
    what, _ = await stored(world, kind)
    with world.archive() as archive:
        for message, record in zip(what.messages, what.datums):
            source = record["diaSourceId"]
            packet = archive.packet(source)
            assert packet.decode() == record and packet.place.record.offset == message.record.offset
            assert archive.message(source) == message
            (back,) = fastavro.reader(io.BytesIO(packet.avro_file()))
            assert back == record and packet.datum in packet.avro_file()


async def test_of_several_nights_the_newest_is_given_and_each_can_be_chosen(world: World) -> None:
    await stored(world)
    later, segment = batch(world.rng, "wire", count=2, offset=1000), world.store.create(header("wire"))
    base = publish(segment, later)
    await world.insert("segments", **segment_row(segment.ref, "wire"))
    from level1_batches import column

    await world.rows(later, segment, base, night=column(np.full(2, 20261123)), commitId=2)
    with world.archive() as archive:
        assert archive.packet(1000).decode() == later.datums[0]
        assert archive.packet(1000, 20261121).decode() != later.datums[0]
        assert [place.night for place in archive.places(1000)] == [20261123, 20261121]
        source, night = np.int64(1000), np.int32(20261123)
        assert archive.packet(source, night).decode() == later.datums[0], "as a column of a table gives them"
        assert archive.message(source) == later.messages[0] and len(archive.places(source, night)) == 1
        with pytest.raises(SkyburstError) as caught:
            archive.packet(1000, 20261122)
        assert caught.value.code == "alert_unknown" and exit_code(caught.value) == 1


async def test_a_segment_that_grew_or_was_sealed_meanwhile_is_read_anew(world: World) -> None:
    _, segment = await stored(world)
    rows = table("segments")
    with world.archive() as archive:
        archive.packet(1000)
        more = batch(world.rng, "wire", count=5, offset=5000)
        base = publish(segment, more)
        async with world.engine.begin() as conn:
            ref = segment.ref
            await conn.execute(rows.update().values(dataLength=ref.data_length, indexLength=ref.index_length))
        await world.rows(more, segment, base, commitId=2)
        assert archive.packet(5003).decode() == more.datums[3]
    with world.archive() as archive:
        sealed = segment.seal()
        old = segment.ref.index_name
        async with world.engine.begin() as conn:
            values = segment_row(sealed.ref(ref.number), "wire", "sealed")
            await conn.execute(rows.update().values(**values))
        segment.close()
        world.store.remove(old)
        assert archive.packet(5003).decode() == more.datums[3]


async def test_a_segment_moved_between_the_two_reads_is_found_where_it_went(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    what, segment = await stored(world)
    ref = segment.ref
    segment.close()
    copy = world.store.copy(ref, 77)
    world.store.remove(ref.data_name)
    with world.archive() as archive:
        true_ref, asked = archive._ref, []

        def stale_first(number: int) -> SegmentRef:
            asked.append(number)
            return ref if len(asked) == 1 else true_ref(number)

        monkeypatch.setattr(archive, "_ref", stale_first)
        async with world.engine.begin() as conn:
            values = segment_row(copy.ref(ref.number), "wire", "sealed")
            await conn.execute(table("segments").update().values(**values))
        assert archive.packet(1007).decode() == what.datums[7]
        assert len(asked) == 2


@pytest.mark.parametrize("codec", ["null", "deflate"])
@pytest.mark.parametrize("records_a_block", [1, 2, 3])
async def test_a_container_with_several_alerts_gives_each_its_own(
    world: World, codec: str, records_a_block: int
) -> None:
    records = [{"diaSourceId": 50 + n, "cutout": b"x" * n} for n in range(3)]
    out = io.BytesIO()
    writer = fastavro.write.Writer(out, SCHEMA, codec=codec, metadata={"made.by": "somebody"})
    for number, record in enumerate(records, 1):
        writer.write(record)
        if number % records_a_block == 0:
            writer.dump()
    writer.flush()
    datums = Datums.whole([out.getvalue()])
    plan = BlockPlan.of(datums, np.zeros(1, np.int64))
    blocks = [plan.compress(0)]
    template = batch(world.rng, "raw", count=3, offset=50)
    base_rows = template.rows.to_pydict()
    from stream.alert import Level1Column

    whole = np.zeros(3, bool)
    rows = index_batch(
        IndexColumns(
            stream=3, partition=np.zeros(3, np.int32), offset=np.full(3, 9), part=np.arange(3, dtype=np.int32),
            timestamp=np.zeros(3, np.int64), keys=[None] * 3, headers=[()] * 3, head=None, tail=None,
            level1={"diaSourceId": Level1Column(np.array([50, 51, 52]), whole)},
            placed=plan.place(blocks).take(np.zeros(3, np.int64)),
        )
    )  # fmt: skip
    assert base_rows["diaSourceId"] == [50, 51, 52]
    what = dataclasses.replace(template, blocks=blocks, rows=rows)
    segment = world.store.create(header("raw"))
    base = publish(segment, what)
    await world.insert("segments", **segment_row(segment.ref, "raw"))
    await world.rows(what, segment, base)
    with world.archive() as archive:
        for record in records:
            source = int(str(record["diaSourceId"]))
            assert archive.packet(source).decode() == record
            assert archive.message(source).value == out.getvalue()
            alone = fastavro.reader(io.BytesIO(archive.packet(source).avro_file()))
            assert list(alone) == [record] and alone.metadata["made.by"] == "somebody"


async def with_repeat_and_quarantine(world: World) -> tuple[Batch, Batch]:
    what, segment = await stored(world)
    row = what.rows.slice(1, 1).to_pylist()[0]
    await world.insert(
        "level1_repeat", stream=1, kafkaPartition=0, kafkaOffset=7, part=0, survey=1, night=20261121, diaSourceId=1000,
        kind="conflict", segment=segment.header.number, slot=row["slot"], commitId=1, digest=b"\0" * 16,
        blockOffset=row["blockOffset"] + header_length(world, segment),
    )  # fmt: skip
    bad = batch(world.rng, "quarantine", count=1, offset=1000)
    quarantine = world.store.create(header("quarantine"))
    base = publish(quarantine, bad)
    await world.insert("segments", **segment_row(quarantine.ref, "quarantine"))
    await world.insert(
        "quarantine", stream=1, kafkaPartition=0, kafkaOffset=8, survey=1, night=20261120, nightFrom="kafka",
        diaSourceId=1000, code="truncated", reason="ends too early", bytes=1, kafkaTimestamp=-1,
        segment=quarantine.header.number, blockOffset=base, slot=0, state="held", commitId=1, digest=b"\0" * 16,
    )  # fmt: skip
    return what, bad


def header_length(world: World, segment: OpenSegment) -> int:
    with world.store.read(segment.ref) as reader:
        return int(reader.table(("blockOffset",))["blockOffset"].to_numpy().min())


async def test_every_packet_of_an_id_is_named(world: World) -> None:
    what, bad = await with_repeat_and_quarantine(world)
    with world.archive() as archive:
        places = archive.places(1000)
        assert [place.standing for place in places] == ["first", "conflict", "quarantined"]
        assert archive.fetch(places[1]).decode() == what.datums[1]
        held = archive.fetch(places[2])
        assert held.datum == bad.messages[0].value and archive.fetch_message(places[2]).value == held.datum
        for read in (held.decode, held.avro_file):
            with pytest.raises(Poison, match="ends too early"):
                read()


@pytest.mark.parametrize("state, error", [("retired", SkyburstError), (None, Held)])
async def test_a_packet_whose_segment_is_gone_says_so(world: World, state: str | None, error: type[Exception]) -> None:
    await stored(world)
    rows = table("segments")
    async with world.engine.begin() as conn:
        await conn.execute(rows.delete() if state is None else rows.update().values(state=state))
    with world.archive() as archive, pytest.raises(error, match="segment"):
        archive.packet(1000)


async def test_a_survey_must_be_said_where_there_are_two(world: World) -> None:
    await stored(world)
    await world.insert("surveys", survey=2, name="other", digest="0" * 64)
    with AlertArchive(world.url, world.store) as archive, pytest.raises(SkyburstError, match="say which"):
        archive.packet(1000)
    with AlertArchive(world.url, world.store, SURVEY) as archive:
        assert archive.packet(1000).place.source == 1000
    with AlertArchive(world.url, world.store, "third") as archive, pytest.raises(SkyburstError, match="third"):
        archive.packet(1000)


async def test_a_thousand_packets_come_one_after_the_other_from_one_process(world: World) -> None:
    await stored(world)
    with world.archive() as archive:
        took = []
        for turn in range(200):
            begun = time.perf_counter()
            archive.packet(1000 + turn % 40)
            took.append(time.perf_counter() - begun)
    # Not the figure of the bench, only a floor under it: this machine may be busy.
    assert statistics.median(took) < 0.05


async def test_threads_that_begin_together_do_not_wait_for_each_others_connections(world: World) -> None:
    await stored(world)
    for _ in range(3):
        together = threading.Barrier(8)

        def ask(archive: AlertArchive, source: int, together: threading.Barrier = together) -> int:
            together.wait()
            return archive.packet(source).place.source

        with world.archive() as archive, ThreadPoolExecutor(8) as pool:
            begun = time.perf_counter()
            assert list(pool.map(partial(ask, archive), range(1000, 1008))) == list(range(1000, 1008))
            assert time.perf_counter() - begun < 20


def command(world: World, verb: Any, *arguments: str) -> Any:
    environment = {"SKYBURST_LEVEL1": world.url, "SKYBURST_ALERTDB": str(world.folder), "SKYBURST_SURVEY": SURVEY}
    return CliRunner(env=environment).invoke(verb, arguments, standalone_mode=False, catch_exceptions=False)


async def test_alert_gives_json_avro_wire_and_names_what_else_has_the_id(world: World, tmp_path: Path) -> None:
    what, bad = await with_repeat_and_quarantine(world)
    ended = command(world, alert, "1000")
    found = json.loads(ended.stdout)
    assert found["packet"]["diaSourceId"] == 1000 and found["standing"] == "first" and found["schemaId"] == 1000
    assert "3 packets have the id 1000 (also: conflict 20261121, quarantined 20261120)" in ended.stderr
    assert command(world, alert, "1000", "--format", "wire").stdout_bytes == what.messages[0].value
    (record,) = fastavro.reader(io.BytesIO(command(world, alert, "1000", "--format", "avro").stdout_bytes))
    assert record == what.datums[0]

    every = json.loads(command(world, alert, "1000", "--all").stdout)
    assert [each["standing"] for each in every] == ["first", "conflict", "quarantined"]
    assert every[2]["code"] == "truncated" and "packet" not in every[2]
    folder = tmp_path / "out"
    ended = command(world, alert, "1000", "--all", "--format", "wire", "--output", str(folder))
    assert sorted(path.name for path in folder.iterdir()) == [
        "1000-20261120-quarantined-2.bin", "1000-20261121-conflict-1.bin", "1000-20261121-first.bin",
    ]  # fmt: skip
    assert (folder / "1000-20261120-quarantined-2.bin").read_bytes() == bad.messages[0].value
    assert ended.stderr == ""


@pytest.mark.parametrize("form", ["avro", "cutouts"])
async def test_a_packet_in_quarantine_is_no_avro_file_and_the_others_are_given(
    world: World, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_repeat_and_quarantine(world)
    monkeypatch.setattr("stream.level1.images.images", lambda record: {"stamp.fits": record["cutout"]})
    folder = tmp_path / "out"
    ended = command(world, alert, "1000", "1001", "--all", "--format", form, "--output", str(folder))
    given = sorted(path.name.removesuffix(".avro") for path in folder.iterdir())
    assert given == ["1000-20261121-conflict-1", "1000-20261121-first", "1001-20261121-first"]
    assert ended.return_value == 1 and ended.stderr.count("\n") == 1
    assert "1000 is in quarantine (truncated: ends too early); take its message with --format wire" in ended.stderr


@pytest.mark.parametrize("form", ["json", "wire"])
async def test_what_was_retired_or_lost_does_not_keep_the_others_back(world: World, tmp_path: Path, form: str) -> None:
    from level1_batches import column

    _, old = await stored(world)
    later, new = batch(world.rng, "wire", count=2, offset=1000), world.store.create(header("wire"))
    base = publish(new, later)
    await world.insert("segments", **segment_row(new.ref, "wire"))
    await world.rows(later, new, base, night=column(np.full(2, 20261123)), commitId=2)
    rows = table("segments")
    async with world.engine.begin() as conn:
        await conn.execute(rows.update().where(rows.c.segment == old.header.number).values(state="retired"))
    asked = ["1000", "1010", "1001", "--all", "--format", form]
    folder = tmp_path / "out"
    ended = command(world, alert, *asked, *(["--output", str(folder)] if form == "wire" else []))
    names = ["1000-20261123-first.bin", "1001-20261123-first.bin"]
    if form == "json":
        given = [f"{one['diaSourceId']}-{one['night']}-first.bin" for one in json.loads(ended.stdout)]
        assert given == names
    else:
        assert sorted(path.name for path in folder.iterdir()) == names
    assert ended.return_value == 1 and ended.stderr.count("were retired") == 3 == ended.stderr.count("\n")
    assert "(alert 1010 of 20261121, first)" in ended.stderr

    async with world.engine.begin() as conn:
        await conn.execute(rows.update().where(rows.c.segment == old.header.number).values(state="open"))
    path = world.folder / old.ref.data_name
    path.rename(path.with_suffix(".kept"))
    path.symlink_to(path.with_suffix(".kept"))
    ended = command(world, alert, "1010", "1000", "1001")
    assert [one["night"] for one in json.loads(ended.stdout)] == [20261123, 20261123]
    assert ended.return_value == 1 and "links are not followed" in ended.stderr

    (world.folder / new.ref.data_name).unlink()
    ended = command(world, alert, "1000")
    assert ended.return_value == 1 and "alertdb is right" in ended.stderr and ended.stdout == ""


async def test_a_folder_of_packets_that_is_not_there_is_told_and_not_made(world: World, tmp_path: Path) -> None:
    with pytest.raises(SkyburstError, match="there is no folder") as caught:
        AlertArchive(world.url, str(tmp_path / "mistyped"))
    assert exit_code(caught.value) == 3 and not (tmp_path / "mistyped").exists()


async def test_alert_ends_with_one_where_an_id_is_not_there(world: World) -> None:
    await stored(world)
    ended = command(world, alert, "1000", "424242")
    assert ended.return_value == 1 and "there is no alert 424242" in ended.stderr
    assert [each["diaSourceId"] for each in documents(ended.stdout)] == [1000]
    assert command(world, alert, "1000").return_value == 0


def documents(text: str) -> list[Any]:
    found = json.loads(text)
    return found if isinstance(found, list) else [found]


KNOWN: Sequence[tuple[str, ...]] = (
    ("--object", "777"),
    ("--visit", "2026112100123", "--detector", "5"),
    ("--cone", "150.0,2.0,0.01"),
    ("--since", "61000.4", "--until", "61000.6"),
)


@pytest.mark.parametrize("asked", KNOWN, ids=lambda asked: asked[0])
async def test_alerts_answers_what_is_known_by_object_visit_place_and_time(
    world: World, tmp_path: Path, asked: tuple[str, ...]
) -> None:
    from level1_batches import column

    n = 6
    mine = np.array([False, True, False, False, True, False])
    columns = level1_batch(
        np.arange(n) + 10,
        world.rng,
        diaObjectId=column(np.where(mine, 777, 5)),
        detector=column(np.where(mine, 5, 6)),
        midpointMjdTai=column(np.where(mine, 61000.5, 61000.1) + np.arange(n) * 1e-3),
        ra=column(np.where(mine, 150.001, 250.0)),
        dec=column(np.where(mine, 2.0, -20.0)),
    )
    await put(world.engine, columns)
    found = json.loads(command(world, alerts, *asked, "--json").stdout)
    assert sorted(row["diaSourceId"] for row in found) == [11, 14]
    assert len(found[0]["digest"]) == 32 and set(found[0]) == {c.name for c in table("level1").c}

    lines = command(world, alerts, *asked).stdout.splitlines()
    assert lines[0].startswith("night\tdiaSourceId\t") and len(lines) == 3
    assert "objectName" not in lines[0]
    lines = command(world, alerts, *asked, "--format", "csv").stdout.splitlines()
    assert len(lines) == 3 and '"digest"' in lines[0]
    path = tmp_path / "rows.parquet"
    command(world, alerts, *asked, "--format", "parquet", "--output", str(path))
    assert sorted(pq.read_table(path)["diaSourceId"].to_pylist()) == [11, 14]
    assert len(json.loads(command(world, alerts, *asked, "--json", "--limit", "1").stdout)) == 1


async def test_an_object_whose_name_is_a_number_is_found_beside_the_one_with_that_id(world: World) -> None:
    from level1_batches import column

    long = "1" * 25
    ids, names = [777, 5, 777, 6, 5, 6], ["x", "777", "777", "-777", "x", long]
    columns = level1_batch(
        np.arange(6) + 10,
        world.rng,
        diaObjectId=column(ids, [False, True, False, False, False, False]),
        objectName=column(np.array(names, object)),
        midpointMjdTai=column(61000.5 - np.arange(6) * 1e-3),
    )
    await put(world.engine, columns)

    def sources(thing: str) -> list[int]:
        return [row["diaSourceId"] for row in json.loads(command(world, alerts, f"--object={thing}", "--json").stdout)]

    assert sources("777") == [12, 11, 10]
    assert (sources("-777"), sources("5"), sources("x"), sources("404")) == ([13], [14], [14, 10], [])
    assert sources(long) == [15]
    with pytest.raises(click.BadParameter, match="is not in the range"):
        sources("2" * 25)
