"""Re-driving: what lies in quarantine goes through the same stages once more, and is published where it belongs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np

from consumers.ingest.flat import Flat
from consumers.ingest.pack import shares
from consumers.ingest.place import Placer
from stream import metrics
from stream.alert import RecordId, Stream
from stream.alertdb.port import SegmentStore
from stream.alertdb.quarantine import Quarantined
from stream.codec.decoder import Decoder
from stream.commit.batch import Batch, Committed
from stream.commit.committer import Committer
from stream.commit.held import Row, Selection, fetch, quarantined, record_of
from stream.commit.rows import level1_columns
from stream.commit.suspects import suspects
from stream.errors import Poison
from stream.log import Log
from stream.tables.trouble import translated

MOST_BYTES = 24 << 20
"""Bytes of packets that one commit takes back at most (but for a single larger one)."""

_log = Log("consumers.ingest.again")


@dataclass(frozen=True, slots=True)
class Stays:
    """A record that nobody can take even now, and why; `waits` where its schema cannot be had."""

    record: RecordId
    code: str
    reason: str
    waits: bool = False


@dataclass(slots=True)
class Came:
    """What came of a re-drive: records taken, what they were, and those that stay."""

    taken: int = 0
    new: int = 0
    repeated: int = 0
    conflicts: int = 0
    stays: list[Stays] = field(default_factory=list)

    def count(self, taken: int, done: Committed) -> None:
        """Add one commit of `taken` records."""
        self.taken += taken
        self.new += done.new
        self.repeated += done.repeated
        self.conflicts += done.conflicts


@dataclass(slots=True)
class Redriver:
    """Takes quarantined records of one survey back in, a commit at a time."""

    committer: Committer
    store: SegmentStore
    decoder: Decoder
    placer: Placer
    pool: Executor

    async def redrive(self, wanted: Selection, most: int | None = None) -> Came:
        """Re-drive the held records that `wanted` names, at most the first `most` of them.

        Raises
        ------
        Fenced
            ``redrive_fenced``: somebody else re-drives the same. What was committed before stands.
        """
        came, after = Came(), None
        while most is None or most > 0:
            with translated():
                rows = await quarantined(self.committer.engine, wanted, after, min(most or 1000, 1000))
            if not rows:
                break
            for some in _pieces(rows):
                await self._take(some, came)
            after = record_of(rows[-1])
            most = None if most is None else most - len(rows)
        return came

    async def _take(self, rows: Sequence[Row], came: Came) -> None:
        engine, refused = self.committer.engine, dict[RecordId, Stays]()
        while True:
            left = [row for row in rows if record_of(row) not in refused]
            with translated():
                messages = await fetch(engine, self.store, left)
            batch, stays = await asyncio.to_thread(self._batch, left, messages)
            if batch is None:
                came.stays += [*stays, *refused.values()]
                return
            try:
                done = await self.committer.commit(batch)
            except Poison as poison:
                found = await suspects(engine, *level1_columns(batch), self.committer.statement_bytes)
                if not found:
                    raise
                refused |= {record: Stays(record, p.code, str(p)) for record, p in found.items()}
                _log.warning("rows_refused", error=poison, records=len(found))
                continue
            came.stays += [*stays, *refused.values()]
            came.count(len(batch.redriven), done)
            metrics.REDRIVEN.add(len(batch.redriven))
            _log.info("redriven", commit=done.commit, records=len(batch.redriven), new=done.new)
            return

    def _batch(self, rows: Sequence[Row], messages: Sequence[Quarantined]) -> tuple[Batch | None, list[Stays]]:
        """The batch that takes what can be taken, None where nothing can; and what stays. CPU work."""
        flat = _laid_flat(rows, messages)
        checked = self.decoder.check([message.value for message in messages])
        wrong = {refusal.row: (refusal.code, refusal.reason) for refusal in checked.refused}
        wrong |= {waiting.row: (waiting.error.code, str(waiting.error)) for waiting in checked.waiting}
        survey, streams = self.placer.survey, _streams(rows, messages)
        placed = [self.placer.place(group, flat, wrong) for group in checked.groups]
        for one in placed:
            wrong |= {refusal.row: (refusal.code, refusal.reason) for refusal in one.refused}
        waiting = {one.row for one in checked.waiting}
        stays = [Stays(record_of(rows[row]), *said, row in waiting) for row, said in sorted(wrong.items())]
        planned = [share for one in placed for share in shares(checked, one, flat, survey.name, streams)]
        works = tuple(started.finish(flat) for started in [share.start(self.pool) for share in planned])
        taken = tuple(record_of(row) for number, row in enumerate(rows) if number not in wrong)
        if not taken:
            return None, stays
        return Batch((), works, self.placer.number, survey.digest, reason="re-drive", redriven=taken), stays


def _pieces(rows: Sequence[Row]) -> Iterator[list[Row]]:
    piece: list[Row] = []
    nbytes = 0
    for row in rows:
        if piece and nbytes + row.bytes > MOST_BYTES:
            yield piece
            piece, nbytes = [], 0
        piece.append(row)
        nbytes += row.bytes
    if piece:
        yield piece


def _laid_flat(rows: Sequence[Row], messages: Sequence[Quarantined]) -> Flat:
    return Flat(
        keys=[message.key for message in messages],
        headers=[message.headers for message in messages],
        stream=np.array([row.stream for row in rows], np.int64),
        partition=np.array([row.kafkaPartition for row in rows], np.int64),
        offset=np.array([row.kafkaOffset for row in rows], np.int64),
        timestamp=np.array([message.timestamp for message in messages], np.int64),
        bounds={},
        dead=np.zeros((0, 2), np.int64),
    )


def _streams(rows: Sequence[Row], messages: Sequence[Quarantined]) -> Mapping[int, Stream]:
    return {row.stream: message.source for row, message in zip(rows, messages, strict=True)}
