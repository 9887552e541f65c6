"""The files of a catalogue: what they are, and the pieces that they are read in."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from consumers.release.partition import csv_borders
from consumers.release.partition.csv_dialect import CsvDialect
from consumers.release.partition.csv_opening import compressed, first_line, is_compressed, names_in
from consumers.release.reading import open_catalogue
from consumers.release.reading.catalogue import Catalogue
from consumers.release.reading.opening import must_be_csv, must_be_file
from consumers.release.table import Table
from stream.errors import Wrong

PIECE_BYTES = 64 << 20
PIECE_ROWS = 1 << 19
_LOOK = 1 << 16


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file that is read in one go.

    Parameters
    ----------
    number
        Its number among all pieces, in order of the files and their rows.
    source
        Number of its file.
    group
        The row group of a Parquet file; -1 of others.
    first, last
        Rows of the row group or of a FITS file, or bytes of a CSV file; up to its end where the last is -1.
    """

    number: int
    source: int
    group: int
    first: int
    last: int


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
        ``csv``; ``parquet`` where it is read by row groups; ``fits``; else ``catalogue``, which is read whole.
    bytes, changed, digest
        Its size, its time of change (ns), and XXH3 of its beginning and end.
    hdu
        The HDU of a FITS file that has the table; None for the first that has one.
    """

    name: str
    path: str
    form: str
    bytes: int
    changed: int
    digest: str
    hdu: int | None = None

    @classmethod
    def of(cls, name: str, table: Table, hdu: int | None = None) -> Source:
        """A file as it is now; `hdu` is the one that was asked for.

        Raises
        ------
        Wrong
            ``no_file``: it cannot be read. ``no_column``: it lacks one of the table. ``bad_catalogue``: it is damaged,
            or several of its HDUs have the table's columns and none was asked for.
        """
        path = Path(name).absolute()
        must_be_file(path)
        try:
            with path.open("rb") as file:
                stat = path.stat()
                look = file.read(_LOOK)
                file.seek(max(0, stat.st_size - _LOOK))
                look += file.read(_LOOK)
        except OSError as error:
            raise Wrong("no_file", f"{path} cannot be read: {error.strerror}", "check the path") from error
        form, taken = "csv", None
        if look.startswith(b"SIMPLE"):
            form, taken = "fits", _hdu(path, table, hdu)
        elif look.startswith(b"PAR1"):
            form = _form(path, table)
        elif is_compressed(look):
            open_catalogue(path)  # refuses what is no CSV by its name
        else:
            must_be_csv(path, look)
        return cls(name, str(path), form, stat.st_size, stat.st_mtime_ns, xxhash.xxh3_64_hexdigest(look), taken)


def pieces(sources: Sequence[Source], csv: CsvDialect, rows: int) -> list[Piece]:
    """The pieces of all files, in order of the files and their rows; `rows` are those of a batch."""
    found: list[Piece] = []
    for number, source in enumerate(sources):
        for group, first, last in _ranges(source, csv, rows):
            found.append(Piece(len(found), number, group, first, last))
    return found


def header_of(sources: Sequence[Source], csv: CsvDialect, table: Table) -> tuple[str, ...]:
    """The names in the first lines of CSV files; none where they have no such line.

    Raises
    ------
    Wrong
        Code ``bad_catalogue``: two files have other names, or a first line has names and should be a row.
    """
    header: tuple[str, ...] = ()
    for source in sources:
        if source.form != "csv":
            continue
        told = names_in(Path(source.path), csv)
        if csv.header:
            if not any(told):
                text = f"{source.name} is empty, and has no first line of names"
                raise Wrong("bad_catalogue", text, "copy the file again from where it was made, or leave it out")
            if header and told != header:
                text = f"{source.name} has another header than the files before it"
                raise Wrong("bad_catalogue", text, "partition files of one form together")
            header = told
        elif {column.source for column in table.columns} <= set(told):
            text = f"the first line of {source.name} has the names of its columns, and is taken for a row"
            raise Wrong("bad_catalogue", text, "say --csv-header")
    return header


def _ranges(source: Source, csv: CsvDialect, rows: int) -> list[tuple[int, int, int]]:
    path = Path(source.path)
    if source.form == "csv":
        mark, line = first_line(path)
        begin = mark + len(line) * csv.header
        if compressed(path):
            return [(-1, begin, -1)]
        size = source.bytes - begin

        def read(offset: int, count: int) -> NDArray[np.uint8]:
            return np.fromfile(path, np.uint8, min(count, size - offset), offset=begin + offset)

        inner = csv_borders.borders(read, csv, size, PIECE_BYTES) if size > PIECE_BYTES else []
        ends = [0, *inner, size] if size else []
        return [(-1, begin + first, begin + last) for first, last in pairwise(ends)]
    if source.form == "fits":
        from consumers.release.reading.fits_file import FitsCatalogue

        return [(-1, first, last) for first, last in _even(FitsCatalogue(path, source.hdu).rows, rows)]
    if source.form == "parquet":
        with pq.ParquetFile(path) as file:
            groups = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
        return [(group, first, last) for group, count in enumerate(groups) for first, last in _even(count, rows)]
    return [(-1, 0, -1)]


def _even(count: int, rows: int) -> list[tuple[int, int]]:
    """So many rows in ranges of about `PIECE_ROWS`, of whole batches, each about as long: workers end together."""
    most = min(PIECE_ROWS, 32 * rows)
    batch = min(rows, most)
    pieces, batches = -(-count // most), -(-count // batch)
    return list(pairwise(min(count, i * batches // pieces * batch) for i in range(pieces + 1))) if count else []


def _form(path: Path, table: Table) -> str:
    """How a Parquet file is read: by row groups, where all columns are its own."""
    _check_columns(open_catalogue(path), table)
    with pq.ParquetFile(path) as file:
        own = set(file.schema_arrow.names)
    return "parquet" if all(column.source in own for column in table.columns) else "catalogue"


def _hdu(path: Path, table: Table, asked: int | None) -> int | None:
    """The HDU of a FITS file that has the table's columns; None where it is the first table."""
    from consumers.release.reading.fits_file import FitsCatalogue, tables_of

    every = tables_of(path)
    if asked is not None:
        _check_columns(FitsCatalogue(path, asked), table)
        return None if every[:1] == [asked] else asked
    first = FitsCatalogue(path)
    having = [] if _missing(first, table) else every[:1]
    for number in every[1:]:
        with suppress(Wrong):
            having += [] if _missing(FitsCatalogue(path, number), table) else [number]
    if len(having) > 1:
        text = f"{path} has the columns of table {table.name} in HDUs {', '.join(map(str, having))}"
        raise Wrong("bad_catalogue", text, "say which one with --hdu")
    if not having:
        _check_columns(first, table)
    return None if having == every[:1] else having[0]


def _missing(catalogue: Catalogue, table: Table) -> list[str]:
    have = set(catalogue.schema.names)
    return [column.source for column in table.columns if column.source not in have]


def _check_columns(catalogue: Catalogue, table: Table) -> None:
    missing = _missing(catalogue, table)
    if missing:
        some = ", ".join(missing[:12]) + (" …" if len(missing) > 12 else "")
        text = f"{catalogue.path} ({catalogue.form}) has no column {some}"
        raise Wrong("no_column", text, "give the description that belongs to these files")
