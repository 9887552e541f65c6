"""What lies at a place: asked only where a table says something that the files did not confirm."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field

from stream.audit.files import Absent, Files, Unreadable
from stream.audit.indexes import read_index
from stream.audit.notes import Damaged
from stream.audit.seen import Record
from stream.audit.stored import Row, Stored

_KEPT = 4
Lying = dict[tuple[int, int], list[tuple[Record, int | None]]]
"""(block offset, slot) -> RecordId and diaSourceId of each row there."""


@dataclass(slots=True)
class Places:
    """Looks places up in segments' indexes; the segments asked for last are kept."""

    files: Files
    stored: Stored
    _known: OrderedDict[tuple[int, int], Lying] = field(default_factory=OrderedDict)

    def at(self, segment: int, block: int, slot: int) -> list[tuple[Record, int | None]]:
        """RecordId and diaSourceId of what is published there; nothing where nothing is."""
        row = self.stored.segment(segment)
        if row is None or row.dataName is None:
            return []
        key = (segment, row.indexLength)
        if key not in self._known:
            self._known[key] = self._read(row)
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return self._known[key].get((block, slot), [])

    def _read(self, row: Row) -> Lying:
        found: Lying = defaultdict(list)
        try:
            file = self.files.open(row.indexName)
        except Absent:
            return found
        try:
            for rows, _ in read_index(row.indexName, file, row.indexLength):
                names = ("stream", "partition", "offset", "diaSourceId", "blockOffset", "slot")
                for stream, partition, offset, number, block, slot in zip(*(rows[name].to_pylist() for name in names)):
                    found[block, slot].append(((stream, partition, offset), number))
        except (Damaged, Unreadable):
            return found
        finally:
            file.close()
        return found
