"""What every catalogue offers, whatever its file's form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from stream.errors import Wrong

UNIT, DESCRIPTION, LENGTH, ASCII = b"unit", b"description", b"length", b"ascii"
"""Metadata of a field: unit and meaning as the file has them; of text the most bytes, and ``no`` if not ASCII."""
ROWS = 1 << 16
"""Rows of a batch unless told otherwise."""
BYTES = 64 << 20
"""A batch has fewer rows than asked for where these would be more bytes of the file."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A column of the file that no batch has.

    Parameters
    ----------
    column
        Its name in the file.
    why
        The reason, for the person who wants it.
    """

    column: str
    why: str


@dataclass(frozen=True, slots=True)
class CsvForm:
    """How the fields of a CSV file are written; it has nothing that says so itself.

    Parameters
    ----------
    delimiter
        Between fields, one character.
    quote
        Around fields that hold a delimiter; empty where nothing is quoted.
    escape
        Before a character that stands for itself; empty where there is none. None where nobody said: then a backslash,
        and a note tells of one that is no NULL.
    names
        Names of the columns; empty where the first line has them.
    nulls
        What stands for a missing value in any column; see `csv_types.MISSING` for columns of numbers.
    sample
        Rows by which types are found out; None for all of them.
    """

    delimiter: str = ","
    quote: str = '"'
    escape: str | None = None
    names: tuple[str, ...] = ()
    nulls: tuple[str, ...] = (r"\N",)
    sample: int | None = None


class Catalogue(Protocol):
    """The rows of one table in one file."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def form(self) -> str:
        """What it is: ``afw table version 1``, ``FITS table``, ``Parquet``, ``CSV``."""

    @property
    def schema(self) -> pa.Schema:
        """Columns by name, their metadata under `UNIT`, `DESCRIPTION` and `LENGTH` where the file says it."""

    @property
    def rows(self) -> int | None:
        """How many rows it has; None where that takes reading it."""

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """Columns of the file that are not in the schema."""

    @property
    def notes(self) -> Sequence[str]:
        """What a reader should know of the table as a whole: its aliases, archives that are not read."""

    def batches(self, columns: Sequence[str] | None = None, rows: int = ROWS) -> Iterator[pa.RecordBatch]:
        """The rows in the file's order, in memory bounded whatever the file's size.

        Parameters
        ----------
        columns
            Names of the columns wanted, in their order; all of the schema where None.
        rows
            At most so many rows a batch.

        Returns
        -------
        Iterator[pyarrow.RecordBatch]
            None of them empty. NaN and infinities are as in the file; what is masked there is null.

        Raises
        ------
        Wrong
            ``no_column``: a name is not one of the schema. ``bad_catalogue``: the file breaks off or is damaged.
        """


def picked(catalogue: Catalogue, columns: Sequence[str] | None) -> Sequence[str]:
    """The names asked for, or all; refuses a name that the catalogue does not have."""
    have: list[str] = catalogue.schema.names
    if columns is None:
        return have
    missing = [name for name in columns if name not in have]
    if not missing:
        return columns
    out = {each.column: each.why for each in catalogue.left_out}
    text = f"{catalogue.path} ({catalogue.form}) has no column {', '.join(missing)}"
    reasons = [f"{name} is left out: {out[name]}" for name in missing if name in out]
    raise Wrong("no_column", "; ".join([text, *reasons]), f"it has {_some(have)}")


def refuse_twins(catalogue: Catalogue) -> None:
    """Refuse a file with a column twice: which is meant nobody can say."""
    names = set()
    for name in catalogue.schema.names:
        if name in names:
            raise damaged(catalogue.path, f"it has column {name} more than once", "rename one of them")
        names.add(name)


def damaged(path: Path, what: str, advice: str = "copy the file again from where it was made") -> Wrong:
    """The error for a file that is not what it should be."""
    return Wrong("bad_catalogue", f"{path}: {what}", advice)


def field(name: str, kind: pa.DataType, *, null: bool, unit: str = "", doc: str = "", length: int = 0) -> pa.Field:
    """A field of a schema with its metadata."""
    told = {UNIT: unit.encode(), DESCRIPTION: doc.encode(), LENGTH: str(length).encode() if length else b""}
    return pa.field(name, kind, nullable=null, metadata={key: value for key, value in told.items() if value} or None)


def _some(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
