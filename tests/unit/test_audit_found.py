"""What a rebuild finds in a store: of each segment the best files, in memory that more commits do not change."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from doubles.alert_batches import batch, header
from doubles.many_commits import many_commits
from doubles.rebuilding import rebuild

from stream.alertdb.local import LocalStore
from stream.audit import taking
from stream.audit.catalogue import Catalogue
from stream.audit.files import open_files
from stream.audit.found import look

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
        assert [catalogue.standing(commit)[0] for commit in (1, 2, 3)] == [True, True, copied == 3]
