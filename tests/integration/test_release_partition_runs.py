"""Runs that end early, go on, or go wrong: only what is missing is done, nothing is taken for whole that is not."""

from __future__ import annotations

import errno
import fcntl
import json
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from doubles.release_cases import Quiet, a_job, cut_up
from doubles.release_tables import OBJECT, objects, write

from consumers.release.manifest import read
from consumers.release.partition import cluster, merge, parts, run, source
from consumers.release.partition.cluster import Workers, open_workers
from consumers.release.partition.csv_dialect import CsvDialect
from consumers.release.partition.cut import part_of
from consumers.release.partition.run import partition
from stream.errors import Held, Transient, Wrong
from stream.sky import Layout

LAYOUT = Layout()


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with open_workers() as opened:
        yield opened


@pytest.fixture
def files(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two files of six pieces together, whose chunks are merged in several ranges."""
    monkeypatch.setattr(source, "PIECE_ROWS", 1000)
    monkeypatch.setattr(merge, "RANGE_BYTES", 1 << 15)
    return [write(objects(rng, 3000, i * 3000), tmp_path / f"{i}.parquet") for i in range(2)]


def state(folder: Path) -> dict[str, bytes]:
    """All files of a table's folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def whole(files: list[Path], tmp_path: Path, workers: Workers) -> dict[str, bytes]:
    """What partitioning the files gives."""
    cut_up(OBJECT, files, tmp_path / "whole", workers, layout=LAYOUT)
    return state(tmp_path / "whole/Object")


def test_the_files_are_the_same_whatever_the_number_of_workers(
    files: list[Path], whole: dict[str, bytes], tmp_path: Path
) -> None:
    for count in (1, 3):
        with open_workers(count=count) as several:
            cut_up(OBJECT, files, tmp_path / str(count), several, layout=LAYOUT)
        assert state(tmp_path / str(count) / "Object") == whole


def test_the_files_are_the_same_from_a_dask_cluster_by_its_address(
    files: list[Path], whole: dict[str, bytes], tmp_path: Path
) -> None:
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        open_workers(cluster.scheduler_address) as several,
    ):
        assert several.count == 2
        cut_up(OBJECT, files, tmp_path / "dask", several, layout=LAYOUT)
    told = state(tmp_path / "dask/Object")
    assert told.keys() == whole.keys()
    assert {name for name in told if told[name] != whole[name]} == set()


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_what_listens_and_is_no_scheduler_is_said_so(says: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        kept: list[socket.socket] = []

        def answer() -> None:
            with suppress(OSError):
                while True:
                    kept.append(other.accept()[0])
                    kept[-1].sendall(says)

        threading.Thread(target=answer, daemon=True).start()
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(Transient, match="no Dask scheduler") as refused, open_workers(address, patience_s=0.5):
            pass
        assert refused.value.code == "scheduler_unreachable"
        for each in kept:
            each.close()


def test_a_scheduler_that_does_not_answer_is_said_so() -> None:
    with (
        pytest.raises(Transient, match=r"127\.0\.0\.1:1") as refused,
        open_workers("tcp://127.0.0.1:1", patience_s=0.3),
    ):
        pass
    assert refused.value.code == "scheduler_unreachable"


class Filling:
    """A disk that has no room from the n-th write on."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __call__(self, *_: object) -> None:
        self.room -= 1
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device", "part")


@pytest.mark.parametrize("room", [0, 40, 110])
def test_a_full_disk_is_said_so_and_the_next_run_does_what_is_missing(
    files: list[Path], whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    filling, real = Filling(room), parts.write_all
    monkeypatch.setattr(parts, "write_all", lambda *told: (filling(), real(*told))[1])
    release = tmp_path / "full"
    with open_workers(count=1) as one:
        with pytest.raises(Transient, match="No space left") as refused:
            cut_up(OBJECT, files, release, one, layout=LAYOUT)
        assert refused.value.code == "disk_full" and "goes on" in refused.value.advice
        assert not (release / "Object/manifest.jsonl").exists()
        kept = len(list((release / "Object/work/parts").rglob("*.json")))
        monkeypatch.setattr(parts, "write_all", real)
        outcome = cut_up(OBJECT, files, release, one, layout=LAYOUT)
    assert (outcome.cut, outcome.kept) == (6 - kept, kept)
    assert (kept > 0) == (room > 32)
    assert state(release / "Object") == whole


@pytest.fixture
def half(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release's folder where the disk was full while its table was merged."""
    filling, real = Filling(60), merge.write_whole
    with monkeypatch.context() as patched, open_workers(count=1) as one:
        patched.setattr(merge, "write_whole", lambda *told: (filling(), real(*told))[1])
        patched.setattr(run, "RANGES", 1)
        # One range after another: the tests say how far it came.
        patched.setattr(cluster, "_WAITING", 0)
        with pytest.raises(Transient) as refused:
            cut_up(OBJECT, files, tmp_path / "half", one, layout=LAYOUT)
    assert refused.value.code == "disk_full"
    assert not (tmp_path / "half/Object/manifest.jsonl").exists()
    return tmp_path / "half"


def slices(release: Path) -> set[str]:
    """The files of lines that parts still have."""
    return {path.name for path in (release / "Object/work/parts").rglob("*.rows*")}


def test_after_a_full_disk_while_merging_the_next_run_merges_what_is_missing(
    files: list[Path], whole: dict[str, bytes], half: Path, monkeypatch: pytest.MonkeyPatch, workers: Workers
) -> None:
    done = len(list((half / "Object/work/merged").glob("*.json")))
    again, real = list[int](), merge.write_whole
    monkeypatch.setattr(merge, "write_whole", lambda *told: (again.append(1), real(*told))[1])
    outcome = cut_up(OBJECT, files, half, workers, layout=LAYOUT)
    assert done > 1 and outcome.cut == 0
    assert len(again) < len(outcome.manifest.files)
    assert state(half / "Object") == whole


def test_lines_are_removed_as_they_are_merged_and_nothing_is_cut_again_for_that(
    files: list[Path], whole: dict[str, bytes], half: Path, workers: Workers
) -> None:
    left = slices(half)
    assert not any(name.endswith(".rows0") for name in left)
    assert sum(name.endswith(f".rows{parts.SLICES - 1}") for name in left) == 6
    assert cut_up(OBJECT, files, half, workers, layout=LAYOUT).cut == 0
    assert state(half / "Object") == whole


def test_a_merged_file_that_is_lost_is_made_from_pieces_that_are_cut_again(
    files: list[Path], whole: dict[str, bytes], half: Path, workers: Workers
) -> None:
    first = json.loads((half / "Object/work/merged/000000.json").read_text())["files"][0]
    (half / "Object" / first["path"]).unlink()
    outcome = cut_up(OBJECT, files, half, workers, layout=LAYOUT)
    assert (outcome.cut, outcome.kept) == (6, 0)
    assert state(half / "Object") == whole


def test_every_call_is_made_once_however_many_are_handed_over(workers: Workers) -> None:
    for most in (1, 3, 16):
        found = dict(workers.each(pow, [(number, 2) for number in range(50)], most=most))
        assert found == {number: number**2 for number in range(50)}


def test_what_was_done_before_a_call_fails_is_told_before_its_error() -> None:
    over = threading.Event()

    class Calls(list[tuple[int]]):
        """Calls of which the last is only handed over when all before it have ended."""

        def __iter__(self) -> Iterator[tuple[int]]:
            for each in super().__iter__():
                assert each != self[-1] or over.wait(30)
                yield each

    def call(number: int) -> float:
        if number == 39:
            over.set()
        return 1 / (35 - number)

    found = []
    with open_workers(count=1) as one, pytest.raises(ZeroDivisionError):
        for number, _ in one.each(call, Calls((number,) for number in range(41))):
            found.append(number)
    assert found == list(range(35))


@pytest.mark.parametrize(("waits", "together"), [(False, 1), (True, 4)])
def test_so_many_calls_run_at_a_time_on_one_worker(waits: bool, together: int) -> None:
    met, at_once = threading.Barrier(together), []

    def call(number: int) -> None:
        met.wait(30)
        at_once.append(threading.get_ident())

    with open_workers(count=1) as one:
        assert len(list(one.each(call, [(number,) for number in range(8)], waits=waits))) == 8
    assert len(set(at_once)) == together


def test_a_part_that_was_damaged_is_cut_again(
    files: list[Path], whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: Workers
) -> None:
    release = tmp_path / "damaged"
    monkeypatch.setattr(merge, "write_whole", Filling(0))
    with pytest.raises(Transient):
        cut_up(OBJECT, files, release, workers, layout=LAYOUT)
    monkeypatch.undo()
    monkeypatch.setattr(source, "PIECE_ROWS", 1000)
    job = a_job(OBJECT, files, release, LAYOUT)
    rows = part_of(job, 4).lines(3)
    data = bytearray(rows.read_bytes())
    data[len(data) // 2] ^= 1
    rows.write_bytes(data)
    part_of(job, 2).lines(0).unlink()
    outcome = cut_up(OBJECT, files, release, workers, layout=LAYOUT)
    assert (outcome.cut, outcome.kept) == (2, 4)
    assert state(release / "Object") == whole


def test_a_second_run_of_a_whole_partition_touches_nothing(
    files: list[Path], whole: dict[str, bytes], tmp_path: Path, workers: Workers
) -> None:
    folder = tmp_path / "whole/Object"
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != ".lock"}
    outcome = cut_up(OBJECT, files, tmp_path / "whole", workers, layout=LAYOUT)
    assert (outcome.cut, outcome.kept) == (0, 0) and outcome.manifest == read(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != ".lock"} == before


def test_a_chunk_file_that_went_missing_is_made_again(
    files: list[Path], whole: dict[str, bytes], tmp_path: Path, workers: Workers
) -> None:
    folder = tmp_path / "whole/Object"
    (folder / read(folder).files[3].path).unlink()
    cut_up(OBJECT, files, tmp_path / "whole", workers, layout=LAYOUT)
    assert state(folder) == whole


def test_another_description_file_layout_or_dialect_is_refused_until_anew_is_said(
    files: list[Path], whole: dict[str, bytes], tmp_path: Path, workers: Workers, rng: np.random.Generator
) -> None:
    release = tmp_path / "whole"
    narrow = type(OBJECT)("Object", OBJECT.role, OBJECT.columns[:4], "objectId", "ra", "dec")
    others = [
        lambda: cut_up(narrow, files, release, workers, layout=LAYOUT),
        lambda: cut_up(OBJECT, files[:1], release, workers, layout=LAYOUT),
        lambda: cut_up(OBJECT, files, release, workers, layout=Layout(85, 12)),
        lambda: cut_up(OBJECT, files, release, workers, layout=LAYOUT, csv=CsvDialect("\t", target="\t")),
    ]
    for other, word in zip(others, ("description", "list of files", "layout", "form of CSV")):
        with pytest.raises(Wrong, match=word) as refused:
            other()
        assert refused.value.code == "other_partition"
    assert state(release / "Object") == whole
    write(objects(rng, 3000, 3000), files[1])
    with pytest.raises(Wrong, match="were changed"):
        cut_up(OBJECT, files, release, workers, layout=LAYOUT)
    outcome = cut_up(OBJECT, files, release, workers, layout=Layout(85, 12), anew=True)
    assert outcome.cut == 6 and state(release / "Object") != whole
    found = {path.name for path in (release / "Object").rglob("chunk_*.txt")}
    assert found == {Path(file.path).name for file in outcome.manifest.files}


def test_parts_of_other_pieces_are_not_taken_for_those_of_this_run(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: Workers
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(merge, "write_whole", Filling(0))
        with pytest.raises(Transient):
            cut_up(OBJECT, files, tmp_path / "other", workers, layout=LAYOUT)
    monkeypatch.setattr(source, "PIECE_ROWS", 900)
    with pytest.raises(Wrong, match="another version of skyburst"):
        cut_up(OBJECT, files, tmp_path / "other", workers, layout=LAYOUT)
    cut_up(OBJECT, files, tmp_path / "other", workers, layout=LAYOUT, anew=True)
    monkeypatch.setattr(source, "PIECE_ROWS", 1000)
    assert cut_up(OBJECT, files, tmp_path / "other", workers, layout=LAYOUT).cut == 0


def test_a_file_that_changes_while_it_is_partitioned_is_refused(
    files: list[Path], tmp_path: Path, workers: Workers, rng: np.random.Generator
) -> None:
    job = a_job(OBJECT, files, tmp_path / "changed", LAYOUT)
    write(objects(rng, 2000), files[1])
    with pytest.raises(Wrong, match="was changed") as refused:
        partition(job, b"", workers, Quiet())
    assert refused.value.code == "source_changed"


def test_two_runs_of_one_table_do_not_work_at_once(files: list[Path], tmp_path: Path, workers: Workers) -> None:
    (tmp_path / "one/Object").mkdir(parents=True)
    with (tmp_path / "one/Object/.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Held) as refused:
            cut_up(OBJECT, files, tmp_path / "one", workers, layout=LAYOUT)
    assert refused.value.code == "partition_runs"
    cut_up(OBJECT, files, tmp_path / "one", workers, layout=LAYOUT)


def test_a_damaged_parquet_file_is_refused_by_name(files: list[Path], tmp_path: Path, workers: Workers) -> None:
    data = files[1].read_bytes()
    files[1].write_bytes(data[:5000] + bytes(20_000) + data[25_000:])
    with pytest.raises(Wrong, match=r"1\.parquet") as refused:
        cut_up(OBJECT, files, tmp_path / "bad", workers, layout=LAYOUT)
    assert refused.value.code == "bad_catalogue"
    files[1].write_bytes(data[:50_000])
    with pytest.raises(Wrong, match=r"1\.parquet"):
        a_job(OBJECT, files, tmp_path / "bad", LAYOUT)


def test_the_whole_sky_takes_few_open_files_and_no_crowded_folder(
    tmp_path: Path, rng: np.random.Generator, workers: Workers
) -> None:
    rows = 6000
    table = objects(rng, rows)
    ra, dec = rng.uniform(0, 360, rows), np.degrees(np.arcsin(rng.uniform(-1, 1, rows)))
    table = table.set_column(1, "ra", [ra]).set_column(2, "dec", [dec])
    path = write(table, tmp_path / "sky.parquet", 2000)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_now = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 24, before[1]))
    try:
        manifest = cut_up(OBJECT, [path], tmp_path, workers, layout=LAYOUT).manifest
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert len(manifest.chunks) > 5000
    assert sum(file.rows for file in manifest.files if not file.overlap) == rows
    folders = {path.parent for path in (tmp_path / "Object").rglob("chunk_*.txt")}
    assert max(len(list(folder.iterdir())) for folder in folders) <= 2000


def test_progress_hears_of_each_phase_and_of_all_its_bytes(files: list[Path], tmp_path: Path, workers: Workers) -> None:
    heard = Quiet()
    job = a_job(OBJECT, files, tmp_path / "heard", LAYOUT)
    outcome = partition(job, b"", workers, heard)
    assert [phase for phase, _ in heard.phases] == ["cut", "merge"]
    assert heard.done == heard.phases[1][1] == sum(file.bytes for file in outcome.manifest.files)
    told = json.loads((tmp_path / "heard/Object/partition.json").read_text())
    assert [each["name"] for each in told["sources"]] == [str(each) for each in files]
