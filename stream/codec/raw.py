"""Containers that are compressed or hold more than one record: kept whole, inflated within bounds for their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.codec.container import MAX_RECORDS, Block, Header
from stream.codec.inflate import bound, inflate
from stream.codec.plan import Plan
from stream.codec.slots import Outcome, Slot
from stream.errors import Poison


@dataclass(frozen=True, slots=True)
class RawRecords:
    """The records of raw containers: bytes, where each record begins and ends, and its values."""

    buffer: bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    outcome: Outcome


def read_raw(message: bytes, header: Header, blocks: Sequence[Block], plan: Plan) -> RawRecords:
    """Inflate and check every record of one container.

    Raises
    ------
    Poison
        ``too_many_records``, ``inflation``, ``codec``, ``bad_compression``, or the code of the first record that is
        refused: the message is kept or refused whole.
    """
    total = sum(block.records for block in blocks)
    if total > MAX_RECORDS:
        raise Poison("too_many_records", f"the container says that it has {total} records, more than {MAX_RECORDS}")
    limit = bound(len(message))
    read: list[RawRecords] = []
    for block in blocks:
        data = inflate(header.codec, message[block.start : block.end], limit)
        limit -= len(data)
        if not block.records:
            if data:
                raise Poison("trailing_bytes", "a block of no records has bytes")
            continue
        starts, ends = np.zeros(block.records, np.int64), np.full(block.records, len(data), np.int64)
        outcome = plan.run(np.frombuffer(data, np.uint8), starts, ends, chain=True)
        for i in np.flatnonzero(outcome.status):
            code, reason = plan.refusal(outcome, int(i), 0, len(data))
            raise Poison(code, f"record {i} of a block that inflates to {len(data)} bytes: {reason}")
        read.append(RawRecords(data, starts, outcome.at.copy(), outcome))
    return join_raw(read, plan.slots)


def join_raw(records: Sequence[RawRecords], slots: tuple[Slot, ...]) -> RawRecords:
    """Put the records of several blocks or containers one after the other."""
    shifts = np.cumsum([0, *(len(part.buffer) for part in records)])
    texts = [row for slot in slots if slot.kind == "text" for row in (slot.row, slot.row + 1)]
    indexes = [slot.index for slot in slots if slot.kind == "text" for _ in range(2)]
    for part, shift in zip(records, shifts, strict=False):
        part.outcome.values[texts] += np.where(part.outcome.null[indexes], 0, shift)
    outcomes = [part.outcome for part in records]
    return RawRecords(
        b"".join(part.buffer for part in records),
        np.concatenate([part.starts + shift for part, shift in zip(records, shifts, strict=False)]),
        np.concatenate([part.ends + shift for part, shift in zip(records, shifts, strict=False)]),
        Outcome(
            np.concatenate([outcome.values for outcome in outcomes], axis=1),
            np.concatenate([outcome.null for outcome in outcomes], axis=1),
            *(np.concatenate([getattr(outcome, name) for outcome in outcomes]) for name in ("status", "at", "word")),
        ),
    )
