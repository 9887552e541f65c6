"""Containers that are compressed or hold more than one record: kept whole, inflated within bounds for their rows.

What was inflated is let go of block by block: a batch of messages may inflate to a hundred times its own bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.codec.container import MAX_RECORDS, MIN_RECORD, Block, Header
from stream.codec.inflate import bomb, bound, inflate
from stream.codec.plan import Plan
from stream.codec.slots import Outcome, Slot
from stream.errors import Poison

TEXT_ALLOWANCE = 4 * 1024
"""Bytes that the wanted texts of a message may have beyond the message's own."""


@dataclass(frozen=True, slots=True)
class RawRecords:
    """The values of a raw container's records, and a buffer with the wanted texts, into which they point."""

    buffer: bytes
    outcome: Outcome

    def __len__(self) -> int:
        return len(self.outcome.status)


def read_raw(message: bytes, header: Header, blocks: Sequence[Block], plan: Plan) -> RawRecords:
    """Inflate and check every record of one container.

    Raises
    ------
    Poison
        ``too_many_records``, ``inflation``, ``codec``, ``bad_compression``, or the code of the first record that is
        refused: the message is kept or refused whole.
    """
    total, most = sum(block.records for block in blocks), min(MAX_RECORDS, len(message) // MIN_RECORD)
    if total > most:
        raise Poison("too_many_records", f"the container says that it has {total} records, more than {most}")
    limit, texts = bound(len(message)), len(message) + TEXT_ALLOWANCE
    read: list[RawRecords] = []
    for block in blocks:
        data = inflate(header.codec, message[block.start : block.end], limit)
        limit -= len(data)
        if not block.records:
            if data:
                raise Poison("trailing_bytes", "a block of no records has bytes")
            continue
        starts, ends = np.zeros(block.records, np.int64), np.full(block.records, len(data), np.int64)
        buffer = np.frombuffer(data, np.uint8)
        outcome = plan.run(buffer, starts, ends, chain=True)
        for i in np.flatnonzero(outcome.status):
            code, reason = plan.refusal(outcome, int(i), 0, len(data))
            raise Poison(code, f"record {i} of a block that inflates to {len(data)} bytes: {reason}")
        read.append(_texts_only(buffer, outcome, plan.slots, texts))
        texts -= len(read[-1].buffer)
    return join_raw(read, plan.slots)


def _texts_only(buffer: NDArray[np.uint8], outcome: Outcome, slots: tuple[Slot, ...], limit: int) -> RawRecords:
    """The records with nothing of their bytes but the wanted texts."""
    rows, _ = _text_rows(slots)
    starts, ends = outcome.values[rows[::2]], outcome.values[rows[1::2]]
    sizes = (ends - starts).ravel()
    after = np.cumsum(sizes)
    total = int(after[-1]) if len(after) else 0
    if total > limit:
        raise bomb(limit)
    fresh = (after - sizes).reshape(starts.shape)
    at = np.repeat((starts - fresh).ravel(), sizes) + np.arange(total)
    null = outcome.null[[slot.index for slot in slots if slot.kind == "text"]]
    outcome.values[rows[::2]] = np.where(null, 0, fresh)
    outcome.values[rows[1::2]] = np.where(null, 0, fresh + ends - starts)
    return RawRecords(buffer[at].tobytes(), outcome)


def _text_rows(slots: tuple[Slot, ...]) -> tuple[list[int], list[int]]:
    """The rows that say where texts begin and end, and the slot's number for each."""
    texts = [slot for slot in slots if slot.kind == "text"]
    return [row for slot in texts for row in (slot.row, slot.row + 1)], [slot.index for slot in texts for _ in range(2)]


def join_raw(records: Sequence[RawRecords], slots: tuple[Slot, ...]) -> RawRecords:
    """Put the records of several blocks or containers one after the other."""
    rows, indexes = _text_rows(slots)
    shift = 0
    for part in records:
        part.outcome.values[rows] += np.where(part.outcome.null[indexes], 0, shift)
        shift += len(part.buffer)
    outcomes = [part.outcome for part in records]
    return RawRecords(
        b"".join(part.buffer for part in records),
        Outcome(
            np.concatenate([outcome.values for outcome in outcomes], axis=1),
            np.concatenate([outcome.null for outcome in outcomes], axis=1),
            *(np.concatenate([getattr(outcome, name) for outcome in outcomes]) for name in ("status", "at", "word")),
        ),
    )
