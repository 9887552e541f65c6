"""Power lost at every step: what was published reads back exactly, and nothing else is there."""

from __future__ import annotations

import errno
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from doubles.alert_batches import Batch, batch, by_offset, header
from doubles.disk import Fault, ForgetfulDisk, PowerLost, on
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.alertdb.appending import AppendSegment
from stream.alertdb.index import empty_batch
from stream.alertdb.local import LocalStore
from stream.alertdb.reader import Message
from stream.alertdb.segment import Appended, OpenSegment, SegmentRef
from stream.errors import Fatal, Transient

ACTIONS = ("commit", "commit", "commit", "fenced", "empty", "seal", "take over")


@dataclass(slots=True)
class Database:
    """What the transaction makes durable, and nothing else: where each segment is, and what it must hold."""

    rows: dict[int, SegmentRef] = field(default_factory=dict)
    held: dict[int, list[Message]] = field(default_factory=dict)


@dataclass(slots=True)
class Story:
    """A daemon's life: an open segment at a time, batches with offsets of their own."""

    store: LocalStore
    database: Database
    batches: list[Batch]
    segment: OpenSegment | None = None
    turn: int = 0
    number: int = 0

    def play(self, actions: Sequence[str]) -> None:
        for action in actions:
            if self.segment is None:
                self.number += 1
                self.segment = self.store.create(header(number=self.number))
            getattr(self, action.replace(" ", "_"))(self.segment)

    def commit(self, segment: OpenSegment, count: int | None = None) -> None:
        what = self.batches[self.turn % len(self.batches)]
        self.turn += 1
        blocks, rows, messages = what.blocks, what.rows, what.messages
        if count == 0:
            blocks, rows, messages = [], rows.slice(0, 0), []
        appended = segment.append(blocks, rows, {"commit": self.turn})
        segment.sync()
        number, ref = segment.header.number, segment.ref
        self.database.rows[number] = SegmentRef(
            number, ref.data_name, ref.index_name, appended.data_length, appended.index_length
        )
        self.database.held[number] = self.database.held.get(number, []) + messages
        segment.publish(appended)

    def empty(self, segment: OpenSegment) -> None:
        self.commit(segment, 0)

    def fenced(self, segment: OpenSegment) -> None:
        what = self.batches[-1]
        segment.append(what.blocks, what.rows, {"commit": -1})
        segment.sync()

    def seal(self, segment: OpenSegment) -> None:
        number = segment.header.number
        self.segment = None
        if number not in self.database.rows:
            return
        open_index = segment.ref.index_name
        self.database.rows[number] = segment.seal().ref(number)
        self.store.remove(open_index)

    def take_over(self, segment: OpenSegment) -> None:
        number = segment.header.number
        if number not in self.database.rows:
            return
        self.number += 1
        old = self.database.rows[number]
        self.database.rows[number] = self.store.copy(old, self.number).ref(number)
        self.segment = None
        for name in (old.data_name, old.index_name):
            self.store.remove(name)


def check(disk: ForgetfulDisk, database: Database) -> None:
    """Every row reads back exactly, and can be taken over by the next daemon."""
    store = LocalStore(Path("after"), disk)
    for number, ref in database.rows.items():
        for where in (ref, store.copy(ref, 1_000_000 + number).ref(number)):
            with store.read(where) as reader:
                got = list(reader.messages())
                assert reader.header.number == number
            assert by_offset(got) == by_offset(database.held[number])


def batches_of(seed: int) -> list[Batch]:
    rng = np.random.default_rng(seed)
    return [batch(rng, count=int(rng.integers(1, 5)), offset=100 * turn, size=900) for turn in range(6)]


def play_until(power: int | None, batches: list[Batch], actions: Sequence[str]) -> tuple[ForgetfulDisk, Database]:
    disk, database = ForgetfulDisk(power), Database()
    try:
        Story(LocalStore(Path("before"), disk), database, batches).play(actions)
    except PowerLost:
        assert power is not None
    return disk, database


@settings(max_examples=settings.default.max_examples // 4)
@given(st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=7), st.integers(0, 2**32 - 1))
def test_a_crash_at_every_step_loses_nothing_published_and_shows_nothing_else(actions: list[str], seed: int) -> None:
    batches = batches_of(seed)
    steps = play_until(None, batches, actions)[0].calls
    for power in range(steps + 1):
        disk, database = play_until(power, batches, actions)
        check(disk.after_crash(random.Random(seed + power)), database)


@pytest.mark.parametrize("forgotten", ["sync", "sync_folder", "make_folder"])
def test_the_crash_test_finds_a_sync_that_is_left_out(forgotten: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the test above can fail: without any one kind of sync some crash loses what was published."""
    if forgotten == "make_folder":
        monkeypatch.setattr(
            ForgetfulDisk, "make_folder", lambda disk, folder: disk._seen.setdefault(folder, {}) and None
        )
    else:
        monkeypatch.setattr(ForgetfulDisk, forgotten, lambda disk, what: None)
    lost = 0
    for seed in range(20):
        disk, database = play_until(None, batches_of(1), ["commit", "commit", "seal", "commit"])
        try:
            check(disk.after_crash(random.Random(seed)), database)
        except Exception:
            lost += 1
    assert lost


def test_a_folder_that_somebody_replaced_is_made_durable_with_what_comes_into_it() -> None:
    batches, database = batches_of(3), Database()
    disk = ForgetfulDisk()
    story = Story(LocalStore(Path("before"), disk), database, batches)
    story.play(["commit"])
    (old,) = database.rows.values()
    disk.replace(old.data_name.partition("/")[0])
    with pytest.raises(Transient, match="was taken away"):
        story.play(["commit"])
    story.segment, story.database.rows = None, {}
    story.play(["commit"])
    assert len(database.rows) == 1
    for seed in range(20):
        check(disk.after_crash(random.Random(seed)), database)


def test_after_a_failed_sync_the_file_is_given_up_and_the_published_bytes_are_copied() -> None:
    """The double says yes to the sync after the failed one, as Linux does, and has forgotten the bytes."""
    batches, database = batches_of(7), Database()
    disk = ForgetfulDisk()
    store = LocalStore(Path("before"), disk)
    story = Story(store, database, batches)
    story.play(["commit", "commit"])
    segment = story.segment
    assert isinstance(segment, AppendSegment)
    disk.trouble = on("sync", ".avro", Fault(errno.EIO))
    with pytest.raises(Transient) as failed:
        story.play(["commit"])
    assert failed.value.code == "disk_failed"
    assert segment.failed
    for act in (segment.sync, lambda: story.commit(segment), segment.seal):
        with pytest.raises(Transient) as again:
            act()
        assert again.value.code == "disk_failed"
    story.play(["take over", "commit"])
    for seed in range(20):
        check(disk.after_crash(random.Random(seed)), database)


@pytest.mark.parametrize("fault", [Fault(errno.ENOSPC), Fault(errno.EDQUOT), Fault(short=100), Fault(short=0)])
@pytest.mark.parametrize("part", [".avro", ".arrows"])
def test_a_full_disk_is_waited_for_and_the_batch_written_again(fault: Fault, part: str) -> None:
    disk, database = ForgetfulDisk(), Database()
    story = Story(LocalStore(Path("before"), disk), database, batches_of(3))
    story.play(["commit"])
    disk.trouble = on("write", part, fault)
    with pytest.raises(Transient) as full:
        story.play(["commit"])
    assert full.value.code == "disk_full"
    story.play(["commit", "seal"])
    check(disk.after_crash(random.Random(0)), database)


def failed_behind(code: int) -> tuple[ForgetfulDisk, OpenSegment, Appended, Appended]:
    """A segment with a commit, one that is not published yet, and one behind that which the disk refused to sync."""
    disk = ForgetfulDisk()
    story = Story(LocalStore(Path("behind"), disk), Database(), batches_of(3))
    story.play(["commit"])
    segment = story.segment
    assert segment is not None
    second, third = story.batches[1:3]
    before = segment.append(second.blocks, second.rows, {"commit": 2})
    segment.sync()
    behind = segment.append(third.blocks, third.rows, {"commit": 3}, behind=True)
    disk.trouble = on("sync", ".avro", Fault(code))
    with pytest.raises(Transient):
        segment.sync()
    return disk, segment, before, behind


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_for_what_is_written_behind_leaves_what_lies_before_it(code: int) -> None:
    _, segment, before, behind = failed_behind(code)
    assert segment.failed == (code == errno.EIO)
    assert segment.holds(before) and segment.tip.data_length == before.data_length
    segment.publish(before)
    with pytest.raises(Fatal, match="not what was appended"):
        segment.publish(behind)


def test_nothing_of_what_failed_behind_is_left_to_be_taken_for_a_commit_to_come() -> None:
    disk, segment, _, _ = failed_behind(errno.ENOSPC)
    again = segment.append([], empty_batch(), {"commit": 4})
    segment.sync()
    assert len(disk.content(segment.ref.index_name)) == again.index_length


def test_a_disk_that_is_found_full_by_the_sync_has_forgotten_what_was_appended() -> None:
    disk, database = ForgetfulDisk(), Database()
    story = Story(LocalStore(Path("before"), disk), database, batches_of(3))
    story.play(["commit"])
    segment, what = story.segment, story.batches[1]
    assert segment is not None
    appended = segment.append(what.blocks, what.rows, {"commit": 2})
    disk.trouble = on("sync", ".avro", Fault(errno.ENOSPC))
    with pytest.raises(Transient) as full:
        segment.sync()
    assert full.value.code == "disk_full"
    segment.sync()
    with pytest.raises(Fatal, match="not what was appended"):
        segment.publish(appended)
    story.play(["commit", "seal"])
    for seed in range(20):
        check(disk.after_crash(random.Random(seed)), database)


@pytest.mark.parametrize("part", [".avro", ".arrows"])
def test_a_disk_that_is_found_full_by_the_first_sync_gets_the_heads_of_the_files_again(part: str) -> None:
    disk, database = ForgetfulDisk(trouble=on("sync", part, Fault(errno.ENOSPC))), Database()
    story = Story(LocalStore(Path("before"), disk), database, batches_of(3))
    with pytest.raises(Transient) as full:
        story.play(["commit"])
    assert full.value.code == "disk_full"
    story.play(["commit", "commit"])
    for seed in range(20):
        check(disk.after_crash(random.Random(seed)), database)


@pytest.mark.parametrize("action", ["seal", "take over"])
def test_sealing_on_a_full_disk_can_be_done_again(action: str) -> None:
    disk, database = ForgetfulDisk(), Database()
    story = Story(LocalStore(Path("before"), disk), database, batches_of(3))
    story.play(["commit", "commit"])
    names = set(disk.names())
    segment = story.segment
    disk.trouble = on("write", ".parquet", Fault(short=10))
    with pytest.raises(Transient) as full:
        story.play([action])
    assert full.value.code == "disk_full"
    assert set(disk.names()) == names
    story.segment = segment
    story.play([action])
    check(disk.after_crash(random.Random(0)), database)


def test_a_segment_that_cannot_be_begun_leaves_no_files() -> None:
    for part in (".avro", ".arrows"):
        disk = ForgetfulDisk(trouble=on("write", part, Fault(errno.ENOSPC)))
        with pytest.raises(Transient):
            LocalStore(Path("before"), disk).create(header())
        assert list(disk.names()) == []


def test_a_night_folder_that_was_taken_away_is_made_again_at_once() -> None:
    disk = ForgetfulDisk()
    store = LocalStore(Path("before"), disk)
    store.create(header())
    disk._seen.clear()
    database = Database()
    Story(store, database, batches_of(1)).play(["commit"])
    check(disk.after_crash(random.Random(0)), database)
