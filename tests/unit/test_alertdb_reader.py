"""Reading back: damage is named with what it affects, and nothing beyond the published length is touched."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from doubles.alert_batches import Batch, batch, by_offset, header
from doubles.disk import ForgetfulDisk

from stream.alert import Level1Column, RecordId
from stream.alertdb import indexreader
from stream.alertdb.blocks import BlockPlan, Datums
from stream.alertdb.cache import BlockCache
from stream.alertdb.container import parse_header, read_varint
from stream.alertdb.damage import SegmentAbsent, SegmentDamaged
from stream.alertdb.header import SegmentHeader, SegmentKey
from stream.alertdb.index import IndexColumns, index_batch, slices
from stream.alertdb.local import LocalStore
from stream.alertdb.segment import OpenSegment, SegmentRef
from stream.alertdb.window import DiskWindow
from stream.errors import Held


@pytest.fixture
def disk() -> ForgetfulDisk:
    return ForgetfulDisk()


def published(store: LocalStore, *batches: Batch) -> OpenSegment:
    segment = store.create(header(number=7))
    for turn, what in enumerate(batches):
        appended = segment.append(what.blocks, what.rows, {"commit": turn})
        segment.sync()
        segment.publish(appended)
    return segment


def test_damage_to_a_block_names_it_and_its_records_and_spares_the_others(
    disk: ForgetfulDisk, rng: np.random.Generator
) -> None:
    first, second = batch(rng, count=12), batch(rng, count=3, offset=500)
    ref = published(LocalStore(Path("x"), disk), first, second).ref
    with LocalStore(Path("x"), disk).read(ref) as reader:
        block = int(reader.places.block_offset[0])
    disk.flip(ref.data_name, block + len(first.blocks[0].lead()))
    with LocalStore(Path("x"), disk).read(ref) as reader:
        with pytest.raises(SegmentDamaged) as damage:
            reader.message(0)
        assert by_offset(list(reader.messages(reader.commits[1]))) == second.messages
    assert damage.value.block_offset == block
    text = str(damage.value)
    for part in (ref.data_name, f"block at byte {block}", "3/0/0", "12 rows", "and 7 more"):
        assert part in text
    assert isinstance(damage.value, Held)
    again = pickle.loads(pickle.dumps(damage.value))
    assert (str(again), again.block_offset) == (text, block)


def test_damage_to_one_packet_of_a_block_names_its_record_and_spares_its_neighbours(
    disk: ForgetfulDisk, rng: np.random.Generator
) -> None:
    what = batch(rng, count=12)
    ref = published(LocalStore(Path("x"), disk), what).ref
    with LocalStore(Path("x"), disk).read(ref) as reader:
        block = int(reader.places.block_offset[0])
    disk.flip(ref.data_name, block + 1000)
    wrong = 0
    with LocalStore(Path("x"), disk).read(ref) as reader:
        for row, message in enumerate(what.messages):
            try:
                assert reader.message(row) == message
            except SegmentDamaged as damage:
                assert damage.block_offset == block
                assert f"'offset': {row}" in damage.what or "rows" in damage.what
                wrong += 1
    assert wrong


@pytest.mark.parametrize("where", ["before the first block", "inside a block", "beyond"])
def test_a_place_that_is_none_is_refused(where: str, disk: ForgetfulDisk, rng: np.random.Generator) -> None:
    segment = published(LocalStore(Path("x"), disk), batch(rng))
    with LocalStore(Path("x"), disk).read(segment.ref) as reader:
        block = int(reader.places.block_offset[0])
        at = {"before the first block": 4, "inside a block": block + 1, "beyond": segment.ref.data_length}[where]
        with pytest.raises(SegmentDamaged, match="no alert is published"):
            reader.datum(at, 0)


def test_a_window_ends_at_the_published_length(disk: ForgetfulDisk, rng: np.random.Generator) -> None:
    ref = published(LocalStore(Path("x"), disk), batch(rng)).ref
    window = DiskWindow(disk, ref.data_name, 100)
    assert len(window.read(0, 100)) == 100
    for offset, size in ((0, 101), (100, 1), (-1, 5), (5, -1)):
        with pytest.raises(SegmentDamaged, match="published length of 100"):
            window.read(offset, size)
    window.close()
    window.close()
    with pytest.raises(SegmentDamaged, match="the file has"):
        DiskWindow(disk, ref.data_name, 10**9)
    with pytest.raises(SegmentAbsent) as absent:
        DiskWindow(disk, ref.data_name.replace(".avro", ".parquet"), 1)
    assert pickle.loads(pickle.dumps(absent.value)).name == absent.value.name


def test_files_are_closed_whatever_happens(disk: ForgetfulDisk, rng: np.random.Generator) -> None:
    store = LocalStore(Path("x"), disk)
    segment = published(store, batch(rng))
    ref = segment.ref
    store.read(ref).close()
    sealed = segment.seal().ref(1)
    with store.read(sealed) as reader:
        list(reader.messages())
    store.copy(sealed, 99)
    disk.flip(sealed.index_name, sealed.index_length - 2)
    for wrong in (sealed, SegmentRef(1, ref.data_name, ref.index_name, ref.data_length, 10**9)):
        with pytest.raises(SegmentDamaged):
            store.read(wrong)
    assert disk._open == {}


def test_a_large_sealed_index_is_read_where_it_lies(
    disk: ForgetfulDisk, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexreader, "_READ_WHOLE", 0)
    store = LocalStore(Path("x"), disk)
    batches = [batch(rng, count=700, offset=turn * 1000, size=40) for turn in range(5)]
    ref = published(store, *batches).seal().ref(7)
    with store.read(ref) as reader:
        assert len(reader) == 3500
        for row in (0, 699, 700, 3499, 1500, 1400):
            assert reader.message(row) == batches[row // 700].messages[row % 700]
        assert reader.table(["offset"]).column(0).to_pylist() == [
            message.record.offset for what in batches for message in what.messages
        ]


def test_alerts_of_one_raw_message_share_a_slot_and_the_message_comes_once(disk: ForgetfulDisk) -> None:
    messages, owner = [b"first", b"second" * 9], np.array([0, 1, 1, 1])
    plan = BlockPlan.of(Datums.whole(messages), np.zeros(2, np.int32))
    blocks = [plan.compress(0)]
    ids = Level1Column(np.array([10, 20, 21, 22]), np.zeros(4, bool))
    rows = index_batch(
        IndexColumns(
            stream=3,
            partition=np.zeros(4, np.int32),
            offset=owner.astype(np.int64),
            part=np.array([0, 0, 1, 2]),
            timestamp=np.full(4, -1),
            keys=[None] * 4,
            headers=[()] * 4,
            head=None,
            tail=None,
            level1={"diaSourceId": ids},
            placed=plan.place(blocks).take(owner),
        )
    )
    store = LocalStore(Path("x"), disk)
    segment = store.create(header("raw"))
    appended = segment.append(blocks, rows, {"commit": 1})
    segment.sync()
    segment.publish(appended)
    with store.read(segment.ref) as reader:
        assert [(m.record, m.value) for m in reader.messages()] == [
            (RecordId(3, 0, 0), messages[0]),
            (RecordId(3, 0, 1), messages[1]),
        ]
        row = reader.find(int(reader.places.block_offset[3]), 1, part=2)
        assert reader.table().column("diaSourceId")[row].as_py() == 22
        assert reader.message(row).value == messages[1]
        with pytest.raises(SegmentDamaged):
            reader.find(int(reader.places.block_offset[3]), 1, part=3)


def test_the_cache_is_bounded_by_bytes_and_lets_the_oldest_go() -> None:
    cache = BlockCache(100)
    for at in range(5):
        cache.put("a", at, bytes(30))
        cache.get("a", 2)
    held = [at for at in range(5) if cache.get("a", at) is not None]
    assert held == [2, 3, 4]
    cache.put("a", 9, bytes(101))
    assert [at for at in range(10) if cache.get("a", at) is not None] == []
    cache.put("a", 1, bytes(60))
    cache.put("a", 1, bytes(50))
    cache.put("a", 2, bytes(50))
    assert cache.get("a", 1) is not None


def test_a_block_is_inflated_once_for_its_neighbours(disk: ForgetfulDisk, rng: np.random.Generator) -> None:
    store = LocalStore(Path("x"), disk)
    ref = published(store, batch(rng, count=30)).ref
    with store.read(ref) as reader:
        reader.message(0)
        calls = disk.calls
        for row in range(30):
            reader.message(row)
        assert disk.calls == calls


def test_real_packets_come_back_byte_for_byte(shared_data: Path, tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    wire = [path.read_bytes() for path in sorted(shared_data.glob("lsst/*.wire"))]
    whole = [path.read_bytes() for path in sorted(shared_data.glob("ztf/*.avro"))]
    assert wire
    assert whole
    hold(store, wire, "wire", b"", [(5, len(message)) for message in wire], '"bytes"')
    by_prefix: dict[bytes, list[bytes]] = {}
    for message in whole:
        by_prefix.setdefault(message[: parse_header(message).length - 16], []).append(message)
    for prefix, messages in by_prefix.items():
        bounds = []
        for message in messages:
            _, at = read_varint(message, len(prefix) + 16)
            size, at = read_varint(message, at)
            bounds.append((at, at + size))
        schema = parse_header(messages[0]).metadata["avro.schema"].decode()
        name = hold(store, messages, "container", prefix, bounds, schema)
        with (tmp_path / name).open("rb") as file:
            got = [record["candid"] for record in fastavro.reader(file)]
        assert len(got) == len(messages)


def hold(
    store: LocalStore, messages: list[bytes], kind: Any, prefix: bytes, bounds: list[tuple[int, int]], schema: str
) -> str:
    """Keep messages whose datums are at `bounds`, seal, and hold what comes back against them; return the file."""
    end = np.cumsum([len(message) for message in messages])
    begin = end - np.array([len(message) for message in messages])
    start, stop = (begin + np.array([pair[side] for pair in bounds]) for side in (0, 1))
    buffer = np.frombuffer(b"".join(messages), np.uint8)
    count = len(messages)
    plan = BlockPlan.of(Datums.slices(buffer, start, stop), np.arange(count) % 3)
    blocks = [plan.compress(index) for index in range(len(plan))]
    rows = index_batch(
        IndexColumns(
            stream=1,
            partition=np.zeros(count, np.int32),
            offset=np.arange(count),
            part=np.zeros(count, np.int32),
            timestamp=np.arange(count),
            keys=[None] * count,
            headers=[()] * count,
            head=slices(buffer, begin + len(prefix), start),
            tail=slices(buffer, stop, end),
            level1={},
            placed=plan.place(blocks),
        )
    )
    made = header()
    key = SegmentKey(1, "made-up", 20260305, "ab" * 32, kind, prefix)
    segment = store.create(SegmentHeader(made.number, key, made.source, 1, schema, "cd" * 32, "0.1.0", "ef"))
    appended = segment.append(blocks, rows, {"commit": 1})
    segment.sync()
    segment.publish(appended)
    sealed = segment.seal()
    with store.read(sealed.ref(made.number)) as reader:
        assert [message.value for message in by_offset(list(reader.messages()))] == messages
    return sealed.data_name
