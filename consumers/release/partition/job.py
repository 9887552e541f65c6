"""What is to be partitioned, and how: all that a worker is told, and all that a second run is held against."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from consumers.release import manifest as manifests
from consumers.release.partition import source
from consumers.release.partition.batches import CsvFields, rows_of
from consumers.release.partition.csv_dialect import CsvDialect
from consumers.release.partition.source import Source, header_of
from consumers.release.table import Role, Table, fingerprint
from stream.errors import Wrong
from stream.sky import Layout

NAME = manifests.MADE_FROM
"""In a table's folder: what it was made from, kept for later runs."""
WORK = "work"
FORMAT = 1


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
            text = f"the header of the CSV files has no column {', '.join(missing)}"
            raise Wrong("no_column", text, "give the description that belongs to these files")
        order = np.array([have.index(column.source) for column in columns], np.int64)
        names = {column.name: i for i, column in enumerate(columns)}
        placed = dict.fromkeys((*self.placed_by, *([self.table.key] if self.keeps_index else [])))
        wanted = np.array([order[names[name]] for name in placed], np.int64)
        texts = ("char", "string", "text", "unicode", "binary")
        # A time is no text either: an empty one is missing.
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
        sources = [
            {key: value for key, value in asdict(each).items() if key != "path" and value is not None}
            for each in self.sources
        ]
        return {
            "format": FORMAT,
            "table": self.table.name,
            "fingerprint": fingerprint(self.table),
            "layout": [self.layout.stripes, self.layout.sub_stripes, self.layout.overlap],
            "csv": asdict(self.csv),
            "sources": sources,
            "pieces": ["even", source.PIECE_BYTES, source.PIECE_ROWS, self.rows],
            "directors": [manifests.digest(folder) for folder in self.directors()] if self.by_key else [],
        }


def prepare(
    table: Table, layout: Layout, folder: Path, names: Sequence[str], csv: CsvDialect, hdu: int | None = None
) -> Job:
    """Look at the files of a table; `hdu` is the one of FITS files, if it was asked for.

    Raises
    ------
    Wrong
        ``no_file``, ``bad_catalogue``, ``no_column``: a file cannot be read, is no catalogue, or lacks a column.
        ``named_twice``: two names are of one file.
    """
    sources = tuple(Source.of(name, table, hdu) for name in names)
    _check_each_once(sources)
    header = header_of(sources, csv, table)
    job = Job(table, layout, folder.absolute(), sources, csv, header, rows_of(table))
    if any(each.form == "csv" for each in sources):
        job.fields()
    return job


def _check_each_once(sources: Sequence[Source]) -> None:
    """Only a director's key would tell that rows are there twice."""
    named: dict[str, str] = {}
    for each in sources:
        path = os.path.realpath(each.path)
        if path in named:
            text = f"{named[path]} and {each.name} are one file, whose rows would be there twice"
            raise Wrong("named_twice", text, "name each file once")
        named[path] = each.name


def layout_of(table: Table, release: Path, told: tuple[int | None, int | None, float | None]) -> Layout:
    """The layout of a table: as told, else as its director's folder has it, else Qserv's usual one.

    Raises
    ------
    Wrong
        Code ``bad_layout``: the table's directors have another.
    """
    found = [manifest.layout for manifest in _directors(table, release) if manifest.layout]
    base = found[0] if found else Layout()
    stripes, sub_stripes, overlap = told
    layout = Layout(
        base.stripes if stripes is None else stripes,
        base.sub_stripes if sub_stripes is None else sub_stripes,
        base.overlap if overlap is None else overlap,
    )
    for other in found:
        if (other.stripes, other.sub_stripes, other.overlap) != (layout.stripes, layout.sub_stripes, layout.overlap):
            text = f"table {table.name} would be cut otherwise than its director is: {layout} and {other}"
            raise Wrong("bad_layout", text, "leave out --stripes, --sub-stripes and --overlap, or partition both anew")
    return layout


def _directors(table: Table, release: Path) -> list[manifests.Manifest]:
    """The manifests of a table's directors that are there; a table that is placed by id needs them."""
    found = []
    for follows in table.follows:
        folder = release / follows.director
        if (folder / manifests.NAME).exists() or not table.ra:
            found.append(manifests.read(folder))
    return found


def save(job: Job) -> None:
    """Keep what the job was told, whole."""
    new = job.folder / (NAME + ".new")
    new.write_text(json.dumps(job.told(), indent=1), encoding="utf-8")
    new.replace(job.folder / NAME)
