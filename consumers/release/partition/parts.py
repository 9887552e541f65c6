"""What a piece leaves behind: its lines by chunk, what is wanted to find them, and what was rejected.

A part is some files of one name. The one with its summary, ``.json``, comes last and at once, so that a part that has
it is whole; this is the journal of finished pieces.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from consumers.release.partition import object_index
from consumers.release.partition.writing import Lines, Places

Ints = NDArray[np.int64]
_AT_ONCE = 1 << 18
"""Bytes that are handed over in one call: the kernel takes several times as long for larger ones."""
_SMALL = 1 << 20
"""Bytes of an index that is read whole; of a larger one only what is looked at."""


@dataclass(frozen=True, slots=True)
class Section:
    """Lines of one batch, main or overlap, in order of chunk; `segments` of them begin at byte `at` of the index."""

    overlap: bool
    segments: int
    at: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What a part holds.

    Parameters
    ----------
    piece
        Its number.
    source
        Number of its file.
    rows
        Rows that were read.
    rejected
        How many of them went nowhere, by reason.
    bytes, digest
        Of its lines (XXH3, 128 bits, hex).
    sections
        In the order of the lines.
    samples
        Some of its ids, evenly, where it has an index of them.
    """

    piece: int
    source: int
    rows: int
    rejected: dict[str, int]
    bytes: int
    digest: str
    sections: tuple[Section, ...] = ()
    samples: tuple[int, ...] = ()

    @classmethod
    def of(cls, told: dict[str, Any]) -> Summary:
        """A summary out of its JSON."""
        sections = tuple(Section(**each) for each in told["sections"])
        return cls(**told | {"sections": sections, "samples": tuple(told["samples"])})


class Segments(NamedTuple):
    """Lines of chunks in a section: ``int32[n]`` chunks, ``int64[n + 1]`` offsets, ``int32[n]`` numbers of lines."""

    chunk: NDArray[np.int32]
    offset: Ints
    rows: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Part:
    """The files of a piece's part."""

    folder: Path
    number: int

    def path(self, kind: str) -> Path:
        """The file that holds ``rows``, ``index``, ``ids``, ``rejects`` or the summary, ``json``."""
        return self.folder / f"{self.number // 1000:06d}" / f"{self.number:09d}.{kind}"

    def summary(self) -> Summary | None:
        """The summary where the part is whole."""
        try:
            told = json.loads(self.path("json").read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return Summary.of(told)

    def is_sound(self, summary: Summary) -> bool:
        """Whether the lines are as they were written."""
        digest = xxhash.xxh3_128()
        try:
            with self.path("rows").open("rb", buffering=0) as file:
                while block := file.read(1 << 22):
                    digest.update(block)
        except FileNotFoundError:
            return False
        return digest.hexdigest() == summary.digest

    def index(self) -> Index:
        """The index of its lines, to be asked for ranges of chunks."""
        path = self.path("index")
        size = path.stat().st_size
        return Index(np.fromfile(path, np.uint8) if size <= _SMALL else np.memmap(path, np.uint8, "r", shape=(size,)))


@dataclass(frozen=True, slots=True)
class Index:
    """Where the lines of each chunk lie: of each section its chunks, numbers of lines, and offsets."""

    data: NDArray[np.uint8]

    def segments(self, section: Section, low: int, high: int) -> Segments:
        """The segments of chunks from `low` to below `high`."""
        n, at = section.segments, section.at
        chunk = self._column(np.int32, at, n)
        first, last = np.searchsorted(chunk, [low, high]).tolist()
        rows = self._column(np.int32, at + 4 * n, n)[first:last]
        return Segments(chunk[first:last], self._column(np.int64, at + 8 * n, n + 1)[first : last + 1], rows)

    def chunks(self, section: Section) -> tuple[NDArray[np.int32], Ints]:
        """All chunks of a section, and the bytes of each."""
        n, at = section.segments, section.at
        return self._column(np.int32, at, n), np.diff(self._column(np.int64, at + 8 * n, n + 1))

    def _column(self, kind: Any, at: int, count: int) -> NDArray[Any]:
        return self.data[at : at + count * np.dtype(kind).itemsize].view(kind)


@dataclass(slots=True)
class PartWriter:
    """Writes a part; a context manager that leaves nothing behind where it ends early."""

    part: Part
    source: int
    _files: dict[str, BinaryIO] = field(default_factory=dict)
    _digest: Any = field(default_factory=xxhash.xxh3_128)
    _sections: list[Section] = field(default_factory=list)
    _ids: list[object_index.Rows] = field(default_factory=list)
    _rejected: dict[str, int] = field(default_factory=dict)
    _rows: int = 0
    _bytes: int = 0
    _index: int = 0

    def __enter__(self) -> PartWriter:
        self.part.path("rows").parent.mkdir(parents=True, exist_ok=True)
        self.part.path("json").unlink(missing_ok=True)
        for kind in ("rows", "index", "rejects"):
            self._files[kind] = self.part.path(kind).open("wb", buffering=0)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for file in self._files.values():
            file.close()
        if kind is not None:
            for name in ("rows", "index", "ids", "rejects"):
                self.part.path(name).unlink(missing_ok=True)

    def add(self, lines: Lines, places: Places, *, overlap: bool) -> None:
        """Lines in order of their chunks."""
        if not len(places.row):
            return
        first = np.concatenate(([0], np.flatnonzero(np.diff(places.chunk)) + 1))
        rows = np.diff(np.append(first, len(places.row)))
        offset = np.append(lines.starts[first], lines.starts[-1]) + self._bytes
        columns = (places.chunk[first], rows.astype(np.int32), offset)
        _write(self._files["index"], b"".join(np.ascontiguousarray(each).tobytes() for each in columns))
        _write(self._files["rows"], lines.data.data)
        self._digest.update(lines.data.data)
        self._sections.append(Section(overlap, len(first), self._index))
        self._index += 16 * len(first) + 8
        self._bytes += len(lines.data)

    def add_ids(self, rows: object_index.Rows) -> None:
        """Rows of a director for its index."""
        self._ids.append(rows)

    def reject(self, reasons: Sequence[str], rows: Sequence[int], shown: Sequence[str]) -> None:
        """Rows of a batch that go nowhere."""
        for reason in reasons:
            self._rejected[reason] = self._rejected.get(reason, 0) + 1
        lines = (json.dumps([reason, row + self._rows, text]) for reason, row, text in zip(reasons, rows, shown))
        _write(self._files["rejects"], "".join(f"{line}\n" for line in lines).encode())

    def count(self, rows: int) -> None:
        """Rows that were read, once a batch is done."""
        self._rows += rows

    def finish(self) -> Summary:
        """Close the part: its summary makes it whole."""
        samples: Sequence[int] = ()
        if self._ids:
            ids = object_index.in_order(object_index.Rows.joined(self._ids))
            object_index.write(ids, self.part.path("ids"))
            samples = ids.ids[:: max(1, len(ids.ids) // 256)].tolist()
        summary = Summary(
            self.part.number, self.source, self._rows, self._rejected, self._bytes, self._digest.hexdigest(),
            tuple(self._sections), tuple(samples),
        )  # fmt: skip
        new = self.part.path("json.new")
        new.write_text(json.dumps(asdict(summary)), encoding="utf-8")
        new.replace(self.part.path("json"))
        return summary


def _write(file: BinaryIO, data: Any) -> None:
    """Write all of it: an unbuffered file may take less at once."""
    view = memoryview(data).cast("B")
    while len(view):
        view = view[os.write(file.fileno(), view[:_AT_ONCE]) :]
