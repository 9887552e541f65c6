"""What a piece leaves behind: its lines by chunk, what is wanted to find them, and what was rejected.

A part is some files of one name. The one with its summary, ``.json``, comes last and at once, so that a part that has
it is whole; this is the journal of finished pieces. The lines lie in slices, files of some chunks each, of which the
first can be removed while the last are still wanted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from consumers.release.partition import object_index
from consumers.release.partition.blocks import write_all
from consumers.release.partition.writing import Lines, Places

Ints = NDArray[np.int64]
SLICES = 8
"""Of a part, at most."""
_LOWEST, _HIGHEST = -(1 << 31), 1 << 31
_LOOKED = 1 << 22
_SMALL = 1 << 20
"""Bytes of an index that is read whole; of a larger one only what is looked at."""


@dataclass(frozen=True, slots=True)
class Section:
    """Lines of one batch, main or overlap, in order of chunk; `segments` of them begin at byte `at` of the index."""

    overlap: bool
    segments: int
    at: int


@dataclass(frozen=True, slots=True)
class Slice:
    """The lines of chunks from `low` to below `high`, in a file of their own.

    Parameters
    ----------
    bytes, digest
        Of the file (XXH3, 128 bits, hex).
    sections
        In the order of the lines.
    """

    low: int
    high: int
    bytes: int
    digest: str
    sections: tuple[Section, ...] = ()

    def meets(self, low: int, high: int) -> bool:
        """Whether it may have lines of chunks from `low` to below `high`."""
        return self.low < high and low < self.high

    @classmethod
    def of(cls, told: dict[str, Any]) -> Slice:
        """A slice out of its JSON."""
        return cls(**told | {"sections": tuple(Section(**each) for each in told["sections"])})


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
    slices
        In order of chunk.
    samples
        Some of its ids, evenly, where it has an index of them.
    """

    piece: int
    source: int
    rows: int
    rejected: dict[str, int]
    slices: tuple[Slice, ...] = ()
    samples: tuple[int, ...] = ()

    @property
    def sections(self) -> Iterator[Section]:
        """Those of all slices."""
        for each in self.slices:
            yield from each.sections

    @classmethod
    def of(cls, told: dict[str, Any]) -> Summary:
        """A summary out of its JSON."""
        slices = tuple(Slice.of(each) for each in told["slices"])
        return cls(**told | {"slices": slices, "samples": tuple(told["samples"])})


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
        """The file that holds ``index``, ``ids``, ``rejects`` or the summary, ``json``."""
        return self.folder / f"{self.number // 1000:06d}" / f"{self.number:09d}.{kind}"

    def lines(self, number: int) -> Path:
        """The file that holds a slice's lines."""
        return self.path(f"rows{number}")

    def summary(self) -> Summary | None:
        """The summary where the part is whole."""
        try:
            told = json.loads(self.path("json").read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return Summary.of(told)

    def is_sound(self, summary: Summary, wanted: Callable[[Slice], bool]) -> bool:
        """Whether the lines of the slices that are wanted are as they were written."""
        slices = enumerate(summary.slices)
        return all(self._digest(number) == each.digest for number, each in slices if wanted(each))

    def _digest(self, number: int) -> str:
        digest = xxhash.xxh3_128()
        try:
            with self.lines(number).open("rb", buffering=0) as file:
                while block := file.read(_LOOKED):
                    digest.update(block)
        except FileNotFoundError:
            return ""
        return digest.hexdigest()

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
class _SliceWriter:
    """The file of a slice, and what was written to it."""

    low: int
    high: int
    file: BinaryIO
    digest: Any = field(default_factory=xxhash.xxh3_128)
    sections: list[Section] = field(default_factory=list)
    bytes: int = 0

    def add(self, data: NDArray[np.uint8], section: Section) -> None:
        write_all(self.file, data.data)
        self.digest.update(data.data)
        self.sections.append(section)
        self.bytes += len(data)

    def done(self) -> Slice:
        return Slice(self.low, self.high, self.bytes, self.digest.hexdigest(), tuple(self.sections))


@dataclass(slots=True)
class PartWriter:
    """Writes a part; a context manager that leaves nothing behind where it ends early."""

    part: Part
    source: int
    _files: dict[str, BinaryIO] = field(default_factory=dict)
    _slices: list[_SliceWriter] = field(default_factory=list)
    _ids: list[object_index.Rows] = field(default_factory=list)
    _rejected: dict[str, int] = field(default_factory=dict)
    _rows: int = 0
    _index: int = 0

    def __enter__(self) -> PartWriter:
        self.part.path("json").parent.mkdir(parents=True, exist_ok=True)
        self.part.path("json").unlink(missing_ok=True)
        for kind in ("index", "rejects"):
            self._files[kind] = self.part.path(kind).open("wb", buffering=0)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for file in (*self._files.values(), *(each.file for each in self._slices)):
            file.close()
        if kind is not None:
            for name in ("index", "ids", "rejects"):
                self.part.path(name).unlink(missing_ok=True)
            for number in range(len(self._slices)):
                self.part.lines(number).unlink(missing_ok=True)

    def add(self, lines: Lines, places: Places, *, overlap: bool) -> None:
        """Lines in order of their chunks."""
        if not len(places.row):
            return
        first = np.concatenate(([0], np.flatnonzero(np.diff(places.chunk)) + 1))
        ends = np.append(first, len(places.row))
        chunk, rows, offset = places.chunk[first], np.diff(ends).astype(np.int32), lines.starts[ends]
        if not self._slices:
            self._begin(chunk, offset)
        for each in self._slices:
            low, high = np.searchsorted(chunk, [each.low, each.high]).tolist()
            if low == high:
                continue
            begin, end = offset[[low, high]].tolist()
            columns = (chunk[low:high], rows[low:high], offset[low : high + 1] - begin + each.bytes)
            write_all(self._files["index"], b"".join(np.ascontiguousarray(column).tobytes() for column in columns))
            each.add(lines.data[begin:end], Section(overlap, high - low, self._index))
            self._index += 16 * (high - low) + 8

    def _begin(self, chunk: NDArray[np.int32], offset: Ints) -> None:
        """Cut the sky into slices that have as many bytes of the first lines each."""
        even = np.searchsorted(offset, np.linspace(0, int(offset[-1]), SLICES + 1)[1:-1])
        borders = [_LOWEST, *np.unique(chunk[np.minimum(even, len(chunk) - 1)]).tolist(), _HIGHEST]
        for number, (low, high) in enumerate(pairwise(borders)):
            file = self.part.lines(number).open("wb", buffering=0)
            self._slices.append(_SliceWriter(low, high, file))

    def add_ids(self, rows: object_index.Rows) -> None:
        """Rows of a director for its index."""
        self._ids.append(rows)

    def reject(self, reasons: Sequence[str], rows: Sequence[int], shown: Sequence[str]) -> None:
        """Rows of a batch that go nowhere."""
        for reason in reasons:
            self._rejected[reason] = self._rejected.get(reason, 0) + 1
        lines = (json.dumps([reason, row + self._rows, text]) for reason, row, text in zip(reasons, rows, shown))
        write_all(self._files["rejects"], "".join(f"{line}\n" for line in lines).encode())

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
            self.part.number, self.source, self._rows, self._rejected,
            tuple(each.done() for each in self._slices), tuple(samples),
        )  # fmt: skip
        new = self.part.path("json.new")
        new.write_text(json.dumps(asdict(summary)), encoding="utf-8")
        new.replace(self.part.path("json"))
        return summary
