"""The second half of partitioning: the parts of all pieces become the chunk files of a range of chunks."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from consumers.release.manifest import ChunkFile
from consumers.release.partition.blocks import write_all
from consumers.release.partition.cut import part_of
from consumers.release.partition.job import WORK, Job
from consumers.release.partition.parts import Section, Segments, Summary
from consumers.release.partition.trouble import disk
from consumers.release.partition.whole import PAGE, memory, write_whole

RANGE_BYTES = 24 << 20
"""Bytes that one range of chunks has, about; where one chunk has more, it is a range, and streamed."""
RANGES = 16
"""Ranges that a worker is handed at once, at most: about a second's work."""
BLOCK = 1 << 18
LIST = "parts.json"
_MOST = 512
"""Places that are read to in one call."""
FLAT = 1000
"""Chunks that lie in one folder."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Range:
    """Chunks from `low` to below `high`, which have so many bytes of lines."""

    number: int
    low: int
    high: int
    bytes: int


class _Find(NamedTuple):
    """Where a section has lines of a range: in which file of lines, out of which file of the catalogue."""

    lines: Path
    source: int
    section: Section
    segments: Segments


def ranges(job: Job, summaries: Sequence[Summary]) -> list[Range]:
    """All chunks that have lines, in ranges of about `RANGE_BYTES`."""
    total = np.zeros(2 * job.layout.stripes**2 + 2, np.int64)
    for summary in summaries:
        index = part_of(job, summary.piece).index()
        for section in summary.sections:
            chunk, sizes = index.chunks(section)
            total[chunk + 1] += sizes
    found: list[Range] = []
    chunks = np.flatnonzero(total)
    held, low = 0, -1
    for place in chunks.tolist():
        size = int(total[place])
        if held and held + size > RANGE_BYTES:
            found.append(Range(len(found), low, place - 1, held))
            held = 0
        if not held:
            low = place - 1
        held += size
    if held:
        found.append(Range(len(found), low, int(chunks[-1]), held))
    return found


def chunks_of(job: Job, summaries: Sequence[Summary]) -> int:
    """How many chunks have lines."""
    seen = np.zeros(2 * job.layout.stripes**2 + 2, bool)
    for summary in summaries:
        index = part_of(job, summary.piece).index()
        for section in summary.sections:
            seen[index.chunks(section)[0] + 1] = True
    return int(seen.sum())


def merge(job: Job, which: Range, parts: str, flat: bool) -> list[ChunkFile]:
    """Write the files of a range of chunks; `parts` is the digest of the list of parts (`list_parts`).

    Raises
    ------
    Transient
        ``disk_full``, ``disk``: they could not be written.
    """
    with disk(f"table {job.table.name}, chunks {which.low} to {which.high - 1}"):
        done = _done(job, which)
        write = _files if which.bytes <= 2 * RANGE_BYTES else _streamed
        files = write(job, which, _listed(job.folder / WORK / LIST, parts), flat)
        done.parent.mkdir(parents=True, exist_ok=True)
        new = done.with_suffix(".new")
        new.write_text(json.dumps({"range": asdict(which), "files": [asdict(file) for file in files]}))
        new.replace(done)
        return files


def list_parts(job: Job, summaries: Sequence[Summary]) -> str:
    """Keep the summaries where all workers find them; the digest of the list."""
    text = json.dumps([asdict(summary) | {"samples": ()} for summary in summaries])
    new = job.folder / WORK / (LIST + ".new")
    new.write_text(text)
    new.replace(job.folder / WORK / LIST)
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=2)
def _listed(path: Path, digest: str) -> list[Summary]:
    """The summaries of all parts; read once by each worker."""
    return [Summary.of(told) for told in json.loads(path.read_bytes())]


def merged(job: Job, which: Range) -> list[ChunkFile] | None:
    """What a range's files are, where an earlier run has written them all."""
    try:
        told = json.loads(_done(job, which).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    files = [ChunkFile(**file | {"sources": tuple(file["sources"])}) for file in told["files"]]
    whole = all(_size(job.folder / file.path) == file.bytes for file in files)
    return files if told["range"] == asdict(which) and whole else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1


def _done(job: Job, which: Range) -> Path:
    return job.folder / WORK / "merged" / f"{which.number:06d}.json"


def path_of(job: Job, chunk: int, overlap: bool, flat: bool) -> str:
    """The name of a chunk's file in the table's folder."""
    if chunk < 0:
        return "rows.txt"
    name = f"chunk_{chunk}_overlap.txt" if overlap else f"chunk_{chunk}.txt"
    return name if flat else f"{chunk // FLAT:04d}/{name}"


def _files(job: Job, which: Range, summaries: Sequence[Summary], flat: bool) -> list[ChunkFile]:
    """Write the files of a range that fits in memory: each of its lines is read to where it belongs at once."""
    finds = list(_finds(job, which, summaries))
    chunk = np.concatenate([each.segments.chunk for each in finds])
    size = np.concatenate([np.diff(each.segments.offset) for each in finds])
    overlap = np.repeat([each.section.overlap for each in finds], [len(each.segments.chunk) for each in finds])
    key = 2 * chunk.astype(np.int64) + overlap
    order = np.argsort(key, kind="stable")
    ordered = size[order]
    first = np.flatnonzero(np.diff(key[order], prepend=key[order[0]] - 1))
    count, length = np.diff([*first.tolist(), len(order)]), np.add.reduceat(ordered, first)
    # Each file's lines begin at a page of the memory, as `write_whole` wants them.
    room = -(-length // PAGE) * PAGE
    begins = np.cumsum(room) - room
    place = np.empty(len(key), np.int64)
    place[order] = np.cumsum(ordered) - ordered + np.repeat(begins - (np.cumsum(length) - length), count)
    lines = memory(int(room.sum()), RANGE_BYTES)
    _gather(job, finds, place, size, lines)
    rows = np.concatenate([each.segments.rows for each in finds]).astype(np.int64)[order]
    source = np.repeat([each.source for each in finds], [len(each.segments.chunk) for each in finds])[order]
    files = []
    for begin, number, low, size_of in zip(first.tolist(), count.tolist(), begins.tolist(), length.tolist()):
        name, mine = int(key[order[begin]]), slice(begin, begin + number)
        block = lines[low : low + size_of]
        path = _path(job, name >> 1, bool(name & 1), flat)
        digest = hashlib.sha256(block).hexdigest()
        write_whole(job.folder / path, block)
        names = tuple(job.sources[each].name for each in np.unique(source[mine]).tolist())
        files.append(ChunkFile(max(name >> 1, 0), bool(name & 1), path, int(rows[mine].sum()), size_of, digest, names))
    return files


def _finds(job: Job, which: Range, summaries: Sequence[Summary]) -> Iterator[_Find]:
    for summary in summaries:
        part = part_of(job, summary.piece)
        index = part.index()
        for number, each in enumerate(summary.slices):
            if each.meets(which.low, which.high):
                lines = part.lines(number)
                for section in each.sections:
                    segments = index.segments(section, which.low, which.high)
                    if len(segments.chunk):
                        yield _Find(lines, summary.source, section, segments)


def _gather(job: Job, finds: Sequence[_Find], place: Ints, size: Ints, lines: memoryview) -> None:
    """Read each section's lines, which lie after one another, to the places of their files."""
    at = 0
    for lines_of, several in groupby(finds, lambda find: find.lines):
        with lines_of.open("rb", buffering=0) as file:
            for find in several:
                count = len(find.segments.chunk)
                begins = place[at : at + count].tolist()
                ends = (place[at : at + count] + size[at : at + count]).tolist()
                views = [lines[begin:end] for begin, end in zip(begins, ends)]
                _read_all(file.fileno(), int(find.segments.offset[0]), views)
                at += count


def _streamed(job: Job, which: Range, summaries: Sequence[Summary], flat: bool) -> list[ChunkFile]:
    """Write the files of a range, of one chunk, that is too large for memory."""
    finds = list(_finds(job, which, summaries))
    files = []
    for overlap in (False, True):
        mine = [find for find in finds if find.section.overlap == overlap]
        if mine:
            rows = sum(int(find.segments.rows.sum()) for find in mine)
            sources = sorted({find.source for find in mine})
            files.append(_write(job, which.low, overlap, flat, _blocks(mine), rows, sources))
    return files


def _blocks(finds: Sequence[_Find]) -> Iterator[memoryview]:
    """The lines of one file, block by block."""
    for lines_of, several in groupby(finds, lambda find: find.lines):
        with lines_of.open("rb", buffering=0) as file:
            for find in several:
                first, last = find.segments.offset[[0, -1]].tolist()
                for offset in range(first, last, BLOCK):
                    block = np.empty(min(BLOCK, last - offset), np.uint8).data
                    _read_all(file.fileno(), offset, [block])
                    yield block


def _read_all(handle: int, offset: int, views: list[memoryview]) -> None:
    """Read what lies after one another into several places."""
    for begin in range(0, len(views), _MOST):
        some = views[begin : begin + _MOST]
        while some:
            got = os.preadv(handle, some, offset)
            if not got:
                raise OSError(0, "a part is shorter than its summary says")
            offset += got
            some = _after(some, got)


def _after(views: list[memoryview], count: int) -> list[memoryview]:
    """What is left of the places once so many bytes are there."""
    for number, view in enumerate(views):
        if count < len(view):
            return [view[count:], *views[number + 1 :]]
        count -= len(view)
    return []


def _path(job: Job, chunk: int, overlap: bool, flat: bool) -> str:
    """Where a chunk's file lies in the table's folder; its own folder is there then."""
    name = path_of(job, chunk, overlap, flat)
    if not flat:
        (job.folder / name).parent.mkdir(exist_ok=True)
    return name


def _write(
    job: Job, chunk: int, overlap: bool, flat: bool, blocks: Iterable[memoryview], rows: int, sources: Sequence[int]
) -> ChunkFile:
    """Write a file block by block."""
    name = _path(job, chunk, overlap, flat)
    digest, size = hashlib.sha256(), 0
    with (job.folder / name).open("wb", buffering=0) as file:
        for block in blocks:
            digest.update(block)
            size += len(block)
            write_all(file, block)
    names = tuple(job.sources[number].name for number in sources)
    return ChunkFile(max(chunk, 0), overlap, name, rows, size, digest.hexdigest(), names)
