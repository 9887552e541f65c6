"""The segments that lie in a store, without a database: which files belong together, and how far they are intact."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from xxhash import xxh3_128, xxh3_128_hexdigest

from stream.audit.blocks import DataFile, Head
from stream.audit.catalogue import Part
from stream.audit.files import Absent, File, Files, Unreadable
from stream.audit.indexes import open_batches, read_index
from stream.audit.notes import Damaged, Note

_NUMBER = re.compile(r"/(\d+)-")


@dataclass(frozen=True, slots=True)
class FoundSegment:
    """One segment: its two files, and its intact batches.

    Attributes
    ----------
    file_number
        The number in the files' names: the segment's own, or that of a copy.
    sealed
        Whether the index is the sealed one.
    data_size, index_size
        Bytes of the files.
    digest
        xxh3-128 of the data file, where its batches are intact to its end; else None.
    """

    head: Head
    file_number: int
    data_name: str
    index_name: str
    sealed: bool
    parts: tuple[Part, ...]
    data_size: int
    index_size: int
    digest: bytes | None

    @property
    def owner(self) -> str:
        """The daemon of its first commit."""
        return self.parts[0].note.daemon if self.parts else ""


@dataclass(slots=True)
class Lying:
    """What lies in a store.

    Attributes
    ----------
    segments
        By number the best of its files: those with the most intact batches, sealed ones first.
    retired
        Numbers of segments that left a marker.
    damaged
        What is wrong with files, in words.
    """

    segments: dict[int, FoundSegment] = field(default_factory=dict)
    retired: set[int] = field(default_factory=set)
    damaged: list[str] = field(default_factory=list)


def look(files: Files, appends: bool) -> Lying:
    """Read every file of a store and hold it against its digests.

    Parameters
    ----------
    appends
        Whether segments are appended to: then a sealed one has published bytes alone. Where they are put, any may be
        one that never was.
    """
    lying = Lying()
    by_number: defaultdict[int, list[str]] = defaultdict(list)
    for name in files.names():
        number = int(_NUMBER.findall(name)[0])
        if name.endswith(".retired"):
            lying.retired.add(number)
        else:
            by_number[number].append(name)
    for number, names in sorted(by_number.items()):
        for found in _pairs(files, number, names, appends, lying):
            before = lying.segments.get(found.head.number)
            if before is None or (len(found.parts), found.sealed) > (len(before.parts), before.sealed):
                lying.segments[found.head.number] = found
    return lying


def _pairs(files: Files, number: int, names: list[str], appends: bool, lying: Lying) -> Iterator[FoundSegment]:
    indexes = [name for name in names if not name.endswith(".avro")]
    for data in (name for name in names if name.endswith(".avro")):
        for index in indexes:
            try:
                yield _pair(files, number, data, index, appends, lying)
            except Damaged as error:
                lying.damaged.append(f"{data}: {error}")
            except (Absent, Unreadable) as error:
                lying.damaged.append(f"{data}, {index}: {error!r}")
        if not indexes:
            lying.damaged.append(f"{data}: there is no index beside it")


def _pair(files: Files, number: int, data_name: str, index_name: str, appends: bool, lying: Lying) -> FoundSegment:
    sealed = index_name.endswith(".parquet")
    data, index = files.open(data_name), files.open(index_name)
    try:
        source = DataFile(data, data.size)
        running = xxh3_128(data.read(0, source.head.length))
        parts = list(_parts(source.head, data, index, index_name, lying, running))
        whole = bytes(running.digest()) if parts and parts[-1].data_end == data.size else None
        sizes = (data.size, index.size)
    finally:
        data.close()
        index.close()
    sure = [sealed and appends] * len(parts)
    if not sealed:
        # The next append writes over what was not published: only the last batch of an open segment may be such.
        sure = [True] * (len(parts) - 1) + [False] * bool(parts)
    marked = tuple(replace(part, sure=certain) for part, certain in zip(parts, sure, strict=True))
    return FoundSegment(source.head, number, data_name, index_name, sealed, marked, *sizes, whole)


def _parts(head: Head, data: File, index: File, index_name: str, lying: Lying, running: Any) -> Iterator[Part]:
    at, ordinal = head.length, -1
    try:
        for rows, note, index_end in _batches(index, index_name):
            ordinal += 1
            if note.start != at or note.end > data.size:
                return
            at = note.end
            piece = data.read(note.start, note.end - note.start)
            running.update(piece)
            if xxh3_128_hexdigest(piece) != note.digest:
                lying.damaged.append(f"{index_name}: the bytes of commit {note.commit} do not have their digest")
                continue
            messages = sum(part == 0 for part in rows["part"].to_pylist())
            aside = messages if head.kind == "quarantine" else 0
            yield Part(note, head.number, ordinal, messages, aside, False, note.end, index_end)
    except Damaged as error:
        if index_name.endswith(".parquet"):
            lying.damaged.append(f"{index_name}: {error}")


def _batches(index: File, name: str) -> Iterator[tuple[Any, Note, int]]:
    if name.endswith(".parquet"):
        for rows, note in read_index(name, index, index.size):
            yield rows, note, index.size
    else:
        yield from open_batches(index, index.size)
