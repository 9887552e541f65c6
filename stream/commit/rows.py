"""Steps 3c and 3d: Level-1 rows, which of them are new, repeated or in conflict, and what each visit got."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from stream.alert import Level1Column
from stream.commit.batch import UNATTRIBUTED, Batch, Quarantined, SegmentWork
from stream.commit.redrive import Lifted
from stream.commit.segments import Written
from stream.level1.inserts import inserts
from stream.level1.packed import Cells
from stream.level1.rows import Ready, Values, ready
from stream.level1.write import Foreign, Verdict, execute, foreign_rows, insert_new, insert_rows, judge
from stream.tables.model import table

_QUARANTINED = len(Verdict)
_COUNTED = ("new", "repeated", "conflicts", "quarantined")
"""The counts of a visit's part: in the order of `Verdict`, and `_QUARANTINED` behind them."""
_KINDS = {Verdict.REPEATED: "repeated", Verdict.CONFLICT: "conflict"}

Place = tuple[int, int, int]
"""Where a packet lies: segment, block offset, slot."""


@dataclass(frozen=True, slots=True)
class Alerts:
    """All alerts of a commit, with where each packet lies: columns by name, ready to be inserted."""

    columns: Mapping[str, Values]
    part: NDArray[np.int64]
    timestamp: NDArray[np.int64]
    ready: Ready

    @classmethod
    def of(cls, written: Sequence[Written], commit: int, dialect: str, max_bytes: int) -> Alerts | None:
        """Put the alerts of all segments together; None where the commit has none. CPU work: call it from a thread."""
        items = [item for item in written if item.work.level1]
        if not items:
            return None
        columns = _joined([item.work for item in items])
        columns["segment"] = np.concatenate([np.full(len(i.work), i.mine.number, np.int64) for i in items])
        columns["blockOffset"] = np.concatenate([i.work.placed.block_offset + i.appended.base for i in items])
        columns["slot"] = np.concatenate([i.work.placed.slot for i in items])
        columns["commitId"] = commit
        part = np.concatenate([i.work.part for i in items])
        timestamp = np.concatenate([i.work.timestamp for i in items])
        return cls(columns, part, timestamp, ready(columns, part, dialect=dialect, max_bytes=max_bytes))

    def ints(self, name: str, where_null: int = 0) -> NDArray[np.int64]:
        """One column as ``int64[n]``."""
        column = self.columns[name]
        if isinstance(column, int):
            return np.full(len(self.part), column, np.int64)
        if isinstance(column, Level1Column):
            return np.where(column.null, where_null, column.values.astype(np.int64))
        return column.astype(np.int64)


def level1_columns(batch: Batch) -> tuple[dict[str, Values], NDArray[np.int64]]:
    """Columns and parts of a batch's alerts as they would be written, for trying single rows: places are all 0."""
    works = [work for work in batch.works if work.level1]
    columns: dict[str, Values] = _joined(works)
    columns |= {"segment": 0, "blockOffset": 0, "slot": 0, "commitId": 0}
    return columns, np.concatenate([work.part for work in works])


def _joined(works: Sequence[SegmentWork]) -> dict[str, Values]:
    columns: dict[str, Values] = dict(works[0].level1)
    for name in columns if len(works) > 1 else ():
        pieces = [work.level1[name] for work in works]
        columns[name] = Level1Column(
            np.concatenate([p.values for p in pieces]), np.concatenate([p.null for p in pieces])
        )
    columns["digest"] = np.concatenate([work.placed.digest for work in works])
    return columns


async def write_rows(
    connection: AsyncConnection, alerts: Alerts | None, commit: int, *, strict: bool = False
) -> tuple[NDArray[np.uint8], int]:
    """Step 3c: insert the first packet of each (survey, night, id), and tell new, repeated and conflict apart.

    Where `strict`, no row of these ids may stand, and nothing needs to be read back.

    Returns
    -------
    tuple
        A `Verdict` for each alert, and how many rows of others stand.

    Raises
    ------
    RowStands
        Where `strict`: one does.
    """
    if alerts is None:
        return np.zeros(0, np.uint8), 0
    if strict:
        await insert_new(connection, alerts.ready)
        return judge(alerts.ready, Foreign.of([])), 0
    await insert_rows(connection, alerts.ready)
    found = await foreign_rows(connection, alerts.ready, commit)
    return judge(alerts.ready, found), len(found)


async def write_repeats(
    connection: AsyncConnection, alerts: Alerts | None, verdicts: NDArray[np.uint8], commit: int
) -> None:
    """Step 3d: name every packet that has no Level-1 row of its own."""
    which = np.flatnonzero(verdicts != Verdict.NEW)
    if alerts is None or not len(which):
        return
    names = ("stream", "kafkaPartition", "kafkaOffset", "survey", "night", "diaSourceId", "segment", "blockOffset")
    cells = {name: alerts.ints(name)[which].tolist() for name in (*names, "slot")}
    cells["part"] = alerts.part[which].tolist()
    digests = alerts.ready.keys.digest
    records = [
        {name: values[k] for name, values in cells.items()}
        | {"commitId": commit, "kind": _KINDS[Verdict(verdicts[i])], "digest": digests[i].tobytes()}
        for k, i in enumerate(which.tolist())
    ]
    records.sort(key=lambda r: (r["stream"], r["kafkaPartition"], r["kafkaOffset"], r["part"]))
    await connection.execute(sa.insert(table("level1_repeat")), records)


async def write_quarantine(connection: AsyncConnection, written: Sequence[Written], survey: int, commit: int) -> None:
    """Step 3d: one row for each record that went to quarantine."""
    records: list[tuple[Quarantined, Place]] = []
    for item in written:
        if not item.work.quarantined:
            continue
        placed = item.work.placed
        offsets = (placed.block_offset + item.appended.base).tolist()
        places = [(item.mine.number, *place) for place in zip(offsets, placed.slot.tolist(), strict=True)]
        records += zip(item.work.quarantined, places, strict=True)
    await insert_quarantine(connection, records, survey, commit)


async def insert_quarantine(
    connection: AsyncConnection, records: Sequence[tuple[Quarantined, Place]], survey: int, commit: int
) -> None:
    """Insert held rows of quarantine for records that lie at these places."""
    rows = [
        _quarantine_row(q, survey, commit) | dict(zip(("segment", "blockOffset", "slot"), place))
        for q, place in sorted(records, key=lambda item: item[0].record)
    ]
    if rows:
        await connection.execute(sa.insert(table("quarantine")), rows)


def _quarantine_row(q: Quarantined, survey: int, commit: int) -> dict[str, object]:
    return {
        "stream": q.record.stream,
        "kafkaPartition": q.record.partition,
        "kafkaOffset": q.record.offset,
        "survey": survey,
        "night": q.night,
        "nightFrom": q.night_from,
        "visit": q.visit,
        "detector": q.detector,
        "diaSourceId": q.dia_source_id,
        "code": q.code,
        "reason": q.reason[:1024],
        "bytes": q.size,
        "schemaId": q.schema_id,
        "kafkaTimestamp": q.timestamp,
        "state": "held",
        "commitId": commit,
        "digest": q.digest,
    }


async def write_visit_parts(
    connection: AsyncConnection,
    alerts: Alerts | None,
    verdicts: NDArray[np.uint8],
    quarantined: Sequence[Quarantined],
    lifted: Sequence[Lifted],
    survey: int,
    commit: int,
) -> int:
    """Step 3d: what each (visit, detector) got from this commit; gives the number of rows.

    Nothing is incremented: a visit's count is the sum of its parts. A record that leaves quarantine is counted there by
    an earlier part, which stays: this one has -1 for it, under the same visit, detector and night.
    """
    pieces = [_alert_keys(alerts, verdicts)] if alerts else []
    pieces += [_quarantine_keys(some) for some in (quarantined, lifted) if some]
    if not pieces:
        return 0
    keys, kind, when = (np.concatenate([piece[k] for piece in pieces]) for k in range(3))
    groups, group = _groups(keys)
    counts = np.zeros((len(groups), _QUARANTINED + 1), np.int64)
    weight = np.ones(len(keys), np.int64)
    weight[len(keys) - len(lifted) :] = -1
    np.add.at(counts, (group, kind), weight)
    first, last = np.full(len(groups), np.inf), np.full(len(groups), -np.inf)
    np.minimum.at(first, group, when)
    np.maximum.at(last, group, when)
    cells = dict(zip(("visit", "detector", "night"), groups.T)) | dict(zip(_COUNTED, counts.T))
    cells |= {"firstAt": first, "lastAt": last}
    cells |= {name: np.full(len(groups), value) for name, value in (("survey", survey), ("commitId", commit))}
    columns = {name: Cells(values, None) for name, values in cells.items()}
    (statements,) = inserts("visit_part", columns, connection.dialect.name)
    await execute(connection, statements)
    return len(groups)


def _groups(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of `keys` (``[n, m]``, n > 0) that differ, sorted, and for each row which of those it is.

    ``numpy.unique`` of rows takes ten times as long for a thousand, and this stands in the chain of commits.
    """
    order = np.lexsort(keys.T[::-1])
    ordered = keys[order]
    new = np.ones(len(keys), np.bool_)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    group = np.empty(len(keys), np.int64)
    group[order] = np.cumsum(new) - 1
    return ordered[new], group


_Keys = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def _alert_keys(alerts: Alerts, verdicts: NDArray[np.uint8]) -> _Keys:
    cells = [alerts.ints(name, UNATTRIBUTED) for name in ("visit", "detector", "night")]
    return np.stack(cells, axis=1), verdicts.astype(np.int64), alerts.timestamp / 1000.0


def _quarantine_keys(quarantined: Sequence[Quarantined] | Sequence[Lifted]) -> _Keys:
    cells = [
        (UNATTRIBUTED if q.visit is None else q.visit, UNATTRIBUTED if q.detector is None else q.detector, q.night)
        for q in quarantined
    ]
    kind = np.full(len(cells), _QUARANTINED, np.int64)
    return np.array(cells, np.int64), kind, np.array([q.timestamp / 1000.0 for q in quarantined])
