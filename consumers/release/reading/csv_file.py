"""Tables in CSV files, by pyarrow, so that their types are found out.

Partitioning does not read CSV this way: there, fields go through as the bytes they are.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import BufferedIOBase
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.csv as pc

from consumers.release.reading.catalogue import ASCII, ROWS, CsvForm, LeftOut, damaged, field, picked
from consumers.release.reading.csv_types import Guess, as_kind
from stream.errors import Wrong

_MEANT = (
    "escapes what follows, as for Qserv's partitioner; where it stands for itself say --csv-escape none, here and to"
    " partition"
)
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
        self.path = path
        self.csv = replace(csv, escape=csv.escape or "")
        self._unsaid = csv.escape is None
        self.left_out: Sequence[LeftOut] = ()
        self.notes: Sequence[str] = ()
        self._schema: pa.Schema | None = None
        self._rows: int | None = None

    @property
    def schema(self) -> pa.Schema:
        """The columns with the types that all of their values have; found out when first asked for."""
        if self._schema is None:
            try:
                self._schema = self._found()
            except (_Backslash, Wrong) as found:
                if not self._unsaid:
                    raise
                self._schema = self._escaped(found)
        return self._schema

    @property
    def rows(self) -> int | None:
        """How many rows it has, where its types were found out by all of them."""
        return self._rows

    def batches(self, columns: Sequence[str] | None = None, rows: int = ROWS) -> Iterator[pa.RecordBatch]:
        """The rows in order; `Catalogue.batches`."""
        wanted = list(picked(self, columns))
        schema = pa.schema([self.schema.field(name) for name in wanted])
        for block in self._blocks(wanted):
            with _reading(self.path):
                columns = [as_kind(values, one.type) for values, one in zip(block.columns, schema)]
            whole = pa.RecordBatch.from_arrays(columns, schema=schema)
            for first in range(0, whole.num_rows, rows):
                yield whole.slice(first, rows)

    def _escaped(self, why: _Backslash | Wrong) -> pa.Schema:
        """What is found where a backslash escapes; without one, a delimiter behind it makes a field too many."""
        self.csv, self._unsaid = replace(self.csv, escape="\\"), False
        try:
            schema = self._found()
        except Wrong as still:
            raise (why if isinstance(why, Wrong) else still) from None
        text = str(why) if isinstance(why, _Backslash) else f"a backslash {_MEANT}"
        self.notes = [*self.notes, text]
        return schema

    def _found(self) -> pa.Schema:
        guesses: dict[str, Guess] = {}
        names, rows = self._header(), 0
        for block in self._blocks(names):
            left = block if self.csv.sample is None else block.slice(0, self.csv.sample - rows)
            rows += left.num_rows
            for name in names:
                guesses.setdefault(name, Guess()).see(left.column(left.schema.get_field_index(name)))
            if rows == self.csv.sample:
                break
        else:
            self._rows = rows
        found = [(name, guesses.get(name) or Guess()) for name in names]
        self.notes = [
            f"{name}: {', '.join(guess.words)} is a text there, unless --csv-null is said here and to partition"
            for name, guess in found
            if guess.words
        ]
        return pa.schema([_field(name, guess) for name, guess in found])

    def _header(self) -> list[str]:
        if self.csv.names:
            return list(self.csv.names)
        try:
            with _opened(self.path) as file, pc.open_csv(file, _options(), self._parsing()) as reader:
                names: list[str] = reader.schema.names
        except (pa.ArrowException, OSError) as error:
            raise damaged(self.path, f"its first line cannot be read ({error})", "say how it is written") from error
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise damaged(self.path, f"its first line has {', '.join(twice)} more than once", "rename the columns")
        return names

    def _blocks(self, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows as texts, null where a field spells NULL."""
        converting = pc.ConvertOptions(
            column_types=dict.fromkeys(wanted, pa.string()),
            include_columns=list(wanted),
            null_values=list(self.csv.nulls),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=[],
            false_values=[],
        )
        reading = _options(list(self.csv.names))
        with (
            _reading(self.path),
            _opened(self.path, self.csv) as file,
            pc.open_csv(file, reading, self._parsing(), converting) as reader,
        ):
            for batch in reader:
                if self._unsaid:
                    _look_for_backslashes(batch)
                if batch.num_rows:
                    yield batch

    def _parsing(self) -> pc.ParseOptions:
        csv = self.csv
        return pc.ParseOptions(
            delimiter=csv.delimiter,
            quote_char=csv.quote or False,
            escape_char=csv.escape or False,
            newlines_in_values=bool(csv.quote or csv.escape),
            ignore_empty_lines=False,
        )


def _field(name: str, guess: Guess) -> pa.Field:
    own = field(name, guess.type, null=True, length=guess.length)
    return own if guess.ascii else own.with_metadata((own.metadata or {}) | {ASCII: b"no"})


class _Backslash(Exception):
    """A file has one, and nobody said what it is."""


def _look_for_backslashes(batch: pa.RecordBatch) -> None:
    for name, values in zip(batch.schema.names, batch.columns):
        having = values.filter(compute.match_substring(values, "\\"))
        if len(having):
            raise _Backslash(f"{name}: a backslash ({having[0].as_py()[:40]!r}) {_MEANT}")


class _Lines:
    """A file in which a NULL that begins with the escape has one more, so that pyarrow does not take it away."""

    def __init__(self, file: BufferedIOBase, csv: CsvForm) -> None:
        edge = re.escape(csv.delimiter.encode())
        spelled = b"|".join(re.escape(each.encode()) for each in csv.nulls if each.startswith(csv.escape or "\0"))
        self._file, self._escape = file, (csv.escape or "").encode()
        begin = rb"(?:(?<=" + edge + rb")|^|(?<=\A\xef\xbb\xbf))"
        self._field = re.compile(begin + rb"(?=(?:" + spelled + rb")(?:" + edge + rb"|\r?$))", re.M)
        self._rest = b""

    closed = False

    def read(self, size: int) -> bytes:
        while not self._rest and (some := self._file.read(BLOCK)):
            some += self._file.readline()
            self._rest = self._field.sub(lambda _: self._escape, some)
        told, self._rest = self._rest[:size], self._rest[size:]
        return told

    def close(self) -> None: ...


@contextmanager
def _opened(path: Path, csv: CsvForm | None = None) -> Iterator[Path | _Lines]:
    """What pyarrow is to read."""
    if csv is None or not csv.escape or not any(each.startswith(csv.escape) for each in csv.nulls):
        yield path
    else:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            yield _Lines(file, csv)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        how = "delimiter, quote, escape, names"
        advice = f"mend the row, say how it is written ({how}), or describe it by JSON or felis"
        raise damaged(path, f"it cannot be read as CSV ({error})", advice) from error


def _options(names: Sequence[str] = ()) -> pc.ReadOptions:
    return pc.ReadOptions(use_threads=False, block_size=BLOCK, column_names=list(names) or None)
