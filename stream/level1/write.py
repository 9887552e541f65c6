"""Rows into Level-1, and which of a batch's ids were there before: step 3c of the commit (KEEPING.md, "The steps")."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from stream.errors import Fatal, Fenced
from stream.level1.inserts import STATEMENT_BYTES, Statement
from stream.level1.rows import Ready
from stream.tables.trouble import translated

IDS_A_READ = 1000
LEAST_PACKET = 2 << 20
"""Bytes that the server must take of one statement: the driver joins the rows of other tables up to 1 MB."""


class Verdict(IntEnum):
    """What an alert is to Level-1."""

    NEW = 0
    REPEATED = 1
    CONFLICT = 2


@dataclass(frozen=True, slots=True)
class Foreign:
    """Rows of a batch's ids that another commit wrote, one element each.

    Attributes
    ----------
    alert
        ``int64[m]``: the batch's alert that stands for the id (an element of `Ready.taken`).
    stream, partition, offset
        ``int64[m]``: RecordId of the packet that the row names.
    digest
        ``uint8[m, 16]``.
    """

    alert: NDArray[np.int64]
    stream: NDArray[np.int64]
    partition: NDArray[np.int64]
    offset: NDArray[np.int64]
    digest: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.alert)

    @classmethod
    def of(cls, found: Sequence[tuple[int, int, int, int, bytes]]) -> Foreign:
        """From rows of these columns."""
        columns = [np.array([row[k] for row in found], np.int64) for k in range(4)]
        digest = np.frombuffer(b"".join(row[4] for row in found), np.uint8).reshape(len(found), 16)
        return cls(columns[0], columns[1], columns[2], columns[3], digest)


async def statement_limit(conn: AsyncConnection) -> int:
    """Bytes that one statement may have on this server, for `ready`: at most `STATEMENT_BYTES`.

    Raises
    ------
    Fatal
        ``level1_packet``: the server takes less than `LEAST_PACKET`.
    """
    if conn.dialect.name == "sqlite":
        return STATEMENT_BYTES
    with translated():
        most = int((await conn.exec_driver_sql("SELECT @@max_allowed_packet")).scalar_one())
    if most < LEAST_PACKET:
        text = f"max_allowed_packet is {most} bytes, a commit needs {LEAST_PACKET}"
        raise Fatal("level1_packet", text, "set it to 16M on the server")
    return min(STATEMENT_BYTES, most - 1024)


async def insert_rows(conn: AsyncConnection, batch: Ready) -> None:
    """Insert the taken rows; a row whose key is there stays as it is.

    Raises
    ------
    SkyburstError
        As `stream.tables.trouble.translate` says.
    """
    await execute(conn, batch.statements)


class RowStands(Exception):
    """An id of the batch has a row already: the transaction is to be rolled back, and done with `insert_rows`."""


async def insert_new(conn: AsyncConnection, batch: Ready) -> None:
    """Insert the taken rows, none of whose keys has a row: what the primary key lets in is new, without a look.

    Raises
    ------
    RowStands
        One of them has. The server keeps a lock on that row until the transaction ends.
    SkyburstError
        As `insert_rows`.
    """
    try:
        await execute(conn, batch.strict)
    except Fenced as error:
        raise RowStands from error


async def execute(conn: AsyncConnection, statements: Iterable[Statement]) -> None:
    """Execute statements one after the other; raises as `stream.tables.trouble.translate` says."""
    with translated():
        for statement in statements:
            await conn.exec_driver_sql(statement.sql, statement.parameters)


async def foreign_rows(conn: AsyncConnection, batch: Ready, commit_id: int) -> Foreign:
    """Those of the batch's ids whose row is not of commit `commit_id`, read with a lock (a plain read on SQLite).

    Call it after `insert_rows`, in the same transaction: then every id has a row.
    """
    keys, taken = batch.keys, batch.taken
    found: list[tuple[int, int, int, int, bytes]] = []
    groups = np.unique(np.stack((keys.survey[taken], keys.night[taken]), axis=1), axis=0)
    for survey, night in groups.tolist():
        mine = taken[(keys.survey[taken] == survey) & (keys.night[taken] == night)]
        alert_of = dict(zip(keys.id[mine].tolist(), mine.tolist(), strict=True))
        ids = list(alert_of)
        for at in range(0, len(ids), IDS_A_READ):
            sql = foreign_query(conn.dialect.name, survey, night, ids[at : at + IDS_A_READ], commit_id)
            with translated():
                rows: list[Any] = list(await conn.exec_driver_sql(sql))
            found += [(alert_of[row[0]], row[1], row[2], row[3], row[4]) for row in rows]
    return Foreign.of(found)


def foreign_query(dialect: str, survey: int, night: int, ids: list[int], commit_id: int) -> str:
    """The locking read of `foreign_rows` for one survey and night, by the primary key whatever the statistics say."""
    hint, lock = ("", "") if dialect == "sqlite" else (" FORCE INDEX (PRIMARY)", " LOCK IN SHARE MODE")
    listed = ",".join(map(str, map(int, ids)))
    return (
        f"SELECT diaSourceId, stream, kafkaPartition, kafkaOffset, digest FROM level1{hint}"  # noqa: S608 (numbers only)
        f" WHERE survey = {int(survey)} AND night = {int(night)} AND diaSourceId IN ({listed})"
        f" AND commitId <> {int(commit_id)}{lock}"
    )


def judge(batch: Ready, foreign: Foreign) -> NDArray[np.uint8]:
    """`Verdict` of each of the batch's `n` alerts: its own row is new; else its digest is held against its id's row."""
    keys = batch.keys
    n = len(keys.id)
    standing = keys.digest[batch.first]
    own = batch.first == np.arange(n)
    slot = np.full(n, -1, np.int64)
    slot[foreign.alert] = np.arange(len(foreign))
    theirs = slot[batch.first]
    beaten = theirs >= 0
    if len(foreign):
        standing = np.where(beaten[:, None], foreign.digest[theirs], standing)
        record = np.stack((foreign.stream, foreign.partition, foreign.offset), axis=1)[theirs]
        mine = np.stack((keys.stream, keys.partition, keys.offset), axis=1)
        own = own & (~beaten | (record == mine).all(axis=1))
    same = (standing == keys.digest).all(axis=1)
    return np.where(own, Verdict.NEW, np.where(same, Verdict.REPEATED, Verdict.CONFLICT)).astype(np.uint8)
