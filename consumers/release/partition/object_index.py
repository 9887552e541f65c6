"""Where the rows of a director went, by their ids: sorted files that children and match tables are looked up in.

The index is a folder of files, each with the ids of one range, in order. A file is four columns after one another,
little-endian: ``int64`` ids in order, ``int32`` chunks, ``int32`` sub-chunks, ``float64`` RA and Dec in degrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consumers.release.partition.blocks import write_all
from stream.errors import Fatal, Wrong

FOLDER = "object_index"
RECORD = 32
"""Bytes a row."""
RANGE = 1 << 19
"""Rows of a file, about."""

Ints = NDArray[np.int64]
Shorts = NDArray[np.int32]
Floats = NDArray[np.float64]


class Rows(NamedTuple):
    """Rows of a director, `n` of them."""

    ids: Ints
    chunk: Shorts
    sub_chunk: Shorts
    ra: Floats
    dec: Floats

    def take(self, which: Ints) -> Rows:
        """Some of them."""
        return Rows(self.ids[which], self.chunk[which], self.sub_chunk[which], self.ra[which], self.dec[which])

    @classmethod
    def of(cls, columns: Sequence[Any]) -> Rows:
        """Rows out of their five columns."""
        return cls(*columns)

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """The rows of all parts, in their order; of none as well."""
        kinds = (np.int64, np.int32, np.int32, np.float64, np.float64)
        columns = zip(*parts) if parts else [()] * len(kinds)
        return cls.of([np.concatenate([np.zeros(0, kind), *found]) for kind, found in zip(kinds, columns)])


class Found(NamedTuple):
    """What an index says of `n` ids.

    Parameters
    ----------
    asked
        ``bool[n]``: whether there was an id to look up.
    known
        ``bool[n]``: whether the index has it. The others have zeros in what follows.
    chunk, sub_chunk, ra, dec
        Of the director's row.
    """

    asked: NDArray[np.bool_]
    known: NDArray[np.bool_]
    chunk: Shorts
    sub_chunk: Shorts
    ra: Floats
    dec: Floats


def write(rows: Rows, path: Path) -> None:
    """Write rows, which are in order of their ids, as one file, at once and whole."""
    new = path.with_name(path.name + ".new")
    with new.open("wb", buffering=0) as file:
        for column in rows:
            write_all(file, np.ascontiguousarray(column).data)
    new.replace(path)


def read(path: Path, first: int = 0, last: int | None = None) -> Rows:
    """Rows `first` to `last` of a file, all of them by default."""
    count = path.stat().st_size // RECORD
    last = count if last is None else last
    columns: list[Any] = []
    start = 0
    for kind in (np.int64, np.int32, np.int32, np.float64, np.float64):
        width = np.dtype(kind).itemsize
        columns.append(np.fromfile(path, kind, last - first, offset=start + first * width))
        start += count * width
    return Rows.of(columns)


def ids_of(path: Path) -> Ints:
    """The ids of a file, read where they are looked at."""
    count = path.stat().st_size // RECORD
    return np.memmap(path, np.int64, "r", shape=(count,)) if count else np.zeros(0, np.int64)


def in_order(rows: Rows) -> Rows:
    """Rows by id; no two are to have the same."""
    return rows.take(np.argsort(rows.ids))


def borders(samples: Sequence[Ints], rows: int) -> Ints:
    """Ids at which to cut `rows` rows into files, out of samples that were taken evenly."""
    count = rows // RANGE
    if not count or not len(samples):
        return np.zeros(0, np.int64)
    every = np.sort(np.concatenate(samples))
    return np.unique(every[np.linspace(0, len(every) - 1, count + 1).astype(np.int64)[1:-1]])


def gather(parts: Sequence[Path], low: int | None, high: int | None) -> Rows:
    """The rows with ids from `low` to below `high` of all parts, in order.

    Raises
    ------
    Fatal
        Code ``duplicate_key``: two rows have one id.
    """
    found = []
    for path in parts:
        ids = ids_of(path)
        first = 0 if low is None else int(np.searchsorted(ids, low))
        last = len(ids) if high is None else int(np.searchsorted(ids, high))
        if last > first:
            found.append(read(path, first, last))
    rows = in_order(Rows.joined(found))
    twice = np.flatnonzero(np.diff(rows.ids) == 0)
    if len(twice):
        some = ", ".join(str(each) for each in np.unique(rows.ids[twice])[:3])
        raise Fatal(
            "duplicate_key",
            f"the director's key is not unique: {some} and others are there twice ({len(twice)} rows seen)",
            "a director's key names one row: take out what was given twice, and partition again",
        )
    return rows


@dataclass(frozen=True, slots=True)
class ObjectIndex:
    """An index to look ids up in.

    Parameters
    ----------
    files
        In order of ids.
    first
        ``int64[files]``: the lowest id of each.
    """

    files: tuple[Path, ...]
    first: Ints

    @classmethod
    def open(cls, table: Path) -> ObjectIndex:
        """The index in the folder of a partitioned director.

        Raises
        ------
        Wrong
            Code ``no_object_index``: the folder has none.
        """
        folder = table / FOLDER
        files = sorted(folder.glob("*.ids")) if folder.is_dir() else []
        if not folder.is_dir():
            raise Wrong(
                "no_object_index",
                f"{table} has no object index to place rows by",
                "partition the director first, into the same folder; its key must be an integer",
            )
        first = [int(np.fromfile(path, np.int64, 1)[0]) for path in files]
        return cls(tuple(files), np.array(first, np.int64))

    def find(self, ids: Ints, asked: NDArray[np.bool_]) -> Found:
        """Look ids up where `asked`; one file after the other, so that memory is bounded."""
        n = len(ids)
        found = Found(asked, np.zeros(n, bool), np.zeros(n, np.int32), np.zeros(n, np.int32), np.zeros(n), np.zeros(n))
        where = np.searchsorted(self.first, ids, side="right") - 1
        for number in np.unique(where[asked & (where >= 0)]).tolist():
            rows = read(self.files[number])
            mine = np.flatnonzero(asked & (where == number))
            at = np.searchsorted(rows.ids, ids[mine])
            at[at == len(rows.ids)] = 0
            hit = rows.ids[at] == ids[mine]
            mine, at = mine[hit], at[hit]
            found.known[mine] = True
            found.chunk[mine], found.sub_chunk[mine] = rows.chunk[at], rows.sub_chunk[at]
            found.ra[mine], found.dec[mine] = rows.ra[at], rows.dec[at]
        return found
