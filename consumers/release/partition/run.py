"""The partitioning of a table from its files to its manifest, going on where an earlier run was killed.

1. What the job was told is held against what the folder was begun with.
2. Pieces without a sound part are cut.
3. Parts are merged into chunk files, range by range, and removed; a director's ids go into its index.
4. Rejected rows are listed, and the manifest is written.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from bisect import bisect_left
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np

from consumers.release import manifest as manifests
from consumers.release.manifest import ChunkFile, Dialect, Manifest
from consumers.release.partition import job as jobs
from consumers.release.partition import object_index
from consumers.release.partition.cluster import Workers
from consumers.release.partition.cut import cut, part_of
from consumers.release.partition.job import WORK, Job
from consumers.release.partition.merge import FLAT, RANGES, Range, chunks_of, list_parts, merge, merged, ranges
from consumers.release.partition.parts import Slice, Summary
from consumers.release.partition.rejects import write_rejects
from consumers.release.partition.source import pieces as pieces_of
from consumers.release.partition.trouble import disk
from consumers.release.table import fingerprint
from stream.errors import Held, Wrong


class Progress(Protocol):
    """Hears how far it is."""

    def begin(self, phase: str, total: int) -> None:
        """A phase begins, of so many bytes."""

    def advance(self, count: int) -> None:
        """So many bytes of it are done."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did.

    Parameters
    ----------
    manifest
        The table's files.
    cut, kept
        Pieces of the catalogue that it cut, and those that an earlier run had.
    """

    manifest: Manifest
    cut: int
    kept: int


def partition(job: Job, description: bytes, workers: Workers, progress: Progress, *, anew: bool = False) -> Outcome:
    """Partition a table into its folder; what is there already is kept.

    Parameters
    ----------
    description
        The felis file, which goes beside the manifest.
    anew
        Whether what the folder has is to be forgotten.

    Raises
    ------
    Wrong
        ``other_partition``: the folder was begun with something else. ``bad_catalogue``, ``no_column``: a file is bad.
    Held
        ``partition_runs``: another run works in the folder.
    Transient
        ``disk_full``, ``disk``, ``worker_lost``: run again, it goes on.
    Fatal
        ``duplicate_key``: a director's key names two rows.
    """
    folder = job.folder
    with disk(f"table {job.table.name}"):
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            if anew:
                _empty(folder)
            else:
                _agree(job)
            if (there := _complete(folder)) is not None:
                shutil.rmtree(folder / WORK, ignore_errors=True)
                return Outcome(there, 0, 0)
            (folder / manifests.NAME).unlink(missing_ok=True)
            (folder / WORK).mkdir(exist_ok=True)
            jobs.save(job)
            _write(folder / manifests.DESCRIPTION, description)
            summaries, fresh = _cut(job, workers, progress)
            files = _merge(job, summaries, workers, progress)
            if job.keeps_index:
                _index(job, summaries, workers)
            write_rejects(job, summaries)
            _forget_others(folder, files)
            made = _manifest(job, summaries, files)
            manifests.write(made, folder)
            shutil.rmtree(folder / WORK)
            return Outcome(made, fresh, len(summaries) - fresh)


def _cut(job: Job, workers: Workers, progress: Progress) -> tuple[list[Summary], int]:
    """The summaries of all pieces, and how many of them were cut now."""
    pieces = pieces_of(job.sources, job.csv, job.rows)
    there = {piece.number: summary for piece in pieces if (summary := part_of(job, piece.number).summary()) is not None}
    wanted = _wanted(job, list(there.values())) if len(there) == len(pieces) else _everything
    found = {number: each for number, each in there.items() if part_of(job, number).is_sound(each, wanted)}
    sizes = _sizes(job, [piece.source for piece in pieces])
    progress.begin("cut", sum(sizes))
    progress.advance(sum(sizes[number] for number in found))
    missing = [piece for piece in pieces if piece.number not in found]
    for number, summary in workers.each(cut, [(job, piece) for piece in missing]):
        found[missing[number].number] = summary
        progress.advance(sizes[missing[number].number])
    return [found[piece.number] for piece in pieces], len(missing)


def _everything(_: Slice) -> bool:
    return True


def _wanted(job: Job, summaries: Sequence[Summary]) -> Callable[[Slice], bool]:
    """Which slices are still to be merged; the others may be gone."""
    left = [each for each in ranges(job, summaries) if merged(job, each) is None]
    lows = [each.low for each in left]

    def meets(part: Slice) -> bool:
        last = bisect_left(lows, part.high)
        return last > 0 and part.meets(left[last - 1].low, left[last - 1].high)

    return meets


def _sizes(job: Job, sources: Sequence[int]) -> list[int]:
    """Bytes of each piece: an even share of its file's."""
    counts = np.bincount(np.array(sources, np.int64), minlength=len(job.sources)).tolist()
    return [job.sources[source].bytes // counts[source] for source in sources]


def _merge(job: Job, summaries: Sequence[Summary], workers: Workers, progress: Progress) -> list[ChunkFile]:
    every = ranges(job, summaries)
    flat = chunks_of(job, summaries) <= FLAT
    listed = list_parts(job, summaries)
    progress.begin("merge", sum(each.bytes for each in every))
    found: dict[int, list[ChunkFile]] = {}
    missing: list[Range] = []
    for each in every:
        files = merged(job, each)
        if files is None:
            missing.append(each)
        else:
            found[each.number] = files
            progress.advance(each.bytes)
    spent = _Spent(job, summaries, every)
    spent.remove(found)
    calls = [(job, each, listed, flat) for each in missing]
    for number, files in workers.each(merge, calls, most=RANGES, waits=True):
        found[missing[number].number] = files
        progress.advance(missing[number].bytes)
        spent.remove(found)
    return sorted(file for each in every for file in found[each.number])


class _Spent:
    """Removes slices of parts once all their chunks are merged."""

    def __init__(self, job: Job, summaries: Sequence[Summary], every: Sequence[Range]) -> None:
        self._every, self._first = every, 0
        slices = [
            (each.high, part_of(job, summary.piece).lines(number))
            for summary in summaries
            for number, each in enumerate(summary.slices)
        ]
        self._left = sorted(slices, reverse=True)

    def remove(self, done: Container[int]) -> None:
        """Remove what has no chunk after the ranges that are done without a gap."""
        while self._first < len(self._every) and self._every[self._first].number in done:
            self._first += 1
        whole = self._first == len(self._every)
        while self._left and (whole or self._left[-1][0] <= self._every[self._first].low):
            self._left.pop()[1].unlink(missing_ok=True)


def _index(job: Job, summaries: Sequence[Summary], workers: Workers) -> None:
    """The director's index of ids, file by file."""
    (job.folder / object_index.FOLDER).mkdir(exist_ok=True)
    with_ids = [summary for summary in summaries if summary.samples]
    rows = sum(summary.rows for summary in with_ids)
    cuts = object_index.borders([np.array(summary.samples, np.int64) for summary in with_ids], rows).tolist()
    numbers = [summary.piece for summary in with_ids]
    borders = [None, *cuts, None]
    calls = [(job, numbers, i, low, high) for i, (low, high) in enumerate(pairwise(borders))]
    wanted = {_index_file(job, i) for i in range(len(calls))}
    for path in (job.folder / object_index.FOLDER).iterdir():
        if path not in wanted:
            path.unlink()
    for _ in workers.each(index_range, calls if numbers else []):
        pass


def index_range(job: Job, pieces: Sequence[int], number: int, low: int | None, high: int | None) -> None:
    """Write one file of the index: ids from `low` to below `high`."""
    with disk(f"table {job.table.name}, its object index"):
        rows = object_index.gather([part_of(job, piece).path("ids") for piece in pieces], low, high)
        if len(rows.ids):
            object_index.write(rows, _index_file(job, number))


def _index_file(job: Job, number: int) -> Path:
    return job.folder / object_index.FOLDER / f"{number:06d}.ids"


def _manifest(job: Job, summaries: Sequence[Summary], files: Sequence[ChunkFile]) -> Manifest:
    rejected: dict[str, int] = {}
    for summary in summaries:
        for reason, count in summary.rejected.items():
            rejected[reason] = rejected.get(reason, 0) + count
    return Manifest(
        table=job.table.name,
        fingerprint=fingerprint(job.table),
        layout=job.layout if job.table.partitioned else None,
        dialect=Dialect(delimiter=job.delimiter),
        rows=sum(summary.rows for summary in summaries),
        rejected=dict(sorted(rejected.items())),
        files=tuple(files),
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder for this run; a run that was killed holds nothing."""
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Held("partition_runs", f"another run partitions into {folder}", "wait for it, or end it first") from None
    else:
        yield
    finally:
        os.close(handle)


def _agree(job: Job) -> None:
    """Refuse to go on with another job than the folder was begun with."""
    try:
        before = json.loads((job.folder / jobs.NAME).read_bytes())
    except FileNotFoundError:
        if (job.folder / manifests.NAME).exists():
            text = f"{job.folder} has a manifest, and nothing says what it was made from"
            raise Wrong("other_partition", text, "say --anew to replace it") from None
        return
    except ValueError as error:
        text = f"{job.folder / jobs.NAME} cannot be read ({error})"
        raise Wrong("other_partition", text, "say --anew to begin again") from error
    now = json.loads(json.dumps(job.told()))
    # How it was cut into pieces is of no account once they are merged.
    whole = (job.folder / manifests.NAME).exists()
    other = [key for key in now if before.get(key) != now[key] and not (whole and key == "pieces")]
    if other:
        text = f"{job.folder} was begun with another {' and '.join(_WORDS.get(key, key) for key in other)}"
        raise Wrong("other_partition", text, "name what it was begun with, or say --anew to replace it")


_WORDS = {
    "fingerprint": "description",
    "sources": "list of files, or they were changed",
    "csv": "form of CSV",
    "directors": "director",
    "pieces": "version of skyburst",
}


def _complete(folder: Path) -> Manifest | None:
    """The manifest, where it is there and so are its files."""
    if not (folder / manifests.NAME).exists():
        return None
    found = manifests.read(folder)
    for file in found.files:
        path = folder / file.path
        if not path.exists() or path.stat().st_size != file.bytes:
            return None
    return found


def _empty(folder: Path) -> None:
    """Take out all but the lock; the manifest first, so that nobody takes what is left for a whole table."""
    (folder / manifests.NAME).unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()


def _forget_others(folder: Path, files: Sequence[ChunkFile]) -> None:
    """Take out chunk files that are not of this partition."""
    ours = {folder / file.path for file in files}
    for pattern in ("chunk_*.txt", "*/chunk_*.txt", "rows*.txt"):
        for path in folder.glob(pattern):
            if path not in ours:
                path.unlink()


def _write(path: Path, data: bytes) -> None:
    new = path.with_name(path.name + ".new")
    new.write_bytes(data)
    new.replace(path)
