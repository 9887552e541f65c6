"""The first half of partitioning: a piece of the catalogue becomes a part, its lines in order of chunk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from consumers.release.partition import placing
from consumers.release.partition.batches import Batch, arrow_batches, csv_batches
from consumers.release.partition.cells import Sky
from consumers.release.partition.job import WORK, Job
from consumers.release.partition.object_index import ObjectIndex, Rows
from consumers.release.partition.parts import Part, PartWriter, Summary
from consumers.release.partition.placing import Codes, Placed
from consumers.release.partition.reasons import KEPT, NO_KEY, REASONS
from consumers.release.partition.source import Piece
from consumers.release.partition.trouble import disk
from consumers.release.partition.writing import Scratch, copy_lines
from consumers.release.table import Role
from stream.errors import Wrong
from stream.overlap import Overlap
from stream.sky import Floats, reduce_ra


def part_of(job: Job, number: int) -> Part:
    """The part of a piece."""
    return Part(job.folder / WORK / "parts", number)


def cut(job: Job, piece: Piece) -> Summary:
    """Read a piece and write its part.

    Raises
    ------
    Wrong
        ``bad_catalogue``: the file is damaged. ``source_changed``: it is not as it was when the job was made.
    Transient
        ``disk_full``, ``disk``: the part could not be written.
    """
    source = job.sources[piece.source]
    _unchanged(job, piece)
    placer, scratch = _Placer(job), Scratch()
    with disk(f"table {job.table.name}, {source.name}"), PartWriter(part_of(job, piece.number), piece.source) as part:
        for batch in _batches(job, piece):
            why = batch.whole()
            placed, position = placer.place(batch, why)
            lines = batch.lines(placed.main, scratch)
            part.add(lines, placed.main, overlap=False)
            if len(placed.line):
                copies = copy_lines(lines, placed.line, placed.overlap, job.delimiter, scratch)
                part.add(copies, placed.overlap, overlap=True)
            if job.keeps_index:
                part.add_ids(_ids(job, batch, placed, position, why))
            rejected = np.flatnonzero(why != KEPT)
            if len(rejected):
                reasons = [REASONS[code] for code in why[rejected]]
                part.reject(reasons, rejected.tolist(), batch.shown(rejected, job.placed_by))
            part.count(batch.rows)
        return part.finish()


@dataclass(slots=True)
class _Placer:
    """Places the rows of a job's batches."""

    job: Job
    sky: Sky | None = None
    indexes: tuple[ObjectIndex, ...] = ()

    def __post_init__(self) -> None:
        if self.job.by_key:
            self.indexes = tuple(map(ObjectIndex.open, self.job.directors()))
        elif self.job.table.partitioned:
            overlaps = self.job.table.role is Role.DIRECTOR
            self.sky = Sky.of(self.job.layout, Overlap(self.job.layout) if overlaps else None)

    def place(self, batch: Batch, why: Codes) -> tuple[Placed, tuple[Floats, Floats] | None]:
        """The places of a batch's rows, and their positions where these decided."""
        table = self.job.table
        if table.role is Role.REGULAR:
            return placing.nowhere(batch.rows, why), None
        if self.job.by_key:
            found = []
            for follows, index in zip(table.follows, self.indexes):
                keys, asked = batch.keys(follows.key, why)
                if table.role is Role.CHILD:
                    why[(why == KEPT) & ~asked] = NO_KEY
                found.append(index.find(keys, asked & (why == KEPT)))
            if table.role is Role.MATCH:
                return placing.by_pair(found[0], found[1], self.job.layout.overlap, why), None
            return placing.by_key(found[0], why), None
        ra, dec = batch.numbers(table.ra, why), batch.numbers(table.dec, why)
        if self.job.keeps_index:
            _, asked = batch.keys(table.key, why)
            why[(why == KEPT) & ~asked] = NO_KEY
        assert self.sky is not None
        return placing.by_position(self.sky, ra, dec, why), (ra, dec)


def _batches(job: Job, piece: Piece) -> Iterator[Batch]:
    source = job.sources[piece.source]
    if source.form == "csv":
        return csv_batches(Path(source.path), piece, job.fields(), job.csv, job.rows)
    return arrow_batches(source, piece, job.table, job.delimiter, job.rows)


def _ids(job: Job, batch: Batch, placed: Placed, position: tuple[Floats, Floats] | None, why: Codes) -> Rows:
    """What the index keeps of a director's rows."""
    keys, _ = batch.keys(job.table.key, why.copy())
    assert position is not None
    rows = placed.main.row
    return Rows(keys[rows], placed.main.chunk, placed.main.sub_chunk, reduce_ra(position[0][rows]), position[1][rows])


def _unchanged(job: Job, piece: Piece) -> None:
    source = job.sources[piece.source]
    try:
        stat = Path(source.path).stat()
    except OSError as error:
        raise Wrong("no_file", f"{source.path} cannot be read: {error.strerror}", "check the path") from error
    if (stat.st_size, stat.st_mtime_ns) != (source.bytes, source.changed):
        text = f"{source.name} was changed since table {job.table.name} began to be partitioned"
        raise Wrong("source_changed", text, "partition it anew with --anew, once its files are as they stay")
