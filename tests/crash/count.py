"""An independent count: what the broker acknowledged against what files and tables hold.

It shares no code with what wrote them: SQL by PyMySQL, index files by pyarrow, segments by fastavro's block reader.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

Place = tuple[int, int]
Rows = list[dict[str, Any]]


@dataclass(slots=True)
class Count:
    """What was found.

    Attributes
    ----------
    kept, quarantined, tombstones
        Acknowledged records by where they are.
    missing, doubled
        Acknowledged records that are nowhere, and those that are published more than once.
    wrong
        Whatever else does not fit, in words.
    """

    kept: int = 0
    quarantined: int = 0
    tombstones: int = 0
    missing: list[Place] = field(default_factory=list)
    doubled: list[Place] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Nothing missing, nothing doubled, nothing else."""
        return not (self.missing or self.doubled or self.wrong)

    def __str__(self) -> str:
        return (
            f"{self.kept} kept, {self.quarantined} in quarantine, {self.tombstones} tombstones; {len(self.missing)} "
            f"missing {self.missing[:5]}, {len(self.doubled)} doubled {self.doubled[:5]}, wrong: {self.wrong[:5]}"
        )


@dataclass(frozen=True, slots=True)
class _Packet:
    """One record as a segment holds it; `at` is where: segment, block, slot."""

    place: Place
    sha: bytes
    source: int | None
    at: tuple[int, int, int]


def count(cursor: Any, alertdb: Path, acknowledged: Mapping[Place, bytes | None]) -> Count:
    """Count one topic's records in the database behind `cursor` (rows as dictionaries) and the folder `alertdb`."""
    found = Count()
    packets: dict[bool, defaultdict[Place, list[_Packet]]] = {False: defaultdict(list), True: defaultdict(list)}
    for row in _rows(cursor, "SELECT * FROM segments WHERE state IN ('open', 'sealed')"):
        aside = row["kind"] == "quarantine"
        try:
            for packet in _packets(alertdb, row, aside):
                packets[aside][packet.place].append(packet)
        except Exception as error:
            found.wrong.append(f"segment {row['segment']} ({row['state']}): {error!r}")
    _records(found, packets[False], packets[True], acknowledged)
    _level1(found, cursor, packets[False])
    _quarantine(found, cursor, packets[True])
    _ledger(found, cursor, acknowledged)
    return found


def _records(
    found: Count,
    kept: Mapping[Place, list[_Packet]],
    aside: Mapping[Place, list[_Packet]],
    acknowledged: Mapping[Place, bytes | None],
) -> None:
    for place, sha in sorted(acknowledged.items()):
        here = [*kept.get(place, ()), *aside.get(place, ())]
        if sha is None:
            found.tombstones += 1
            if here:
                found.wrong.append(f"{place} is a tombstone and is kept")
            continue
        if not here:
            found.missing.append(place)
        if len(here) > 1:
            found.doubled.append(place)
        found.kept += place in kept
        found.quarantined += place in aside
        if any(packet.sha != sha for packet in here):
            found.wrong.append(f"{place} has other bytes")
    for place in sorted({*kept, *aside} - acknowledged.keys()):
        found.wrong.append(f"{place} was never acknowledged")


def _level1(found: Count, cursor: Any, kept: Mapping[Place, list[_Packet]]) -> None:
    """Each packet has one row, in level1 or in level1_repeat, that leads to it."""
    named: Counter[Place] = Counter()
    for name in ("level1", "level1_repeat"):
        columns = "kafkaPartition, kafkaOffset, diaSourceId, segment, blockOffset, slot"
        for row in _rows(cursor, f"SELECT {columns} FROM {name}"):
            place = (row["kafkaPartition"], row["kafkaOffset"])
            named[place] += 1
            at = (row["segment"], row["blockOffset"], row["slot"])
            if not any(p.at == at and p.source == row["diaSourceId"] for p in kept.get(place, ())):
                found.wrong.append(f"the {name} row of {place} does not lead to its packet")
    for place in sorted(kept.keys() | named.keys()):
        if named[place] != 1:
            found.wrong.append(f"{place} has {named[place]} rows")


def _quarantine(found: Count, cursor: Any, aside: Mapping[Place, list[_Packet]]) -> None:
    rows = {(r["kafkaPartition"], r["kafkaOffset"]): r for r in _rows(cursor, "SELECT * FROM quarantine")}
    for place in sorted(rows.keys() ^ aside.keys()):
        found.wrong.append(f"{place} is in quarantine's table or in its segments, not in both")
    for place, row in rows.items():
        at = (row["segment"], row["blockOffset"], row["slot"])
        if any(packet.at != at for packet in aside.get(place, ())):
            found.wrong.append(f"the quarantine row of {place} does not lead to it")


def _ledger(found: Count, cursor: Any, acknowledged: Mapping[Place, bytes | None]) -> None:
    """The commits' ranges tile each partition from its start to the ledger's place, which is the log's end."""
    ranges: defaultdict[int, Rows] = defaultdict(list)
    for row in _rows(cursor, "SELECT * FROM commit_ranges ORDER BY kafkaPartition, startOffset, endOffset"):
        ranges[row["kafkaPartition"]].append(row)
    ends = {row["kafkaPartition"]: row["next"] for row in _rows(cursor, "SELECT * FROM ledger")}
    for partition in sorted({place[0] for place in acknowledged}):
        offsets = [offset for number, offset in acknowledged if number == partition]
        at = 0
        for row in ranges[partition]:
            if row["startOffset"] != at:
                kind = "overlap" if row["startOffset"] < at else "gap"
                found.wrong.append(f"partition {partition}: {kind} at {at}, a commit begins at {row['startOffset']}")
            at = max(at, row["endOffset"])
        if ends.get(partition) != at or at != max(offsets) + 1:
            place = f"the ledger is at {ends.get(partition)}, commits end at {at}, the log at {max(offsets) + 1}"
            found.wrong.append(f"partition {partition}: {place}")
        records = sum(row["records"] + row["tombstones"] for row in ranges[partition])
        if records != len(offsets):
            found.wrong.append(f"partition {partition}: commits count {records} records of {len(offsets)}")


def _packets(alertdb: Path, row: Mapping[str, Any], aside: bool) -> Iterator[_Packet]:
    blocks = _blocks(alertdb / row["dataName"], row["dataLength"])
    for entry in _index(alertdb / row["indexName"], row["indexLength"]):
        datum, record = blocks[entry["blockOffset"]][entry["slot"]]
        value = record["value"] if aside else entry["head"] + datum + entry["tail"]
        yield _Packet(
            (entry["partition"], entry["offset"]),
            hashlib.sha256(value).digest(),
            None if aside else record["diaSource"]["diaSourceId"],
            (row["segment"], entry["blockOffset"], entry["slot"]),
        )


def _blocks(path: Path, length: int) -> dict[int, list[tuple[bytes, Any]]]:
    """The datums of a segment's published bytes, with what fastavro reads of them, by the byte of their block."""
    data = path.read_bytes()[:length]
    if len(data) != length:
        raise ValueError(f"{path.name} has {len(data)} bytes, {length} are published")
    found = {}
    reader = fastavro.block_reader(io.BytesIO(data))
    for block in reader:
        source, items = io.BytesIO(block.bytes_.getvalue()), []
        for _ in range(block.num_records):
            start = source.tell()
            record = fastavro.schemaless_reader(source, reader.writer_schema, None)
            items.append((source.getbuffer()[start : source.tell()].tobytes(), record))
        found[block.offset] = items
    return found


def _index(path: Path, length: int) -> Rows:
    data = path.read_bytes()[:length]
    if len(data) != length:
        raise ValueError(f"{path.name} has {len(data)} bytes, {length} are published")
    names = ["partition", "offset", "head", "tail", "blockOffset", "slot"]
    if path.suffix == ".parquet":
        table = pq.read_table(pa.BufferReader(data), columns=names)
    else:
        table = pa.ipc.open_stream(data).read_all().select(names)
    rows: Rows = table.to_pylist()
    return rows


def _rows(cursor: Any, query: str) -> Rows:
    cursor.execute(query)
    rows: Rows = list(cursor.fetchall())
    return rows
