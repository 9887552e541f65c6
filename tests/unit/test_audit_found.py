"""What a rebuild finds in a store: of each segment the best files, in memory that more commits do not change."""

from __future__ import annotations

import gc
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from doubles.alert_batches import batch, header
from doubles.many_commits import many_commits
from doubles.rebuilding import rebuild

from stream.alertdb.local import LocalStore
from stream.alertdb.segment import OpenSegment, SegmentRef
from stream.audit import taking
from stream.audit.catalogue import Catalogue
from stream.audit.files import open_files
from stream.audit.found import Lying, look

NOTE = 30_000
"""Bytes of a commit's note."""


async def test_a_rebuild_takes_no_more_memory_where_there_are_more_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "_OPEN", 2)  # so that the fewest commits already fill what is bounded by a number
    peaks = {}
    for count in (20, 40, 140):  # the first brings in modules and fills caches
        folder = tmp_path / f"{count}"
        many_commits(folder, count, NOTE)
        gc.collect()
        tracemalloc.start()
        try:
            done = await rebuild(f"sqlite:///{tmp_path}/{count}.sqlite", folder)
            peaks[count] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert (done.commits, done.torn, done.left_out, done.gaps) == (count, 0, 0, ())
    assert peaks[140] - peaks[40] < 10 * NOTE, peaks


@pytest.mark.parametrize("copy_number", [1, 1 << 62])
@pytest.mark.parametrize("copied", [2, 3])
def test_of_a_segment_the_files_with_most_batches_count_and_of_no_others_a_batch(
    copied: int, copy_number: int, tmp_path: Path, rng: np.random.Generator
) -> None:
    """An open segment of three commits, and a sealed copy of its first two or of all; either is found first."""
    store = LocalStore(tmp_path)
    segment = store.create(header(number=1 << 32))
    for commit in (1, 2, 3):
        each = batch(rng, count=2, offset=commit * 10)
        note = {"commit": commit, "daemon": f"daemon {commit}", "ranges": [], "parts": [[1 << 32, 2]], "at": commit}
        segment.publish(segment.append(each.blocks, each.rows, note))
        if commit == copied:
            copy = store.copy(segment.ref, copy_number)
    segment.close()
    with Catalogue() as catalogue:
        lying = look(open_files(str(tmp_path)), True, catalogue)
        found = lying.segments[1 << 32]
        assert (lying.damaged, len(lying.segments)) == ([], 1)
        assert (found.gist.batches, found.gist.owner, found.gist.at) == (3, "daemon 1", 3.0)
        assert (found.sealed, found.data_name == copy.data_name) == ((True, True) if copied == 3 else (False, False))
        assert catalogue.settle(set()) == 0
        assert [catalogue.parts(commit) for commit in (1, 2, 3)] == [[(1 << 32, ordinal)] for ordinal in range(3)]
        assert [catalogue.standing(commit)[0] for commit in (1, 2, 3)] == [True, False, False]


def segment_of_three(store: LocalStore, rng: np.random.Generator) -> tuple[OpenSegment, list[SegmentRef]]:
    """An open segment of three commits, and how far it was published after each."""
    segment, ends = store.create(header(number=1 << 32)), []
    for commit in (1, 2, 3):
        each = batch(rng, count=2, offset=commit * 10)
        note = {"commit": commit, "ranges": [], "parts": [[1 << 32, 2]], "at": commit}
        segment.publish(segment.append(each.blocks, each.rows, note))
        ends.append(segment.ref)
    segment.sync()
    return segment, ends


def test_all_that_its_owner_sealed_was_published(tmp_path: Path, rng: np.random.Generator) -> None:
    segment, _ = segment_of_three(LocalStore(tmp_path), rng)
    segment.seal()
    (tmp_path / segment.ref.index_name).unlink()
    with Catalogue() as catalogue:
        assert look(open_files(str(tmp_path)), True, catalogue).damaged == []
        catalogue.settle(set())
        assert [catalogue.standing(commit)[0] for commit in (1, 2, 3)] == [True] * 3


@pytest.mark.parametrize("again", [False, True])
def test_two_commits_that_were_never_published_are_unsure_and_their_remains_are_no_damage(
    again: bool, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Commits 1 to 3 are published, 5 is written ahead behind 4; or a smaller 6 is written over both."""
    segment, _ = segment_of_three(LocalStore(tmp_path), rng)
    for commit in (4, 5) if not again else (4, 5, 6):
        each = batch(rng, count=9 if commit < 6 else 1, offset=commit * 10)
        note = {"commit": commit, "ranges": [], "parts": [[1 << 32, 9 if commit < 6 else 1]], "at": commit}
        segment.append(each.blocks, each.rows, note, behind=commit == 5)
    segment.sync()
    segment.close()
    with Catalogue() as catalogue:
        lying = look(open_files(str(tmp_path)), True, catalogue)
        catalogue.settle(set())
        assert lying.damaged == []
        sure = {note.commit: catalogue.standing(note.commit)[0] for note in catalogue.notes()}
    published = {1: True, 2: True, 3: not again}
    assert sure == (published | {6: False} if again else published | {4: False, 5: False})


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def looked(folder: Path) -> tuple[Lying, list[int]]:
    """What lies there, and the commits that are whole."""
    with Catalogue() as catalogue:
        lying = look(open_files(str(folder)), True, catalogue)
        catalogue.settle(set())
        return lying, [note.commit for note in catalogue.notes()]


@pytest.mark.parametrize("sealed", [False, True])
def test_a_header_whose_schema_is_not_what_it_was_is_damage_and_does_not_stop_a_rebuild(
    sealed: bool, tmp_path: Path, rng: np.random.Generator
) -> None:
    segment, _ = segment_of_three(LocalStore(tmp_path), rng)
    name = segment.seal().data_name if sealed else segment.ref.data_name
    flip(tmp_path / name, (tmp_path / name).read_bytes().index(b"diaSourceId"))
    lying, commits = looked(tmp_path)
    assert (lying.segments, commits) == ({}, [])
    assert any(name in text and "fingerprint" in text for text in lying.damaged)


def test_what_somebody_wrote_behind_a_sealed_segment_is_named_and_no_part_of_it(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    sealed = segment_of_three(LocalStore(tmp_path), rng)[0].seal()
    with (tmp_path / sealed.data_name).open("ab") as file:
        file.write(b"more")
    lying, commits = looked(tmp_path)
    found = lying.segments[1 << 32]
    assert (found.data_size, found.digest, commits) == (sealed.data_length, sealed.digest, [1, 2, 3])
    assert lying.damaged == [f"{sealed.data_name}: 4 bytes lie behind its last commit, and are left out"]


@pytest.mark.parametrize("value", [b"key 20", b'"ranges"'])
def test_commits_behind_damage_in_an_open_index_are_named_and_those_before_it_are_taken(
    value: bytes, tmp_path: Path, rng: np.random.Generator
) -> None:
    segment, ends = segment_of_three(LocalStore(tmp_path), rng)
    path = tmp_path / segment.ref.index_name
    flip(path, path.read_bytes().index(value, ends[0].index_length))
    lying, commits = looked(tmp_path)
    assert commits == [1]
    assert f"behind byte {ends[0].index_length}" in lying.damaged[-1]
    os.truncate(path, ends[0].index_length)
    assert looked(tmp_path)[0].damaged == []


@pytest.mark.parametrize("sealed", [False, True])
def test_commits_behind_the_end_of_a_data_file_that_was_cut_are_named(
    sealed: bool, tmp_path: Path, rng: np.random.Generator
) -> None:
    segment, ends = segment_of_three(LocalStore(tmp_path), rng)
    name = segment.seal().data_name if sealed else segment.ref.data_name
    if sealed:
        (tmp_path / segment.ref.index_name).unlink()
    os.truncate(tmp_path / name, ends[0].data_length + 5)
    lying, commits = looked(tmp_path)
    said = "lies behind byte" if sealed else "cannot be read behind byte"
    assert commits == [1] and said in lying.damaged[0]


def test_what_is_left_of_a_batch_that_was_written_over_is_no_damage(tmp_path: Path, rng: np.random.Generator) -> None:
    """A longer batch that was never published, and the shorter one that took its place."""
    segment, ends = segment_of_three(LocalStore(tmp_path), rng)
    path = tmp_path / segment.ref.index_name
    written = path.read_bytes()
    third = written[ends[1].index_length :]
    path.write_bytes(written[: ends[0].index_length] + b"x" * 64 + third)
    assert looked(tmp_path)[0].damaged != []
    path.write_bytes(written + b"x" * 64 + third)
    lying, commits = looked(tmp_path)
    assert (lying.damaged, commits) == ([], [1, 2, 3])


def test_an_index_without_its_data_is_named(tmp_path: Path, rng: np.random.Generator) -> None:
    segment, _ = segment_of_three(LocalStore(tmp_path), rng)
    sealed, before = segment.seal(), segment.ref
    for name in (sealed.data_name, before.index_name):
        (tmp_path / name).unlink()
    lying, _ = looked(tmp_path)
    assert lying.damaged == [f"{sealed.index_name}: there is no data file beside it"]
