"""The segments that lie in a store, without a database: which files belong together, and how far they are intact."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from xxhash import xxh3_128, xxh3_128_hexdigest

from stream.alert import Stream
from stream.audit.blocks import DataFile, Head
from stream.audit.catalogue import Catalogue, Part
from stream.audit.files import Absent, File, Files, Unreadable
from stream.audit.indexes import check_rows, open_batches, read_index
from stream.audit.notes import Damaged, Note
from stream.audit.schema import check_schema

_NUMBER = re.compile(r"/(\d+)-")
UNSURE = 2
"""Commits at the end of a segment that may not be published, unless its owner sealed it."""

_START = re.compile(rb'"data":\[(\d+),')


@dataclass(slots=True)
class Gist:
    """What the intact batches of a segment say together: its size does not grow with their number.

    Attributes
    ----------
    batches
        How many there are.
    owner, survey
        The daemon and the survey's number, as the first says.
    at, survey_digest, data_end
        The instant of the append, the survey file's digest, and the byte of the data file behind it, as the last says.
    told_end
        The byte at which the data file ends, as a sealed index says that could be read to its end; 0 for none.
    survey_digests, streams
        What any of them says; of a stream what is said last.
    """

    batches: int = 0
    owner: str = ""
    survey: int = 0
    at: float = 0.0
    survey_digest: str = ""
    data_end: int = 0
    told_end: int = 0
    survey_digests: set[str] = field(default_factory=set)
    streams: dict[int, Stream] = field(default_factory=dict)

    def of(self, parts: Iterable[Part]) -> Iterator[Part]:
        """Pass on batches, and take note of each."""
        for part in parts:
            note = part.note
            if not self.batches:
                self.owner, self.survey = note.daemon, note.survey
            self.batches += 1
            self.at, self.survey_digest, self.data_end = note.at, note.survey_digest, part.data_end
            self.survey_digests.add(note.survey_digest)
            self.streams |= note.streams
            yield part


@dataclass(frozen=True, slots=True)
class FoundSegment:
    """One segment: its two files, and what its intact batches say; the batches themselves are in a catalogue.

    Attributes
    ----------
    head
        Its header, without the schema's text and the prefix of messages: they are long.
    file_number
        The number in the files' names: the segment's own, or that of a copy.
    sealed
        Whether the index is the sealed one.
    lot
        Under which number the catalogue has its batches.
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
    gist: Gist
    lot: int
    data_size: int
    index_size: int
    digest: bytes | None


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


def look(files: Files, appends: bool, catalogue: Catalogue) -> Lying:
    """Read every file of a store and hold it against its digests.

    The batches go to the catalogue while they are read, so that memory does not grow with their number.

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
        for found in _pairs(files, number, names, appends, catalogue, lying):
            _weigh(found, catalogue, lying)
    named = lying.segments.keys() | lying.retired
    for number, names in by_number.items():
        if number not in named and not any(name.endswith(".avro") for name in names):
            lying.damaged += [f"{name}: there is no data file beside it" for name in names]
    return lying


def _weigh(found: FoundSegment, catalogue: Catalogue, lying: Lying) -> None:
    """Keep a segment's files unless others of it, found before, have as much."""
    number = found.head.number
    before = lying.segments.get(number)
    if before is None:
        lying.segments[number] = found
    elif (found.gist.batches, found.sealed) > (before.gist.batches, before.sealed):
        catalogue.replace(before.lot, found.lot)
        lying.segments[number] = replace(found, lot=before.lot)
    else:
        catalogue.drop(found.lot)


def _pairs(
    files: Files, number: int, names: list[str], appends: bool, catalogue: Catalogue, lying: Lying
) -> Iterator[FoundSegment]:
    indexes = [name for name in names if not name.endswith(".avro")]
    for data in (name for name in names if name.endswith(".avro")):
        for index in indexes:
            try:
                yield _pair(files, number, (data, index), appends, catalogue, lying)
            except Damaged as error:
                lying.damaged.append(f"{data}: {error}")
            except (Absent, Unreadable) as error:
                lying.damaged.append(f"{data}, {index}: {error!r}")
        if not indexes:
            lying.damaged.append(f"{data}: there is no index beside it")


def _pair(
    files: Files, number: int, names: tuple[str, str], appends: bool, catalogue: Catalogue, lying: Lying
) -> FoundSegment:
    sealed = names[1].endswith(".parquet")
    data, index = files.open(names[0]), files.open(names[1])
    gist = Gist()
    try:
        source = DataFile(data, data.size)
        check_schema(source.head.kind, source.head.schema, source.head.fingerprint)
        running = xxh3_128(data.read(0, source.head.length))
        parts = _parts(source.head, data, index, names[1], lying, running, gist)
        lot = catalogue.add(gist.of(_marked(parts, sealed and number == source.head.number, appends)))
        size = min(data.size, gist.told_end or data.size)
        if size < data.size:
            lying.damaged.append(f"{names[0]}: {data.size - size} bytes lie behind its last commit, and are left out")
        whole = bytes(running.digest()) if gist.batches and gist.data_end == size else None
        sizes = (size, index.size)
    finally:
        data.close()
        index.close()
    head = replace(source.head, prefix=b"", schema="")
    return FoundSegment(head, number, *names, sealed, gist, lot, *sizes, whole)


def _marked(parts: Iterable[Part], by_owner: bool, appends: bool) -> Iterator[Part]:
    """Mark those that were published for certain: all of a segment that its owner sealed.

    Of others all but the last two: one whose transaction was under way, and one written ahead behind it. The next
    append writes over what was not published. A copy that a rebuild made may hold one that it did not take, before one
    that it took.
    """
    waiting: deque[Part] = deque()
    for part in parts:
        waiting.append(part)
        if by_owner or len(waiting) > UNSURE:
            yield replace(waiting.popleft(), sure=appends)
    for part in waiting:
        yield replace(part, sure=False)


def _parts(
    head: Head, data: File, index: File, index_name: str, lying: Lying, running: Any, gist: Gist
) -> Iterator[Part]:
    at, ordinal, index_end = head.length, -1, 0
    sealed = index_name.endswith(".parquet")
    try:
        for rows, note, behind in _batches(index, index_name):
            ordinal += 1
            if note.start != at or note.end > data.size:
                if not sealed:
                    break
                text = f"commit {note.commit} has the bytes {note.start} to {note.end}, and lies behind byte {at}"
                raise Damaged(f"{text} of a data file of {data.size}")
            at, index_end = note.end, behind
            piece = data.read(note.start, note.end - note.start)
            running.update(piece)
            if xxh3_128_hexdigest(piece) != note.digest:
                lying.damaged.append(f"{index_name}: the bytes of commit {note.commit} do not have their digest")
                continue
            messages = sum(part == 0 for part in rows["part"].to_pylist())
            aside = messages if head.kind == "quarantine" else 0
            yield Part(note, head.number, ordinal, messages, aside, False, note.end, behind)
        gist.told_end = at if sealed else 0
    except Damaged as error:
        lying.damaged.append(f"{index_name}: {error}")
    if not sealed and _later(index.read(index_end, index.size - index_end), at):
        text = f"it cannot be read behind byte {index_end}, and the commits that lie there are left out"
        lying.damaged.append(f"{index_name}: {text}")


def _later(rest: bytes, at: int) -> bool:
    """Whether what follows the last batch that can be read has a commit behind the next one.

    The next one may never have been published, and what lies behind it may be left of one that was written over: that
    began no later. What was written ahead goes before that which it lay behind is written over.
    """
    return any(int(start) > at for start in _START.findall(rest))


def _batches(index: File, name: str) -> Iterator[tuple[Any, Note, int]]:
    if name.endswith(".parquet"):
        for rows, note in read_index(name, index, index.size):
            yield rows, note, index.size
    else:
        for rows, note, index_end in open_batches(index, index.size):
            check_rows(rows, note)
            yield rows, note, index_end
