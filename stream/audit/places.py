"""What lies at a place: asked only where a table says something that the files did not confirm."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field

from stream.audit.files import Absent, Files, Unreadable
from stream.audit.indexes import read_index
from stream.audit.notes import Damaged
from stream.audit.seen import Record
from stream.audit.stored import GONE, Row, Stored

_KEPT = 4
_TRIES = 5
Lies = tuple[Record, int | None]
"""RecordId and diaSourceId of an index row."""


@dataclass(slots=True)
class Lying:
    """What is published in a segment.

    Attributes
    ----------
    rows
        By block offset and slot what lies there.
    commits
        Those that have a part in it.
    """

    rows: dict[tuple[int, int], list[Lies]] = field(default_factory=lambda: defaultdict(list))
    commits: set[int] = field(default_factory=set)

    def has(self, record: Record) -> bool:
        """Whether a record lies anywhere in it."""
        return any(record == each for rows in self.rows.values() for each, _ in rows)


@dataclass(slots=True)
class Places:
    """Looks places up in segments' indexes; the segments asked for last are kept."""

    files: Files
    stored: Stored
    _known: OrderedDict[tuple[int, int], Lying] = field(default_factory=OrderedDict)

    def at(self, segment: int, block: int, slot: int) -> list[Lies]:
        """What is published at a place now; nothing where nothing is."""
        return self.of(segment).rows.get((block, slot), [])

    def of(self, segment: int) -> Lying:
        """What is published in a segment now: its row is read again, and its index where that has grown."""
        for _ in range(_TRIES):
            row = self.stored.segment(segment)
            if row is None or row.indexName is None or row.state in GONE:
                break
            key = (segment, row.indexLength)
            try:
                if key not in self._known:
                    self._known[key] = self._read(row)
                    if len(self._known) > _KEPT:
                        self._known.popitem(last=False)
                return self._known[key]
            except Absent:  # it may just have been sealed or moved: the row is read again
                continue
        return Lying()

    def _read(self, row: Row) -> Lying:
        found = Lying()
        try:
            file = self.files.open(row.indexName)
        except Unreadable:
            return found
        try:
            for rows, note in read_index(row.indexName, file, row.indexLength):
                found.commits.add(note.commit)
                names = ("stream", "partition", "offset", "diaSourceId", "blockOffset", "slot")
                for stream, partition, offset, number, block, slot in zip(*(rows[name].to_pylist() for name in names)):
                    found.rows[block, slot].append(((stream, partition, offset), number))
        except (Damaged, Unreadable):
            return found
        finally:
            file.close()
        return found
