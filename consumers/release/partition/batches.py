"""The rows of a piece of a catalogue, batch by batch: their positions and keys, and themselves as lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from consumers.release.description.arrow_types import LONGEST_VARCHAR
from consumers.release.partition import csv_lines
from consumers.release.partition.columns import as_arrow, as_texts, mask_of, nulls_of, values_of
from consumers.release.partition.csv_dialect import CsvDialect
from consumers.release.partition.csv_lines import Records
from consumers.release.partition.csv_opening import LONGEST, open_csv
from consumers.release.partition.placing import Codes
from consumers.release.partition.reasons import BAD_KEY, FIELDS, MISSING, NOT_A_NUMBER
from consumers.release.partition.source import Piece, Source
from consumers.release.partition.writing import Ints, Lines, Places, Scratch, write_rows
from consumers.release.table import Table
from stream.errors import Wrong
from stream.sky import Floats

TEXT_BYTES = 28 << 20
"""Bytes of lines a batch, about: the memory of a worker is some times this."""
_WIDTHS = {"boolean": 2, "byte": 4, "short": 6, "int": 10, "long": 18, "float": 12, "double": 19} | dict.fromkeys(
    ("text", "binary"), LONGEST_VARCHAR
)


class Batch(Protocol):
    """Some rows of a catalogue."""

    @property
    def rows(self) -> int:
        """How many."""

    def whole(self) -> Codes:
        """``int8[rows]``: `consumers.release.partition.reasons.KEPT`, or why a row cannot be read."""

    def numbers(self, name: str, why: Codes) -> Floats:
        """A column as ``float64[rows]``; marks in `why` where there is none."""

    def keys(self, name: str, why: Codes) -> tuple[Ints, NDArray[np.bool_]]:
        """A column as ``int64[rows]``, and where there is one; marks in `why` what is no integer."""

    def shown(self, rows: Ints, names: Sequence[str]) -> list[str]:
        """Fields of some rows for whoever looks at what was rejected."""

    def lines(self, places: Places, scratch: Scratch) -> Lines:
        """The rows as lines of a chunk file, in the order of the places; in memory of `scratch`."""


def rows_of(table: Table) -> int:
    """How many rows of a table make a batch."""
    width = sum(1 + _WIDTHS.get(column.datatype, min(column.length or 32, 256)) for column in table.columns)
    return max(256, min(TEXT_BYTES // width, 1 << 16))


@dataclass(frozen=True, slots=True)
class ArrowBatch:
    """Rows of an Arrow record batch, whose columns are the table's."""

    batch: pa.RecordBatch
    names: dict[str, int]
    delimiter: str

    @property
    def rows(self) -> int:
        return int(self.batch.num_rows)

    def whole(self) -> Codes:
        return np.zeros(self.rows, np.int8)

    def numbers(self, name: str, why: Codes) -> Floats:
        column = self._column(name)
        why[(why == 0) & nulls_of(column)] = MISSING
        return np.array(values_of(pc.cast(column, pa.float64())), np.float64)

    def keys(self, name: str, why: Codes) -> tuple[Ints, NDArray[np.bool_]]:
        column = self._column(name)
        if not pa.types.is_integer(column.type):
            text = f"column {name} is {column.type}, and rows are looked up by integers alone"
            raise Wrong("bad_key", text, "give the table an integer key, or place it by the director's position")
        asked = ~nulls_of(column)
        return values_of(column).astype(np.int64, casting="unsafe"), asked

    def shown(self, rows: Ints, names: Sequence[str]) -> list[str]:
        taken = [self._column(name).take(as_arrow(rows)).to_pylist() for name in names]
        return [" ".join(map(str, values)) for values in zip(*taken)] or [""] * len(rows)

    def lines(self, places: Places, scratch: Scratch) -> Lines:
        return write_rows(self.batch, places, self.delimiter, scratch)

    def _column(self, name: str) -> pa.Array:
        return self.batch.column(self.names[name])


@dataclass(frozen=True, slots=True)
class CsvFields:
    """Which fields of a CSV file a table needs.

    Parameters
    ----------
    names
        The table's columns by their number.
    order
        ``int64[columns]``: the field of each column.
    numbers
        ``bool[columns]``: whether it holds numbers or times, of which an empty field is NULL.
    fields
        How many fields a record has.
    wanted
        ``int64[…]``: fields that rows are placed by, in order of `places`.
    places
        Names of these columns.
    """

    names: dict[str, int]
    order: Ints
    numbers: NDArray[np.bool_]
    fields: int
    wanted: Ints
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CsvBatch:
    """Rows of a CSV file."""

    records: Records
    fields: CsvFields
    dialect: CsvDialect

    @property
    def rows(self) -> int:
        return len(self.records.starts)

    def whole(self) -> Codes:
        return np.where(self.records.whole, 0, FIELDS).astype(np.int8)

    def numbers(self, name: str, why: Codes) -> Floats:
        texts, null = self._texts(name)
        why[(why == 0) & null] = MISSING
        try:
            return np.array(values_of(pc.cast(texts, pa.float64())), np.float64)
        except pa.ArrowInvalid:
            found, bad = _each(texts, float, 0.0)
            why[(why == 0) & bad] = NOT_A_NUMBER
            return np.array(found, np.float64)

    def keys(self, name: str, why: Codes) -> tuple[Ints, NDArray[np.bool_]]:
        texts, null = self._texts(name)
        try:
            found = np.array(values_of(pc.cast(texts, pa.int64())), np.int64)
        except pa.ArrowInvalid:
            values, bad = _each(texts, _key, 0)
            why[(why == 0) & bad] = BAD_KEY
            found, null = np.array(values, np.int64), null | bad
        return found, ~null

    def shown(self, rows: Ints, names: Sequence[str]) -> list[str]:
        found, records = [], self.records
        for row in rows.tolist():
            spans = [(int(records.starts[row]), int(records.ends[row]))]
            if records.whole[row]:
                spans = [tuple(records.at[row, 2 * i : 2 * i + 2].tolist()) for i in range(len(self.fields.wanted))]
            found.append(
                b" ".join(bytes(records.data[first:last][:80]) for first, last in spans).decode(errors="replace")
            )
        return found

    def lines(self, places: Places, scratch: Scratch) -> Lines:
        return csv_lines.write_records(
            self.records, places, self.dialect, self.fields.order, self.fields.numbers, scratch
        )

    def _texts(self, name: str) -> tuple[pa.Array, NDArray[np.bool_]]:
        """The fields of a column without quotes, ``0`` where they are none, and where that is."""
        which = self.fields.places.index(name)
        begin, end = self.records.at[:, 2 * which].copy(), self.records.at[:, 2 * which + 1].copy()
        begin[~self.records.whole] = end[~self.records.whole] = 0
        data = self.records.data
        if self.dialect.quote:
            quoted = (end - begin >= 2) & (data[np.minimum(begin, len(data) - 1)] == ord(self.dialect.quote))
            begin, end = begin + quoted, end - quoted
        length = end - begin
        offsets = np.zeros(len(length) + 1, np.int64)
        np.cumsum(length, out=offsets[1:])
        taken = data[np.repeat(begin - offsets[:-1], length) + np.arange(offsets[-1])]
        texts = pa.Array.from_buffers(
            pa.large_string(), len(length), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(taken))]
        )
        spelled = as_texts([*self.dialect.nulls, "", "NULL", "null", "None"])
        null = pc.is_in(texts, spelled)
        return pc.if_else(null, "0", texts), mask_of(null)


def _each(texts: pa.Array, read: Any, otherwise: Any) -> tuple[list[Any], NDArray[np.bool_]]:
    """Texts one by one, and which of them are none."""
    found, bad = [], np.zeros(len(texts), bool)
    for i, text in enumerate(texts.cast(pa.large_binary()).to_pylist()):
        try:
            found.append(read(text.decode("ascii")))
        except ValueError:
            found.append(otherwise)
            bad[i] = True
    return found, bad


def _key(text: str) -> int:
    """An integer of 64 bits, unsigned ones by their bits."""
    value = int(text)
    if not -(1 << 63) <= value < 1 << 64:
        raise ValueError(text)
    return value if value < 1 << 63 else value - (1 << 64)


def csv_batches(
    path: Path, piece: Piece, fields: CsvFields, dialect: CsvDialect, most: int, size: int = TEXT_BYTES
) -> Iterator[CsvBatch]:
    """The records of a piece of a CSV file.

    Raises
    ------
    Wrong
        ``bad_catalogue``: the file became shorter, or a record does not end.
    """
    with open_csv(path) as file:
        file.seek(piece.first)
        at, rest, last = piece.first, np.zeros(0, np.uint8), piece.first == piece.last
        while not last:
            read = np.empty(size if piece.last < 0 else min(size, piece.last - at), np.uint8)
            read = read[: file.readinto(read.data)]
            if not len(read) and piece.last >= 0:
                raise Wrong("bad_catalogue", f"{path} became shorter while it was read", "partition it anew")
            at += len(read)
            data = np.concatenate((rest, read)) if len(rest) else read
            last = at == piece.last or not len(read)
            while True:
                found = csv_lines.find_records(data, dialect, fields.fields, fields.wanted, last=last, most=most)
                if len(found.starts):
                    yield CsvBatch(found, fields, dialect)
                data = data[found.used :]
                if len(found.starts) < most:
                    break
            rest = data
            if len(rest) > LONGEST or (last and len(rest)):
                text = f"{path}: the record at byte {at - len(rest)} does not end"
                raise Wrong("bad_catalogue", text, "close its quote, or say how the file is written: --csv-quote none")


def arrow_batches(source: Source, piece: Piece, table: Table, delimiter: str, rows: int) -> Iterator[ArrowBatch]:
    """The rows of a piece of a catalogue of any other form."""
    sources = [column.source for column in table.columns]
    names = {column.name: i for i, column in enumerate(table.columns)}
    for batch in _batches(source, piece, sources, rows):
        yield ArrowBatch(batch, names, delimiter)


def _batches(source: Source, piece: Piece, sources: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
    path = Path(source.path)
    if piece.group >= 0:
        return _row_group(path, piece, sources, rows)
    if piece.last >= 0:
        from consumers.release.reading.fits_file import FitsCatalogue

        return FitsCatalogue(path, source.hdu).batches(sources, rows, piece.first, piece.last)
    from consumers.release.reading import open_catalogue

    return open_catalogue(path).batches(sources, rows)


def _row_group(path: Path, piece: Piece, sources: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
    """Rows of a row group; those before its first are read over, which costs a tenth of writing them."""
    buffered = max(1 << 16, min(1 << 20, (32 << 20) // max(len(sources), 1)))
    at = 0
    try:
        with pq.ParquetFile(path, buffer_size=buffered, pre_buffer=False) as file:
            for batch in file.iter_batches(rows, row_groups=[piece.group], columns=sources, use_threads=False):
                first, last = max(piece.first - at, 0), min(piece.last - at, batch.num_rows)
                at += batch.num_rows
                if last > first:
                    yield batch.select(sources).slice(first, last - first)
                if at >= piece.last:
                    return
    except (pa.ArrowException, OSError) as error:
        text = f"{path}, row group {piece.group}: this Parquet file is damaged ({error})"
        raise Wrong("bad_catalogue", text, "copy the file again from where it was made") from error
