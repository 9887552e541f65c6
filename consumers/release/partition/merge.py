"""The second half of partitioning: the parts of all pieces become the chunk files of a range of chunks."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from consumers.release.manifest import ChunkFile
from consumers.release.partition.cut import part_of
from consumers.release.partition.job import WORK, Job
from consumers.release.partition.parts import Part, Summary
from consumers.release.partition.trouble import disk

RANGE_BYTES = 24 << 20
"""Bytes that one range of chunks has, about; where one chunk has more, it is a range, and streamed."""
BLOCK = AT_ONCE = 1 << 18
LIST = "parts.json"
_MOST = 512
"""Buffers that are handed over in one call."""
FLAT = 1000
"""Chunks that lie in one folder."""


@dataclass(frozen=True, slots=True)
class Range:
    """Chunks from `low` to below `high`, which have so many bytes of lines."""

    number: int
    low: int
    high: int
    bytes: int


class _Segment(NamedTuple):
    chunk: int
    overlap: bool
    source: int
    rows: int
    data: Any


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
        segments = _segments(job, which, _listed(job.folder / WORK / LIST, parts), whole=which.bytes <= 2 * RANGE_BYTES)
        files = [_write(job, chunk, overlap, found, flat) for chunk, overlap, found in segments]
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


def _segments(
    job: Job, which: Range, summaries: Sequence[Summary], *, whole: bool
) -> Iterator[tuple[int, bool, list[_Segment]]]:
    """The segments of each file of the range, in order of the pieces; their lines in memory, or where they are."""
    found: list[_Segment] = []
    for summary in summaries:
        part = part_of(job, summary.piece)
        index = part.index()
        with part.path("rows").open("rb", buffering=0) as file:
            for section in summary.sections:
                chunk, offset, rows = index.segments(section, which.low, which.high)
                if not len(chunk):
                    continue
                start = int(offset[0])
                block = _read(file.fileno(), start, int(offset[-1]) - start) if whole else None
                ends = offset.tolist()
                for i, (each, count) in enumerate(zip(chunk.tolist(), rows.tolist())):
                    data = block[ends[i] - start : ends[i + 1] - start] if block else (part, ends[i], ends[i + 1])
                    found.append(_Segment(each, section.overlap, summary.source, count, data))
    files: dict[tuple[int, bool], list[_Segment]] = {}
    for segment in found:
        files.setdefault((segment.chunk, segment.overlap), []).append(segment)
    for chunk_, overlap in sorted(files):
        yield chunk_, overlap, files[chunk_, overlap]


def _read(handle: int, offset: int, count: int) -> memoryview:
    view, at = np.empty(count, np.uint8).data, 0
    while at < count:
        got = os.preadv(handle, [view[at:]], offset + at)
        if not got:
            raise OSError(0, "a part is shorter than its summary says")
        at += got
    return view


def _write(job: Job, chunk: int, overlap: bool, segments: Sequence[_Segment], flat: bool) -> ChunkFile:
    name = path_of(job, chunk, overlap, flat)
    path = job.folder / name
    if not flat:
        path.parent.mkdir(exist_ok=True)
    digest, size, held = hashlib.sha256(), 0, 0
    waiting: list[memoryview] = []
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        for segment in segments:
            for block in _blocks(segment.data):
                digest.update(block)
                size += len(block)
                waiting.append(block)
                held += len(block)
                if held >= AT_ONCE or len(waiting) == _MOST:
                    _write_all(handle, waiting)
                    waiting, held = [], 0
        _write_all(handle, waiting)
    finally:
        os.close(handle)
    sources = tuple(job.sources[number].name for number in sorted({segment.source for segment in segments}))
    rows = sum(segment.rows for segment in segments)
    return ChunkFile(max(chunk, 0), overlap, name, rows, size, digest.hexdigest(), sources)


def _write_all(handle: int, blocks: list[memoryview]) -> None:
    while blocks:
        done = os.writev(handle, blocks)
        while blocks and done >= len(blocks[0]):
            done -= len(blocks.pop(0))
        if done:
            blocks[0] = blocks[0][done:]


def _blocks(data: Any) -> Iterator[memoryview]:
    """Lines that are in memory, or those of a part from one offset to another, block by block."""
    if isinstance(data, memoryview):
        yield data
        return
    part: Part = data[0]
    with part.path("rows").open("rb", buffering=0) as file:
        for offset in range(data[1], data[2], BLOCK):
            yield _read(file.fileno(), offset, min(BLOCK, data[2] - offset))
