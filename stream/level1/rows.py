"""A batch's rows made ready for the database: sorted by key, one a key, as statements with their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.alert import Level1Column
from stream.level1.inserts import STATEMENT_BYTES, Statement, inserts
from stream.level1.packed import Cells
from stream.tables.model import table

Values = Level1Column | NDArray[Any] | int
"""A column of a batch: with its nulls, without any (``uint8[n, 16]`` for the digest), or one number for all rows."""

_FIRST_STAYS = "ON DUPLICATE KEY UPDATE survey = level1.survey"
"""The first copy of an id stays. Not INSERT IGNORE, which would also cut values to fit without a word."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What tells a batch's rows apart, for all `n` alerts of it, in the batch's order.

    Attributes
    ----------
    survey, night, id
        ``int64[n]``: the primary key of ``level1``.
    stream, partition, offset
        ``int64[n]``: the RecordId.
    digest
        ``uint8[n, 16]``.
    """

    survey: NDArray[np.int64]
    night: NDArray[np.int64]
    id: NDArray[np.int64]
    stream: NDArray[np.int64]
    partition: NDArray[np.int64]
    offset: NDArray[np.int64]
    digest: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Ready:
    """A batch ready to be inserted.

    Attributes
    ----------
    keys
        Of all `n` alerts.
    taken
        ``int64[k]``: the alerts that become rows (the first of each key), in the order of the primary key.
    first
        ``int64[n]``: for each alert the one that stands for its key; itself where it is taken.
    statements
        What inserts the taken ones; a row that stands stays.
    strict
        The same, refused where one of their keys has a row.
    """

    keys: Keys
    taken: NDArray[np.int64]
    first: NDArray[np.int64]
    statements: tuple[Statement, ...]
    strict: tuple[Statement, ...]


def ready(
    columns: Mapping[str, Values],
    part: NDArray[np.integer[Any]] | None = None,
    *,
    dialect: str,
    max_bytes: int = STATEMENT_BYTES,
) -> Ready:
    """Sort a batch by primary key, keep the first of each key (stream, partition, offset, part), make its statements.

    CPU work without the database: call it from a thread, before the transaction.

    Parameters
    ----------
    columns
        Every column of ``level1`` by name. NaN and infinities become NULL, -0.0 becomes 0.0. Values must be within
        `stream.tables.limits`; one that is not makes the server refuse the whole statement.
    part
        ``[n]``, the place of a record in its message; None where all are 0.
    dialect
        ``mysql`` or ``sqlite``, as ``engine.dialect.name`` has it.
    max_bytes
        Bytes of one statement.
    """
    n = _length(columns)
    keys = _keys(columns, n)
    order = np.lexsort(
        (
            np.zeros(n) if part is None else part,
            keys.offset,
            keys.partition,
            keys.stream,
            keys.night,
            keys.id,
            keys.survey,
        )
    ).astype(np.int64)
    new = np.ones(n, np.bool_)
    for key in (keys.survey, keys.id, keys.night):
        new[1:] = new[1:] & (key[order[1:]] == key[order[:-1]])
    new[1:] = ~new[1:]
    taken = order[new]
    first = np.empty(n, np.int64)
    first[order] = taken[np.cumsum(new) - 1]
    names = [column.name for column in table("level1").columns]
    cells = {name: _cells(name, columns[name], n, taken) for name in names}
    if not len(taken):
        return Ready(keys, taken, first, (), ())
    stays = "ON CONFLICT DO NOTHING" if dialect == "sqlite" else _FIRST_STAYS
    made = inserts("level1", cells, dialect, tails=(stays, ""), max_bytes=max_bytes)
    return Ready(keys, taken, first, *made)


def _cells(name: str, values: Values, n: int, taken: NDArray[np.int64]) -> Cells:
    """One column's rows `taken`: NaN and infinities are NULL."""
    if isinstance(values, int):
        return Cells(np.full(len(taken), values, np.int64), None)
    raw = values.values if isinstance(values, Level1Column) else values
    if len(raw) != n:
        raise ValueError(f"column {name} has {len(raw)} rows, the batch has {n}")
    null = values.null[taken] if isinstance(values, Level1Column) else None
    chosen = raw[taken]
    if chosen.dtype.kind == "f":
        odd = ~np.isfinite(chosen)
        # A zero has no sign: neither database keeps that of one that is written as a literal.
        chosen, null = chosen + 0.0, odd if null is None else odd | null
    elif chosen.dtype.kind in "iub" and chosen.ndim == 1:
        chosen = chosen.astype(np.int64, casting="safe", copy=False)
    return Cells(chosen, null if null is not None and null.any() else None)


def _length(columns: Mapping[str, Values]) -> int:
    ids = columns["diaSourceId"]
    if isinstance(ids, int):
        raise ValueError("diaSourceId must be a column")
    return len(ids.values if isinstance(ids, Level1Column) else ids)


def _keys(columns: Mapping[str, Values], n: int) -> Keys:
    def ints(name: str) -> NDArray[np.int64]:
        values = columns[name]
        if isinstance(values, int):
            return np.full(n, values, np.int64)
        return np.asarray(values.values if isinstance(values, Level1Column) else values, np.int64)

    digest = columns["digest"]
    if not isinstance(digest, np.ndarray) or digest.shape != (n, 16):
        raise ValueError("digest must be uint8[n, 16]")
    return Keys(
        ints("survey"),
        ints("night"),
        ints("diaSourceId"),
        ints("stream"),
        ints("kafkaPartition"),
        ints("kafkaOffset"),
        digest,
    )
