"""What every `SegmentStore` promises: append on the local disk, append on the forgetful one, put on object stores."""

from __future__ import annotations

import io
import json
import os
import random
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doubles.alert_batches import KINDS, NIGHT, Batch, batch, by_offset, header
from doubles.disk import ForgetfulDisk
from obstore.store import MemoryStore
from xxhash import xxh3_128

from stream.alertdb.damage import SegmentAbsent, SegmentDamaged
from stream.alertdb.header import Kind
from stream.alertdb.index import empty_batch
from stream.alertdb.indexfile import notes_of
from stream.alertdb.local import LocalStore
from stream.alertdb.names import random_number, role_of
from stream.alertdb.objects import ObjectStore
from stream.alertdb.port import SegmentStore
from stream.alertdb.reader import head_of
from stream.alertdb.rowdigest import row_digest
from stream.alertdb.segment import OpenSegment, SegmentRef
from stream.alertdb.store import open_store
from stream.audit.files import open_files
from stream.errors import Fatal, SkyburstError, Transient, Wrong


@pytest.fixture(params=["local", "forgetful", "memory", "folder-of-objects"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SegmentStore:
    return made(request.param, tmp_path)


def made(kind: str, folder: Path) -> SegmentStore:
    if kind == "local":
        return LocalStore(folder / "alerts" / "db")
    if kind == "forgetful":
        return LocalStore(folder, ForgetfulDisk())
    return ObjectStore.at("memory://") if kind == "memory" else ObjectStore.at(f"file://{folder}/objects")


def commit(segment: OpenSegment, what: Batch, note: dict[str, object] | None = None) -> SegmentRef:
    appended = segment.append(what.blocks, what.rows, {"commit": 1} if note is None else note)
    segment.sync()
    segment.publish(appended)
    return segment.ref


def published(
    store: SegmentStore, rng: np.random.Generator, kind: Kind = "wire", times: int = 3
) -> tuple[OpenSegment, list[Batch]]:
    """Return an open segment with as many published commits as the store allows up to `times`."""
    segment = store.create(header(kind))
    batches = [batch(rng, kind, offset=100 * turn) for turn in range(times if store.appends else 1)]
    for turn, what in enumerate(batches):
        commit(segment, what, {"commit": turn, "ranges": [[3, 0, 0, 9, 9, 0]]})
    return segment, batches


def read(store: SegmentStore, ref: SegmentRef) -> list[object]:
    with store.read(ref) as reader:
        return list(by_offset(list(reader.messages())))


def whole(store: SegmentStore, name: str, length: int) -> bytes:
    window = store.window(name, length)
    try:
        return window.read(0, length)
    finally:
        window.close()


@pytest.mark.parametrize("kind", KINDS)
def test_published_messages_come_back_exactly(store: SegmentStore, rng: np.random.Generator, kind: Kind) -> None:
    segment, batches = published(store, rng, kind)
    sent = [message for what in batches for message in what.messages]
    assert read(store, segment.ref) == sent
    assert segment.records == len(sent)
    assert read(store, segment.seal().ref(segment.header.number)) == sent


def test_a_file_tells_without_its_row_whose_it_is_and_of_which_commits(
    store: SegmentStore, rng: np.random.Generator
) -> None:
    segment, _ = published(store, rng)
    for ref in (segment.ref, segment.seal().ref(segment.header.number)):
        assert head_of(store.whole(ref.data_name)) == segment.header
        with store.read(ref) as reader:
            assert notes_of(store.whole(ref.index_name)) == [commit.note for commit in reader.commits] != []
    gone = f"{NIGHT}/1-{'0' * 16}"
    assert head_of(store.whole(f"{gone}.avro")) is None and notes_of(store.whole(f"{gone}.arrows")) == []


@pytest.mark.parametrize("kind", KINDS)
def test_fastavro_opens_the_published_prefix_and_the_sealed_file(
    store: SegmentStore, rng: np.random.Generator, kind: Kind
) -> None:
    segment, batches = published(store, rng, kind)
    if store.appends:
        segment.append(batches[0].blocks, batches[0].rows, {"commit": 9})
    for ref in (segment.ref, segment.seal().ref(segment.header.number)):
        values = list(fastavro.reader(io.BytesIO(whole(store, ref.data_name, ref.data_length))))
        if kind == "quarantine":
            values = [value["value"] for value in values]
        sent = [datum for what in batches for datum in what.datums]
        assert sorted(map(repr, values)) == sorted(map(repr, sent))


def test_level1s_place_of_an_alert_leads_to_its_datum(store: SegmentStore, rng: np.random.Generator) -> None:
    segment, batches = published(store, rng)
    with store.read(segment.ref) as reader:
        table = reader.table(["offset", "blockOffset", "slot"]).to_pydict()
        for offset, block, slot in zip(table["offset"], table["blockOffset"], table["slot"]):
            sent = next(m for what in batches for m in what.messages if m.record.offset == offset)
            assert reader.datum(block, slot) == sent.value[5:]
            assert reader.message(reader.find(block, slot)) == sent
        with pytest.raises(SegmentDamaged, match="slot 99"):
            reader.datum(table["blockOffset"][0], 99)


def test_what_is_not_published_is_seen_by_nobody(store: SegmentStore, rng: np.random.Generator) -> None:
    segment = store.create(header())
    segment.append(*_parts(batch(rng)), {"commit": 1})
    segment.sync()
    if store.appends:
        assert read(store, segment.ref) == []
    assert segment.records == 0
    assert segment.ref.data_length < 1000


def test_an_append_writes_over_what_was_not_published(store: SegmentStore, rng: np.random.Generator) -> None:
    segment, (first, *_) = published(store, rng, times=1)
    if not store.appends:
        with pytest.raises(Fatal, match="sealed at birth"):
            segment.append(first.blocks, first.rows, {"commit": 2})
        return
    stale = segment.append(*_parts(batch(rng, count=40, offset=1000)), {"commit": 2})
    segment.sync()
    second = batch(rng, count=5, offset=2000)
    ref = commit(segment, second)
    assert read(store, ref) == first.messages + second.messages
    with pytest.raises(Fatal, match="not what was appended"):
        segment.publish(stale)
    assert read(store, segment.seal().ref(1)) == first.messages + second.messages


def test_what_is_written_behind_counts_once_what_lies_before_it_is_published(
    store: SegmentStore, rng: np.random.Generator
) -> None:
    segment, (first, *_) = published(store, rng, times=1)
    if not store.appends:
        with pytest.raises(Fatal, match="sealed at birth"):
            segment.append(first.blocks, first.rows, {"commit": 2}, behind=True)
        return
    second, third = batch(rng, offset=1000), batch(rng, offset=2000)
    before = segment.append(*_parts(second), {"commit": 2})
    segment.sync()
    tip = segment.tip
    behind = segment.append(*_parts(third), {"commit": 3}, behind=True)
    segment.sync()
    assert (behind.base, tip.data_length) == (before.data_length, before.data_length)
    assert segment.holds(before) and not segment.holds(behind)
    with pytest.raises(Fatal, match="not what was appended"):
        segment.publish(behind)
    segment.publish(before)
    assert segment.ref == tip and read(store, segment.ref) == first.messages + second.messages
    assert segment.holds(behind)
    segment.publish(behind)
    everything = first.messages + second.messages + third.messages
    assert read(store, segment.ref) == everything
    assert read(store, segment.seal().ref(1)) == everything


def test_whoever_looks_where_to_write_behind_finds_the_same_at_every_instruction_of_publish(tmp_path: Path) -> None:
    """Another thread may look at any of them."""
    segment = LocalStore(tmp_path).create(header("quarantine"))
    appended = segment.append([], empty_batch(), {"commit": 1})
    tips = {segment.tip}
    seen: list[SegmentRef] = []
    publish = type(segment).publish

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        if frame.f_code is not publish.__code__:
            return None
        frame.f_trace_opcodes = True
        seen.append(segment.tip)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        segment.publish(appended)
    finally:
        sys.settrace(before)
    assert len(seen) > 10
    assert set(seen) == tips == {segment.ref}


def test_what_is_written_behind_goes_with_what_it_lies_behind(store: SegmentStore, rng: np.random.Generator) -> None:
    segment, (first, *_) = published(store, rng, times=1)
    if not store.appends:
        with pytest.raises(Fatal, match="sealed at birth"):
            segment.append(first.blocks, first.rows, {"commit": 2}, behind=True)
        return
    before = segment.append(*_parts(batch(rng, offset=1000)), {"commit": 2})
    behind = segment.append(*_parts(batch(rng, offset=2000)), {"commit": 3}, behind=True)
    segment.sync()
    again = batch(rng, count=5, offset=3000)
    ref = commit(segment, again)
    assert not segment.holds(before) and not segment.holds(behind)
    index = store.whole(ref.index_name)
    assert index is not None and index.length == ref.index_length
    for stale in (before, behind):
        with pytest.raises(Fatal, match="not what was appended"):
            segment.publish(stale)
    assert read(store, ref) == first.messages + again.messages
    assert read(store, segment.seal().ref(1)) == first.messages + again.messages


def test_a_batch_done_again_is_a_new_segment_where_nothing_is_appended(rng: np.random.Generator) -> None:
    store = ObjectStore(MemoryStore())
    what = batch(rng)
    refs = [commit(store.create(header()), what) for _ in range(2)]
    assert len({ref.number for ref in refs}) == len({ref.data_name for ref in refs}) == 2
    assert [read(store, ref) for ref in refs] == [what.messages] * 2


def test_ranges_without_a_packet_are_an_index_batch_of_no_rows(store: SegmentStore, rng: np.random.Generator) -> None:
    segment = store.create(header("quarantine"))
    note: dict[str, object] = {"commit": 7, "ranges": [[3, 0, 5, 9, 0, 0]], "reason": "holes"}
    appended = segment.append([], empty_batch(), note)
    segment.sync()
    segment.publish(appended)
    for ref in (segment.ref, segment.seal().ref(1)):
        with store.read(ref) as reader:
            (only,) = reader.commits
            assert only.rows == 0
            assert {key: only.note[key] for key in note} == note
            assert list(reader.messages()) == []


def test_a_sealed_segment_is_digested_and_its_index_keeps_the_notes(
    store: SegmentStore, rng: np.random.Generator
) -> None:
    segment, batches = published(store, rng)
    with store.read(segment.ref) as reader:
        notes = [part.note for part in reader.commits]
    sealed = segment.seal()
    data = whole(store, sealed.data_name, sealed.data_length)
    index = whole(store, sealed.index_name, sealed.index_length)
    assert sealed.digest == xxh3_128(data).digest()
    assert sealed.index_digest == xxh3_128(index).digest()
    file = pq.ParquetFile(pa.py_buffer(index))
    kept = json.loads(file.metadata.metadata[b"skyburst.commits"])
    for entry in kept:
        signature = entry["note"].pop("note")
        text = json.dumps(entry["note"], separators=(",", ":"), ensure_ascii=False)
        assert xxh3_128(text.encode()).hexdigest() == signature
    assert [entry["note"] for entry in kept] == notes
    assert [entry["rows"] for entry in kept] == [len(what) for what in batches]
    table, first = file.read(), 0
    for entry in kept:
        start, end, digest = entry["note"]["data"]
        assert xxh3_128(data[start:end]).hexdigest() == digest
        assert row_digest(table.slice(first, entry["rows"])) == entry["note"]["rows"]
        first += entry["rows"]
    assert end == len(data)
    with pytest.raises(SegmentDamaged):
        store.window(sealed.data_name, sealed.data_length + 1)


def test_nothing_is_appended_once_sealing_has_begun(store: SegmentStore, rng: np.random.Generator) -> None:
    segment, batches = published(store, rng)
    segment.seal()
    with pytest.raises(Fatal):
        segment.append(batches[0].blocks, batches[0].rows, {"commit": 9})


def test_a_copy_has_the_published_bytes_only_whatever_the_owner_still_writes(
    store: SegmentStore, rng: np.random.Generator
) -> None:
    segment, batches = published(store, rng)
    ref, number = segment.ref, random_number()
    if store.appends:
        segment.append(*_parts(batch(rng, offset=5000)), {"commit": 8})
        segment.sync()
    copy = store.copy(ref, number)
    if store.appends:
        commit(segment, batch(rng, offset=6000))
    assert copy.number == number
    assert f"/{number}-" in copy.data_name
    assert role_of(copy.index_name) == "index"
    assert whole(store, copy.data_name, copy.data_length) == whole(store, ref.data_name, ref.data_length)
    assert copy.digest == xxh3_128(whole(store, ref.data_name, ref.data_length)).digest()
    sent = [message for what in batches for message in what.messages]
    assert copy.records == len(sent)
    assert read(store, copy.ref(ref.number)) == sent
    with store.read(copy.ref(ref.number)) as reader:
        assert reader.header == segment.header
    again = store.copy(copy.ref(ref.number), random_number())
    assert read(store, again.ref(ref.number)) == sent


@pytest.mark.parametrize("target", ["local", "forgetful", "memory"])
def test_a_sealed_segment_can_be_moved_to_another_store(
    store: SegmentStore, target: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    segment, batches = published(store, rng)
    ref = segment.seal().ref(segment.header.number)
    other = made(target, tmp_path / "other")
    moved = other.copy(ref, random_number(), store).ref(ref.number)
    for name in (ref.data_name, ref.index_name):
        store.remove(name)
    assert read(other, moved) == [message for what in batches for message in what.messages]


def test_who_finds_no_file_is_told_to_read_the_row_again(store: SegmentStore, rng: np.random.Generator) -> None:
    segment, _ = published(store, rng)
    ref = segment.seal().ref(segment.header.number)
    store.remove(ref.data_name)
    store.remove(ref.data_name)
    with pytest.raises(SegmentAbsent) as absent:
        store.read(ref)
    assert absent.value.code == "segment_absent"
    assert isinstance(absent.value, Transient)


def test_names_are_listed_with_their_numbers(store: SegmentStore, rng: np.random.Generator) -> None:
    segment, _ = published(store, rng)
    number = segment.header.number
    open_roles = sorted(role_of(name) for name, found in store.names() if found == number)
    assert open_roles == (["data", "open_index"] if store.appends else ["data", "index"])
    sealed = segment.seal()
    marker = store.retire(sealed.ref(number))
    assert (marker, number) in list(store.names())
    assert role_of(marker) == "retired"
    assert all(name.startswith(f"{NIGHT}/{number}-") for name, _ in store.names())


def test_a_name_that_was_used_is_never_written_over(tmp_path: Path, rng: np.random.Generator) -> None:
    memory = MemoryStore()
    for store in (LocalStore(tmp_path, token=lambda: "0" * 16), ObjectStore(memory, token=lambda: "0" * 16)):
        segment = store.create(header(number=5))
        ref = commit(segment, what := batch(rng))
        with pytest.raises(Transient) as taken:
            commit(store.create(header(number=5)), batch(rng))
        assert taken.value.code == "name_taken"
        assert read(store, ref) == what.messages


def test_a_night_that_names_no_folder_leaves_none(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="not the name of a segment file"):
        LocalStore(tmp_path / "db").create(header(night=336581108))
    assert list((tmp_path / "db").iterdir()) == []


@pytest.mark.parametrize("name", ["../../x", "20260305/../x.avro", "20260305/1-zz.avro", "/20260305/1-00.avro"])
def test_a_row_leads_to_nothing_but_segment_files(store: SegmentStore, name: str) -> None:
    for act in (lambda: store.window(name, 1), lambda: store.remove(name)):
        with pytest.raises(Fatal, match="not the name of a segment file"):
            act()


def test_every_flipped_byte_of_a_segment_is_found(store: SegmentStore, rng: np.random.Generator) -> None:
    """Flips are drawn over the data and over the index; reading all of both never gives a wrong message in silence."""
    segment, batches = published(store, rng, times=2)
    sent = [message for what in batches for message in what.messages]
    sealed = segment.seal()
    ref = sealed.ref(segment.header.number)
    files = {name: whole(store, name, length) for name, length in _lengths(ref)}
    chance = random.Random(int(rng.integers(1 << 32)))
    for _ in range(60):
        name = chance.choice(list(files))
        broken = bytearray(files[name])
        broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
        memory = MemoryStore()
        for other, content in files.items():
            memory.put(other, bytes(broken) if other == name else content)
        damaged = ObjectStore(memory)
        digest = xxh3_128(bytes(broken)).digest()
        assert digest != (sealed.digest if name == ref.data_name else sealed.index_digest)
        try:
            got = read(damaged, ref)
        except SkyburstError as error:
            assert error.code in ("segment_damaged",)
            assert name in str(error) or ref.data_name in str(error)
        else:
            assert [m.value for m in got] == [m.value for m in sent]  # type: ignore[attr-defined]


def test_a_setting_opens_a_folder_or_a_url(tmp_path: Path) -> None:
    assert open_store(str(tmp_path / "new" / "store")).appends
    assert (tmp_path / "new" / "store").is_dir()
    assert not open_store("memory://").appends
    assert not open_store(f"file://{tmp_path}/objects").appends


def test_a_folder_by_url_that_cannot_be_made_is_a_store_that_is_away(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Transient, match="file://") as raised:
        open_store(f"file://{tmp_path}/file/objects")
    assert raised.value.code == "store_away"


def test_what_is_put_into_a_folder_by_url_is_durable_before_sync_returns(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    for call in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, call, lambda fd: synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())))
    store = open_store(f"file://{tmp_path}/new%20one/objects")
    root = tmp_path / "new one" / "objects"
    segment, _ = published(store, rng)
    again = store.copy(segment.ref, random_number())
    for name in (
        segment.ref.data_name,
        segment.ref.index_name,
        again.data_name,
        again.index_name,
        store.retire(segment.ref),
    ):
        assert (root / name).is_file() and str(root / name) in synced
    assert {str(folder) for folder in (tmp_path, root.parent, root, root / str(NIGHT))} <= set(synced)


@pytest.mark.parametrize("url", ["http://s3.example:9000/bucket", "https://s3.example/bucket/prefix"])
def test_a_web_server_is_no_object_store(url: str) -> None:
    for opened in (open_store, open_files):
        with pytest.raises(Wrong, match="AWS_ENDPOINT") as raised:
            opened(url)
        assert raised.value.code == "setting"


@pytest.mark.parametrize("name", ["AWS_ENDPOINT", "AWS_ENDPOINT_URL"])
def test_an_endpoint_without_tls_wants_to_be_allowed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ALLOW_HTTP", raising=False)
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    with pytest.raises(Wrong, match="AWS_ALLOW_HTTP=true"):
        open_store("s3://bucket/prefix")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    assert not open_store("s3://bucket/prefix").appends


def _parts(what: Batch) -> tuple[object, object]:
    return what.blocks, what.rows


def _lengths(ref: SegmentRef) -> list[tuple[str, int]]:
    return [(ref.data_name, ref.data_length), (ref.index_name, ref.index_length)]
