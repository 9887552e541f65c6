"""Packing: placed alerts become segments' work: blocks compressed by several threads, and index rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumers.ingest.aside import Aside
from consumers.ingest.flat import Flat
from consumers.ingest.place import PlacedGroup
from stream.alert import Level1Column, Stream
from stream.alertdb import quarantine
from stream.alertdb.blocks import Block, BlockPlan, Datums
from stream.alertdb.header import RAW_SCHEMA, SegmentKey
from stream.alertdb.index import IndexColumns, index_batch, slices
from stream.codec.decoder import Checked
from stream.commit.batch import SegmentWork

_TASKS = 16
"""Tasks at most for the blocks of a share: each is made and taken under the interpreter's lock."""


@dataclass(frozen=True, slots=True)
class Share:
    """One segment's share of a batch, planned into blocks that are not yet compressed.

    Attributes
    ----------
    message, part
        ``int64[n]``: each row's message in the batch, and which record of it the row is.
    datum
        ``int64[n]``: each row's datum in `plan` (rows of one raw message share one).
    head, tail
        Bytes of each message around the datum, as Arrow; None where the datum is the whole message.
    """

    key: SegmentKey
    source: Stream | None
    schema_id: int | None
    schema_text: str
    plan: BlockPlan
    message: NDArray[np.int64]
    part: NDArray[np.int64]
    datum: NDArray[np.int64]
    head: object
    tail: object
    level1: Mapping[str, Level1Column]
    aside: Aside | None = None

    def start(self, pool: Executor, *, hurried: bool = False) -> Started:
        """Hand the blocks to the compressing threads, in their order; where there are very many, a few at a time."""
        count, plan = len(self.plan), self.plan
        step = max(1, -(-count // _TASKS))

        def compress(low: int) -> list[Block]:
            return [plan.compress(k, hurried=hurried) for k in range(low, min(low + step, count))]

        return Started(self, [pool.submit(compress, low) for low in range(0, count, step)])

    def finish(self, flat: Flat, blocks: list[Block]) -> SegmentWork:
        """The segment's work, once its blocks are compressed."""
        placed = self.plan.place(blocks).take(self.datum)
        records = self.message.tolist()
        aside = self.aside
        rows = index_batch(
            IndexColumns(
                stream=flat.stream[self.message],
                partition=flat.partition[self.message],
                offset=flat.offset[self.message],
                part=self.part,
                timestamp=flat.timestamp[self.message],
                keys=[flat.keys[m] for m in records],
                headers=[flat.headers[m] for m in records],
                head=self.head,
                tail=self.tail,
                level1=self.level1,
                placed=placed,
                code=None if aside is None else [q.code for q in aside.records],
                reason=None if aside is None else [q.reason for q in aside.records],
            )
        )
        return SegmentWork(
            key=self.key,
            source=self.source,
            schema_id=self.schema_id,
            schema_text=self.schema_text,
            blocks=blocks,
            rows=rows,
            placed=placed,
            records=int(np.count_nonzero(self.part == 0)),
            level1={} if aside else self.level1,
            part=self.part,
            timestamp=flat.timestamp[self.message],
            quarantined=aside.records if aside else (),
        )


@dataclass(frozen=True, slots=True)
class Started:
    """A share whose blocks are being compressed."""

    share: Share
    _tasks: list[Future[list[Block]]]

    def blocks(self) -> list[Block]:
        """Its blocks, once they are there: call it from a thread."""
        return [block for task in self._tasks for block in task.result()]

    def finish(self, flat: Flat) -> SegmentWork:
        """The segment's work, once its blocks are there: call it from a thread."""
        return self.share.finish(flat, self.blocks())

    def cancel(self) -> None:
        """The batch is dropped: what nobody has begun is not compressed."""
        for task in self._tasks:
            task.cancel()


def shares(
    checked: Checked, placed: PlacedGroup, flat: Flat, survey: str, streams: Mapping[int, Stream]
) -> list[Share]:
    """Split a group by stream and night: each is a segment of its own.

    A raw message goes whole to the night of its first alert: a record is published once.
    """
    night, stream = placed.level1["night"].values, placed.level1["stream"].values
    if placed.group.kind == "raw":
        message = np.asarray(placed.group.message, np.int64)[placed.rows]
        _, first, back = np.unique(message, return_index=True, return_inverse=True)
        night = night[first][back]
    share = _whole if placed.group.kind == "raw" else _sliced
    prefix = b"" if placed.group.kind == "raw" else placed.group.prefix
    group, out = placed.group, []
    for number, when, rows in _by_place(stream, night):
        level1 = placed.level1
        if len(rows) < len(night):
            level1 = {name: Level1Column(c.values[rows], c.null[rows]) for name, c in level1.items()}
        key = SegmentKey(number, survey, when, group.schema.fingerprint, group.kind, prefix)
        out.append(share(checked, placed, rows, level1, key, streams[number]))
    return out


def _by_place(stream: NDArray[Any], night: NDArray[Any]) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """Each stream and night with its rows, in order. Nearly always there is one, and all rows are its."""
    if len(night) and (stream == stream[0]).all() and (night == night[0]).all():
        yield int(stream[0]), int(night[0]), np.arange(len(night))
        return
    for number, when in np.unique(np.stack((stream, night), axis=1), axis=0).tolist():
        yield number, when, np.flatnonzero((stream == number) & (night == when))


def aside_share(aside: Aside) -> Share:
    """The quarantine segment's share."""
    count = len(aside.message)
    return Share(
        key=aside.key,
        source=None,
        schema_id=None,
        schema_text=quarantine.schema_text(),
        plan=aside.plan,
        message=np.array(aside.message, np.int64),
        part=np.zeros(count, np.int64),
        datum=np.arange(count),
        head=None,
        tail=None,
        level1=_known(aside),
        aside=aside,
    )


def _sliced(
    checked: Checked,
    placed: PlacedGroup,
    rows: NDArray[np.int64],
    level1: Mapping[str, Level1Column],
    key: SegmentKey,
    source: Stream,
) -> Share:
    group, at = placed.group, placed.rows[rows]
    message = np.asarray(group.message, np.int64)[at]
    start, end = group.datum_start[at], group.datum_end[at]
    messages = checked.messages
    begin = messages.starts[message] + len(group.prefix)
    datums = Datums.slices(group.buffer, start, end)
    return Share(
        key=key,
        source=source,
        schema_id=group.schema.id,
        schema_text=group.schema.text,
        plan=BlockPlan.of(datums, level1["chunk"].values.astype(np.int64)),
        message=message,
        part=np.asarray(group.part, np.int64)[at],
        datum=np.arange(len(at)),
        head=slices(messages.buffer, begin, start),
        tail=slices(messages.buffer, end, messages.ends[message]),
        level1=level1,
    )


def _whole(
    checked: Checked,
    placed: PlacedGroup,
    rows: NDArray[np.int64],
    level1: Mapping[str, Level1Column],
    key: SegmentKey,
    source: Stream,
) -> Share:
    group, at = placed.group, placed.rows[rows]
    message, first, datum = np.unique(np.asarray(group.message, np.int64)[at], return_index=True, return_inverse=True)
    messages = checked.messages
    view, starts, ends = memoryview(messages.buffer.data), messages.starts, messages.ends
    datums = Datums.whole([view[starts[m] : ends[m]] for m in message.tolist()])
    return Share(
        key=key,
        source=source,
        schema_id=None,
        schema_text=RAW_SCHEMA,
        plan=BlockPlan.of(datums, level1["chunk"].values[first].astype(np.int64)),
        message=message[datum],
        part=np.asarray(group.part, np.int64)[at],
        datum=datum,
        head=None,
        tail=None,
        level1=level1,
    )


def _known(aside: Aside) -> dict[str, Level1Column]:
    """What the index can say of quarantined records: the ids that they or their headers tell, and whose night it is."""
    cells = {
        "diaSourceId": [q.dia_source_id for q in aside.records],
        "visit": [q.visit for q in aside.records],
        "detector": [q.detector for q in aside.records],
    }
    ids = {
        name: Level1Column(
            np.array([0 if v is None else v for v in values], np.int64), np.array([v is None for v in values])
        )
        for name, values in cells.items()
    }
    times = np.array([np.nan if q.midpoint is None else q.midpoint for q in aside.records], np.float64)
    return ids | {"midpointMjdTai": Level1Column(times, np.isnan(times))}
