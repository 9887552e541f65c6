"""What is to be partitioned, and how: all that a worker is told, and all that a second run is held against."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from consumers.release.partition import csv_lines
from consumers.release.partition.batches import CsvFields, Piece, rows_of
from consumers.release.partition.csv_lines import CsvDialect
from consumers.release.table import Role, Table, fingerprint
from stream.errors import Wrong
from stream.sky import Layout

NAME = "partition.json"
"""In a table's folder: what it was made from, kept for later runs."""
WORK = "work"
FORMAT = 1
PIECE_BYTES = 64 << 20
PIECE_ROWS = 1 << 19
_LOOK = 1 << 16


@dataclass(frozen=True, slots=True)
class Source:
    """A file of the catalogue, as it was when it was looked at.

    Parameters
    ----------
    name
        As it was named.
    path
        Where it is, absolute.
    form
        ``csv``, ``parquet`` or ``catalogue``.
    bytes, changed, digest
        Its size, its time of change (ns), and XXH3 of its beginning and end.
    """

    name: str
    path: str
    form: str
    bytes: int
    changed: int
    digest: str

    @classmethod
    def of(cls, name: str, form: str) -> Source:
        """A file as it is now.

        Raises
        ------
        Wrong
            Code ``no_file``: it cannot be read.
        """
        path = Path(name).absolute()
        try:
            with path.open("rb") as file:
                stat = path.stat()
                look = file.read(_LOOK)
                file.seek(max(0, stat.st_size - _LOOK))
                look += file.read(_LOOK)
        except OSError as error:
            raise Wrong("no_file", f"{path} cannot be read: {error.strerror}", "check the path") from error
        return cls(name, str(path), form, stat.st_size, stat.st_mtime_ns, xxhash.xxh3_64_hexdigest(look))


@dataclass(frozen=True, slots=True)
class Job:
    """The partitioning of one table.

    Parameters
    ----------
    table
        The table.
    layout
        How the sky is cut.
    folder
        The table's folder.
    sources
        The catalogue's files, in order.
    csv
        How CSV files among them are written.
    header
        Names in the first line of CSV files; empty where they have none.
    rows
        Rows of a batch.
    """

    table: Table
    layout: Layout
    folder: Path
    sources: tuple[Source, ...]
    csv: CsvDialect
    header: tuple[str, ...] = ()
    rows: int = 1 << 16

    @property
    def by_key(self) -> bool:
        """Whether rows are placed by a director's index."""
        return self.table.role is Role.MATCH or (self.table.role is Role.CHILD and not self.table.ra)

    @property
    def delimiter(self) -> str:
        """Between fields of chunk files."""
        return self.csv.target

    @property
    def placed_by(self) -> tuple[str, ...]:
        """The columns that say where a row goes."""
        if self.by_key:
            return tuple(follows.key for follows in self.table.follows)
        return (self.table.ra, self.table.dec) if self.table.partitioned else ()

    def directors(self) -> list[Path]:
        """The folders of the directors that the table follows."""
        return [self.folder.parent / follows.director for follows in self.table.follows]

    def fields(self) -> CsvFields:
        """Which fields of a CSV file are needed."""
        columns = self.table.columns
        have = list(self.header) or [column.source for column in columns]
        missing = [column.source for column in columns if column.source not in have]
        if missing:
            text = f"the header of {self.sources[0].name} has no column {', '.join(missing)}"
            raise Wrong("no_column", text, "give the description that belongs to these files")
        order = np.array([have.index(column.source) for column in columns], np.int64)
        names = {column.name: i for i, column in enumerate(columns)}
        placed = dict.fromkeys((*self.placed_by, *([self.table.key] if self.keeps_index else [])))
        wanted = np.array([order[names[name]] for name in placed], np.int64)
        texts = ("char", "string", "text", "unicode", "binary", "timestamp")
        numbers = np.array([column.datatype not in texts for column in columns], bool)
        return CsvFields(names, order, numbers, len(have), wanted, tuple(placed))

    @property
    def keeps_index(self) -> bool:
        """Whether it leaves an index of its keys for others: a director's key, where that is an integer."""
        if self.table.role is not Role.DIRECTOR:
            return False
        return self.table.column(self.table.key).datatype in ("byte", "short", "int", "long")

    def told(self) -> dict[str, object]:
        """What decides how its files look, as JSON: a second run must be told the same."""
        sources = [{key: value for key, value in asdict(source).items() if key != "path"} for source in self.sources]
        return {
            "format": FORMAT,
            "table": self.table.name,
            "fingerprint": fingerprint(self.table),
            "layout": [self.layout.stripes, self.layout.sub_stripes, self.layout.overlap],
            "csv": asdict(self.csv),
            "sources": sources,
        }


def prepare(table: Table, layout: Layout, folder: Path, names: Sequence[str], csv: CsvDialect) -> Job:
    """Look at the files of a table.

    Raises
    ------
    Wrong
        ``no_file``, ``bad_catalogue``, ``no_column``: a file cannot be read, is no catalogue, or lacks a column.
    """
    sources = tuple(Source.of(name, _form(Path(name))) for name in names)
    header: tuple[str, ...] = ()
    if csv.header:
        for source in sources:
            if source.form == "csv":
                found = _header(Path(source.path), csv)
                if header and found != header:
                    text = f"{source.name} has another header than the files before it"
                    raise Wrong("bad_catalogue", text, "partition files of one form together")
                header = found
    job = Job(table, layout, folder, sources, csv, header, rows_of(table))
    if any(source.form == "csv" for source in sources):
        job.fields()
    for source in sources:
        if source.form != "csv":
            _look(job, source)
    return job


def pieces(job: Job) -> list[Piece]:
    """The pieces of all files, in order of the files and their rows."""
    found: list[Piece] = []
    for number, source in enumerate(job.sources):
        for group, first, last in _ranges(job, source):
            found.append(Piece(len(found), number, group, first, last))
    return found


def _ranges(job: Job, source: Source) -> list[tuple[int, int, int]]:
    path = Path(source.path)
    if source.form == "csv":
        begin = len(_first_line(path)) if job.csv.header else 0

        def read(offset: int, count: int) -> NDArray[np.uint8]:
            return np.fromfile(path, np.uint8, min(count, source.bytes - begin - offset), offset=begin + offset)

        size = source.bytes - begin
        inner = csv_lines.borders(read, job.csv, size, PIECE_BYTES) if size > PIECE_BYTES else []
        ends = [0, *inner, size] if size else []
        return [(-1, begin + first, begin + last) for first, last in pairwise(ends)]
    if source.form == "parquet":
        with pq.ParquetFile(path) as file:
            groups = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
        most = min(PIECE_ROWS, 32 * job.rows)
        return [
            (group, first, min(first + most, rows))
            for group, rows in enumerate(groups)
            for first in range(0, rows, most)
        ]
    return [(-1, 0, -1)]


def _form(path: Path) -> str:
    try:
        with path.open("rb") as file:
            begin = file.read(10)
    except OSError as error:
        raise Wrong("no_file", f"{path} cannot be read: {error.strerror}", "check the path") from error
    if begin.startswith(b"PAR1"):
        return "parquet"
    if begin.startswith((b"SIMPLE", b"\x1f\x8b")):
        return "catalogue"
    return "csv"


def _look(job: Job, source: Source) -> None:
    """Refuse a file that lacks a column before anything is written; a plain Parquet file is read by row groups."""
    from consumers.release.reading import open_catalogue

    catalogue = open_catalogue(Path(source.path))
    have = set(catalogue.schema.names)
    missing = [column.source for column in job.table.columns if column.source not in have]
    if missing:
        some = ", ".join(missing[:12]) + (" …" if len(missing) > 12 else "")
        text = f"{source.name} ({catalogue.form}) has no column {some}"
        raise Wrong("no_column", text, "give the description that belongs to these files")


def flat(job: Job) -> Job:
    """The job with Parquet files whose columns are elements of lists read as the other catalogues are."""
    sources = []
    for source in job.sources:
        if source.form == "parquet":
            with pq.ParquetFile(source.path) as file:
                have = set(file.schema_arrow.names)
            if any(column.source not in have for column in job.table.columns):
                source = replace(source, form="catalogue")
        sources.append(source)
    return replace(job, sources=tuple(sources))


def _first_line(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.readline()


def _header(path: Path, csv: CsvDialect) -> tuple[str, ...]:
    import csv as reader

    line = _first_line(path).decode(errors="replace").rstrip("\r\n")
    if not csv.quote:
        return tuple(line.split(csv.delimiter))
    return tuple(next(reader.reader([line], delimiter=csv.delimiter, quotechar=csv.quote)))


def save(job: Job) -> None:
    """Keep what the job was told, whole."""
    new = job.folder / (NAME + ".new")
    new.write_text(json.dumps(job.told(), indent=1), encoding="utf-8")
    new.replace(job.folder / NAME)
