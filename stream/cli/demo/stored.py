"""What the demo finds in the stores afterwards: counts, sizes, Kafka's timestamps, and the packets themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from stream.alertdb.port import SegmentStore
from stream.alertdb.segment import SegmentRef
from stream.alertdb.store import open_store
from stream.level1.archive import AlertArchive
from stream.tables.engine import open_reader
from stream.tables.model import table
from stream.tables.trouble import translated

SHOWN = ("diaSourceId", "visit", "detector", "band", "midpointMjdTai", "ra", "dec", "psfFlux", "snr", "chunk")


@dataclass(frozen=True, slots=True)
class Stamps:
    """Of every message kept: partition, offset, and Kafka's timestamp in milliseconds since 1970-01-01 UTC."""

    partition: NDArray[np.int64]
    offset: NDArray[np.int64]
    ms: NDArray[np.int64]


class Stored:
    """The demo's Level-1 and AlertDB, read by the ways that notebooks read them; a context manager by `opened`."""

    def __init__(self, level1: str, alertdb: Path) -> None:
        self._level1, self._alertdb = level1, alertdb
        self._engine = open_reader(level1)
        self._store: SegmentStore = open_store(str(alertdb))

    @classmethod
    @contextmanager
    def opened(cls, level1: str, alertdb: Path) -> Iterator[Stored]:
        """The stores, let go of at the end of the block."""
        stored = cls(level1, alertdb)
        try:
            yield stored
        finally:
            stored._engine.dispose()

    def counts(self) -> dict[str, int]:
        """Packets by what came of them: new, repeated, conflict, quarantined."""
        repeats = table("level1_repeat")
        kinds = sa.select(repeats.c.kind, sa.func.count()).group_by(repeats.c.kind)
        with translated(), self._engine.connect() as conn:
            found = {str(row[0]): int(row[1]) for row in conn.execute(kinds).all()}
            for name, of in (("new", "level1"), ("quarantined", "quarantine")):
                found[name] = int(conn.execute(sa.select(sa.func.count()).select_from(table(of))).scalar_one())
        return {name: found.get(name, 0) for name in ("new", "repeated", "conflict", "quarantined")}

    def stamps(self) -> Stamps:
        """When Kafka got each message."""
        columns = ("partition", "offset", "timestamp")
        parts: list[list[NDArray[np.int64]]] = []
        for ref in self._segments():
            with self._store.read(ref) as reader:
                rows = reader.table(columns)
                parts.append([rows[name].cast("int64").to_numpy() for name in columns])
        return Stamps(*(np.concatenate(each) for each in zip(*parts)))

    def first(self) -> dict[str, Any]:
        """The columns `SHOWN` of the Level-1 row that came first."""
        level1 = table("level1").c
        query = sa.select(*(level1[name] for name in SHOWN)).order_by(level1.kafkaOffset, level1.kafkaPartition)
        with translated(), self._engine.connect() as conn:
            return dict(conn.execute(query.limit(1)).one()._mapping)

    def message(self, source: int) -> bytes:
        """The message of diaSourceId `source`, as it came."""
        with AlertArchive(self._level1, str(self._alertdb)) as archive:
            return archive.message(source).value

    def lacking(self, wanted: Collection[bytes]) -> int:
        """How many of these messages are not kept byte for byte."""
        left = set(wanted)
        for ref in self._segments():
            with self._store.read(ref) as reader:
                left -= {bytes(message.value or b"") for message in reader.messages() if left}
        return len(left)

    def bytes_on_disk(self) -> int:
        """Bytes of all files of the AlertDB: packets and their index."""
        return sum(path.stat().st_size for path in self._alertdb.rglob("*") if path.is_file())

    def _segments(self) -> list[SegmentRef]:
        rows = table("segments").c
        query = sa.select(rows.segment, rows.dataName, rows.indexName, rows.dataLength, rows.indexLength)
        with translated(), self._engine.connect() as conn:
            found = conn.execute(query.where(rows.dataName.is_not(None), rows.copyOf.is_(None))).all()
        return [SegmentRef(*row) for row in found]
