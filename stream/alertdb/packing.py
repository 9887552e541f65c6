"""A commit's share of a segment made ready to write: framed blocks, index rows with true offsets, both digested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_128

from stream.alertdb.index import moved
from stream.alertdb.rowdigest import row_digest

if TYPE_CHECKING:
    from stream.alertdb.blocks import Block


@dataclass(frozen=True, slots=True)
class Packed:
    """What a commit adds to a segment.

    Attributes
    ----------
    buffers
        The bytes of the data file, in pieces.
    end
        Length of the data file with them, bytes.
    block_offsets
        ``int64[blocks]``, in the data file.
    rows
        Index rows whose block offsets are those of the data file.
    note
        The commit's note with ``data`` (start, end, xxh3-128 of the bytes between) and ``rows`` (digest).
    running
        The digest of the whole data file up to `end`.
    """

    buffers: list[bytes]
    end: int
    block_offsets: NDArray[np.int64]
    rows: Any
    note: dict[str, object]
    running: Any


def pack(
    blocks: Sequence[Block], rows: Any, note: Mapping[str, object], *, base: int, sync: bytes, running: Any
) -> Packed:
    """Frame `blocks` with the marker `sync` for position `base` of a file whose digest up to there is `running`."""
    buffers: list[bytes] = []
    offsets = np.empty(len(blocks), np.int64)
    whole, part = running.copy(), xxh3_128()
    at = base
    for index, block in enumerate(blocks):
        offsets[index] = at
        for piece in (block.lead(), block.payload, sync):
            whole.update(piece)
            part.update(piece)
            buffers.append(piece)
            at += len(piece)
    placed = moved(rows, base)
    full = {**note, "data": [base, at, part.hexdigest()], "rows": row_digest(placed)}
    return Packed(buffers, at, offsets, placed, full, whole)
