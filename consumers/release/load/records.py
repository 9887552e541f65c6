"""Rows of the ledger: a plan taken in, read back, and forgotten."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.release.load.plan import Part, Plan, Planned, PlannedTransaction
from consumers.release.load.tables import contributions, planned_tables, sent, transactions
from stream.errors import Wrong


class State(StrEnum):
    """How far a planned super-transaction is."""

    PLANNED = "planned"
    STARTING = "starting"
    LOADING = "loading"
    COMMITTING = "committing"
    ABORTING = "aborting"
    COMMITTED = "committed"
    FAILED = "failed"


async def take_in(connection: AsyncConnection, plan: Plan, table: str, digest: str, ordinal: int, now: float) -> None:
    """Take a table's transactions into the ledger, where they are not there already.

    Raises
    ------
    Wrong
        ``release_changed``: it has begun to be loaded, and its files are not what they were.
    """
    found = await connection.scalar(sa.select(planned_tables.c.digest).where(planned_tables.c.name == table))
    if found == digest:
        return
    if found is not None:
        begun = sa.select(sa.func.count()).where(
            transactions.c.table_name == table,
            sa.or_(transactions.c.state != State.PLANNED, transactions.c.attempt > 0),
        )
        if await connection.scalar(begun):
            text = f"the files of table {table} are not what they were when its load began"
            raise Wrong("release_changed", text, "run release replace to load the table anew")
        await forget(connection, table)
    await connection.execute(sa.insert(planned_tables).values(name=table, digest=digest))
    for planned in plan.of(table):
        await connection.execute(sa.insert(transactions).values(**_new(planned, ordinal, now)))
        rows = [
            {
                "key": planned.key,
                "ordinal": number,
                "chunk": each.chunk,
                "overlap": each.overlap,
                "parts": _parts(each),
            }
            for number, each in enumerate(planned.contributions)
        ]
        await connection.execute(sa.insert(contributions), rows)


def _parts(planned: Planned) -> str:
    names = Part.__slots__
    return json.dumps([{name: getattr(part, name) for name in names} for part in planned.parts])


def _new(planned: PlannedTransaction, table_ordinal: int, now: float) -> dict[str, Any]:
    return {
        "key": planned.key,
        "table_name": planned.table,
        "table_ordinal": table_ordinal,
        "ordinal": planned.ordinal,
        "contributions": len(planned.contributions),
        "rows_planned": planned.rows,
        "bytes_planned": planned.bytes,
        "state": State.PLANNED,
        "attempt": 0,
        "token": "",
        "transaction_id": None,
        "term": 0,
        "holder": "",
        "lease_until": 0.0,
        "code": "",
        "error": "",
        "changed": now,
    }


async def planned_of(connection: AsyncConnection, row: Any) -> PlannedTransaction:
    """A transaction with its contributions, from its row."""
    mine = sa.select(contributions).where(contributions.c.key == row.key).order_by(contributions.c.ordinal)
    found = tuple(
        Planned(
            row.table_name,
            each.chunk,
            bool(each.overlap),
            tuple(Part(**part) for part in json.loads(each.parts)),
        )
        for each in await connection.execute(mine)
    )
    return PlannedTransaction(row.key, row.table_name, row.ordinal, found)


async def forget(connection: AsyncConnection, table: str) -> None:
    """Take a table out of the ledger."""
    keys = sa.select(transactions.c.key).where(transactions.c.table_name == table)
    await connection.execute(sa.delete(contributions).where(contributions.c.key.in_(keys)))
    await connection.execute(sa.delete(sent).where(sent.c.key.in_(keys)))
    await connection.execute(sa.delete(transactions).where(transactions.c.table_name == table))
    await connection.execute(sa.delete(planned_tables).where(planned_tables.c.name == table))
