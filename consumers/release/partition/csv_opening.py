"""CSV files as they lie on the disk: maybe compressed, maybe behind a mark that they are UTF-8."""

from __future__ import annotations

import csv as reader
import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

from consumers.release.partition.csv_dialect import CsvDialect
from stream.errors import Wrong

LONGEST = 64 << 20
"""Bytes of a record at most; MySQL takes rows of 16 MiB."""
MARK, COMPRESSED = b"\xef\xbb\xbf", b"\x1f\x8b"


@contextmanager
def open_csv(path: Path) -> Iterator[BufferedIOBase]:
    """Open a CSV file, expanded where it is compressed by gzip.

    Raises
    ------
    Wrong
        Code ``bad_catalogue``: it is compressed, and breaks off or is damaged.
    """
    try:
        with path.open("rb") as file:
            compressed = is_compressed(file.read(2))
            file.seek(0)
            if compressed:
                with gzip.open(file) as expanded:
                    yield expanded
            else:
                yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        text = f"{path}: what is compressed is damaged ({error})"
        raise Wrong("bad_catalogue", text, "copy the file again from where it was made") from error


def compressed(path: Path) -> bool:
    """Whether a file is compressed by gzip."""
    with path.open("rb") as file:
        return is_compressed(file.read(2))


def is_compressed(begin: bytes) -> bool:
    """Whether a file that begins so is compressed by gzip."""
    return begin.startswith(COMPRESSED)


def first_line(path: Path) -> tuple[int, bytes]:
    """The first line of a CSV file without its mark, and how many bytes the mark has."""
    with open_csv(path) as file:
        line = file.readline(LONGEST)
    mark = len(MARK) if line.startswith(MARK) else 0
    return mark, line[mark:]


def names_in(path: Path, csv: CsvDialect) -> tuple[str, ...]:
    """The fields of its first line; none where that is no line of names."""
    line = first_line(path)[1].decode(errors="replace").rstrip("\r\n")
    if not csv.quote:
        return tuple(line.split(csv.delimiter))
    try:
        return tuple(next(reader.reader([line], delimiter=csv.delimiter, quotechar=csv.quote), []))
    except reader.Error:  # a field longer than any name
        return ()


def backslash_in(path: Path, csv: CsvDialect) -> str | None:
    """A piece of text around the first backslash that is no NULL, as far as the file's first MiB tells."""
    with open_csv(path) as file:
        begin = file.read(1 << 20) + file.readline(LONGEST)
    if b"\\" not in begin:
        return None
    nulls = b"|".join(re.escape(each.encode()) for each in csv.nulls) or b"(?!)"
    edge = b"[\r\n" + re.escape(csv.delimiter.encode()) + b"]"
    fields = re.sub(b"(?:(?<=" + edge + b")|^)(?:" + nulls + b")(?=" + edge + b"|$)", b"", begin)
    at = fields.find(b"\\")
    return None if at < 0 else fields[max(0, at - 20) : at + 20].decode(errors="replace")
