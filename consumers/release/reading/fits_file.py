"""Tables in FITS files, read by ranges of rows: plain ones and those of the science pipelines (afw)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from consumers.release.reading import afw
from consumers.release.reading.catalogue import BYTES, ROWS, LeftOut, damaged, picked, refuse_twins
from consumers.release.reading.fits_column import FitsColumn, Header, columns
from consumers.release.reading.fits_value import Value

BLOCK = 2880
"""Bytes: headers and data of FITS fill blocks of them."""


@dataclass(frozen=True, slots=True)
class Hdu:
    """A header and where its data lie in the file, from byte `start` to byte `end` without padding."""

    number: int
    header: Header
    start: int
    end: int

    @property
    def is_table(self) -> bool:
        """Whether it has rows of a table in binary form."""
        return str(self.header.get("XTENSION", "")).strip() == "BINTABLE" and not self.header.get("ZIMAGE", False)

    @property
    def is_archive(self) -> bool:
        """Whether afw keeps objects in it that belong to a catalogue: footprints, PSFs, WCSs."""
        return str(self.header.get("EXTTYPE", "")).startswith("ARCHIVE")


class FitsCatalogue:
    """A table in a FITS file.

    Parameters
    ----------
    path
        The file.
    hdu
        Number of the HDU, from 0; the first table that is no archive where None.

    Raises
    ------
    Wrong
        ``bad_catalogue``: the file breaks off, is damaged, or has no such table.
    """

    def __init__(self, path: Path, hdu: int | None = None) -> None:
        self.path = path
        size = path.stat().st_size
        hdus = _hdus(path)
        self._hdu = _table(path, hdus, hdu)
        header = self._hdu.header
        where = f"HDU {self._hdu.number}"
        if header.get("ZTABLE", False):
            raise damaged(path, f"{where} is a compressed table", "expand it with funpack")
        self._width, self.rows = int(header["NAXIS1"]), int(header["NAXIS2"])
        if self._hdu.start + self._width * self.rows > size:
            have = max(0, size - self._hdu.start) // max(self._width, 1)
            raise damaged(path, f"{where} breaks off after {have} of {self.rows} rows")
        try:
            found = columns(header)
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(path, f"{where} is not a table of the FITS standard: {error}") from error
        is_afw = afw.is_afw(header)
        self.form = f"afw table version {afw.version(header)}" if is_afw else "FITS table"
        self._values, self.left_out = afw.values(found, header) if is_afw else _values(found)
        self.schema = pa.schema([value.field for value in self._values])
        refuse_twins(self)
        self.notes: Sequence[str] = (*(afw.notes(header) if is_afw else ()), *_others(hdus, self._hdu, hdu))

    def batches(
        self, columns: Sequence[str] | None = None, rows: int = ROWS, first: int = 0, last: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The rows in order; `Catalogue.batches`. They can begin anywhere: from row `first` to `last`, without it."""
        by_name = {value.field.name: value for value in self._values}
        wanted = [by_name[name] for name in picked(self, columns)]
        schema = pa.schema([value.field for value in wanted])
        fields = {value.column.offset: value.column for value in wanted}
        step = max(1, min(rows, BYTES // max(self._width, 1)))
        with self.path.open("rb") as file:
            end = self.rows if last is None else min(last, self.rows)
            file.seek(self._hdu.start + first * self._width)
            for begin in range(first, end, step):
                raw = self._raw(file, begin, min(step, end - begin))
                cells = {offset: column.cells(raw) for offset, column in fields.items()}
                arrays = [value.array(cells[value.column.offset]) for value in wanted]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _raw(self, file: BinaryIO, first: int, count: int) -> NDArray[np.uint8]:
        raw = np.fromfile(file, np.uint8, count * self._width)
        if len(raw) < count * self._width:
            have = first + len(raw) // max(self._width, 1)
            raise damaged(self.path, f"HDU {self._hdu.number} breaks off after {have} of {self.rows} rows")
        return raw.reshape(count, self._width)


def tables_of(path: Path) -> list[int]:
    """Numbers of the HDUs that have tables, without afw's archives."""
    return [hdu.number for hdu in _hdus(path) if hdu.is_table and not hdu.is_archive]


def _values(found: Sequence[FitsColumn]) -> tuple[list[Value], list[LeftOut]]:
    """All values of a plain table, and what a database cannot have of it."""
    values = [
        Value(column.field(name), column, element)
        for column in found
        if not column.why_not
        for element, name in enumerate(column.names)
    ]
    return values, [LeftOut(column.name, column.why_not) for column in found if column.why_not]


def _hdus(path: Path) -> list[Hdu]:
    """The headers of a file; of one that breaks off those that are whole, and the one whose data are not."""
    from astropy.io import fits

    found: list[Hdu] = []
    size = path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size:
            try:
                header = fits.Header.fromfile(file)
                start = file.tell()
                end = start + _bytes(header)
            except Exception as error:
                if found:
                    break  # FITS allows other records after the last HDU
                raise damaged(path, f"its first header cannot be read ({error})", "give a FITS file") from error
            found.append(Hdu(len(found), header, start, end))
            file.seek(-(-end // BLOCK) * BLOCK)
    return found


def _bytes(header: Header) -> int:
    """Bytes of an HDU's data (FITS standard 4.0, equations 1 and 2)."""
    axes = [int(header[f"NAXIS{number}"]) for number in range(1, int(header["NAXIS"]) + 1)]
    points = 1 if axes else 0
    for axis in axes:
        points *= axis
    each = abs(int(header["BITPIX"])) // 8
    return each * int(header.get("GCOUNT", 1)) * (int(header.get("PCOUNT", 0)) + points)


def _table(path: Path, hdus: Sequence[Hdu], number: int | None) -> Hdu:
    tables = [hdu for hdu in hdus if hdu.is_table]
    if number is not None:
        for hdu in tables:
            if hdu.number == number:
                return hdu
        have = ", ".join(str(hdu.number) for hdu in tables) or "none"
        raise damaged(path, f"HDU {number} is not a binary table", f"it has tables in HDUs: {have}")
    for hdu in tables:
        if not hdu.is_archive:
            return hdu
    if tables:
        text = "it has archives of afw objects (footprints, PSFs), and no catalogue"
        raise damaged(path, text, "give the file that has the catalogue, or say which HDU to read")
    kinds = ", ".join(str(hdu.header.get("XTENSION", "PRIMARY")).strip() for hdu in hdus)
    text = f"it has no binary table (HDUs: {kinds}); where the file breaks off, one may be lost"
    raise damaged(path, text, "give a FITS file with a BINTABLE")


def _others(hdus: Sequence[Hdu], taken: Hdu, asked: int | None) -> list[str]:
    """What of the file is not read."""
    said = []
    archives = [hdu.number for hdu in hdus if hdu.is_table and hdu.is_archive and hdu is not taken]
    tables = [hdu.number for hdu in hdus if hdu.is_table and not hdu.is_archive and hdu is not taken]
    if archives:
        which = f"{archives[0]} to {archives[-1]}" if len(archives) > 1 else str(archives[0])
        said.append(f"left out: afw's archive of objects such as footprints (HDU {which})")
    if tables and asked is None:
        said.append(f"read: the table in HDU {taken.number}; not read: those in HDU {', '.join(map(str, tables))}")
    return said
