"""Tables in CSV files, by pyarrow, so that their types are found out.

Partitioning does not read CSV this way: there, fields go through as the bytes they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc

from consumers.release.reading.catalogue import ASCII, ROWS, CsvForm, LeftOut, damaged, field, picked
from consumers.release.reading.csv_types import Guess

BLOCK = 1 << 20
"""Bytes read at a time; pyarrow reads some thirty blocks ahead. A row has to fit into one."""


class CsvCatalogue:
    """A CSV file.

    Parameters
    ----------
    path
        The file; ``.gz`` is expanded while it is read.
    csv
        How its fields are written.

    Raises
    ------
    Wrong
        ``bad_catalogue``: a row has more or fewer fields than the first, or it is not text in UTF-8.
    """

    form = "CSV"

    def __init__(self, path: Path, csv: CsvForm) -> None:
        self.path, self.csv = path, csv
        self.left_out: Sequence[LeftOut] = ()
        self.notes: Sequence[str] = ()
        self._schema: pa.Schema | None = None
        self._rows: int | None = None

    @property
    def schema(self) -> pa.Schema:
        """The columns with the types that all of their values have; found out when first asked for."""
        if self._schema is None:
            self._schema = self._found()
        return self._schema

    @property
    def rows(self) -> int | None:
        """How many rows it has, where its types were found out by all of them."""
        return self._rows

    def batches(self, columns: Sequence[str] | None = None, rows: int = ROWS) -> Iterator[pa.RecordBatch]:
        """The rows in order; `Catalogue.batches`."""
        wanted = list(picked(self, columns))
        schema = pa.schema([self.schema.field(name) for name in wanted])
        for block in self._blocks({one.name: one.type for one in self.schema}, wanted):
            for first in range(0, block.num_rows, rows):
                part = block.slice(first, rows)
                yield pa.RecordBatch.from_arrays(part.columns, schema=schema)

    def _found(self) -> pa.Schema:
        guesses: dict[str, Guess] = {}
        names, rows = self._header(), 0
        for block in self._blocks(dict.fromkeys(names, pa.string()), names):
            left = block if self.csv.sample is None else block.slice(0, self.csv.sample - rows)
            rows += left.num_rows
            for name in names:
                guesses.setdefault(name, Guess()).see(left.column(left.schema.get_field_index(name)))
            if rows == self.csv.sample:
                break
        else:
            self._rows = rows
        found = [(name, guesses.get(name) or Guess()) for name in names]
        return pa.schema([_field(name, guess) for name, guess in found])

    def _header(self) -> list[str]:
        if self.csv.names:
            return list(self.csv.names)
        try:
            with pc.open_csv(self.path, pc.ReadOptions(use_threads=False), self._parsing()) as reader:
                names: list[str] = reader.schema.names
        except (pa.ArrowException, OSError) as error:
            raise damaged(self.path, f"its first line cannot be read ({error})", "say how it is written") from error
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise damaged(self.path, f"its first line has {', '.join(twice)} more than once", "rename the columns")
        return names

    def _blocks(self, types: dict[str, pa.DataType], wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
        converting = pc.ConvertOptions(
            column_types=types,
            include_columns=list(wanted),
            null_values=list(self.csv.nulls),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=[],
            false_values=[],
        )
        reading = pc.ReadOptions(use_threads=False, block_size=BLOCK, column_names=list(self.csv.names) or None)
        try:
            with pc.open_csv(self.path, reading, self._parsing(), converting) as reader:
                for batch in reader:
                    if batch.num_rows:
                        yield batch
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            advice = "mend the row, say how it is written (delimiter, quote, names), or describe it by JSON or felis"
            raise damaged(self.path, f"it cannot be read as CSV ({error})", advice) from error

    def _parsing(self) -> pc.ParseOptions:
        csv = self.csv
        return pc.ParseOptions(
            delimiter=csv.delimiter,
            quote_char=csv.quote or False,
            escape_char=csv.escape or False,
            ignore_empty_lines=False,
        )


def _field(name: str, guess: Guess) -> pa.Field:
    own = field(name, guess.type, null=True, length=guess.length)
    return own if guess.ascii else own.with_metadata((own.metadata or {}) | {ASCII: b"no"})
