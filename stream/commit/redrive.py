"""Re-drive: a quarantined record that can be read after a fix gets the row that it should have had, once."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from stream.alert import RecordId
from stream.errors import Fenced
from stream.tables.model import table

RECORDS = 200
"""Records that one statement names at most: SQLite takes no expression deeper than 1000."""


@dataclass(frozen=True, slots=True)
class Lifted:
    """A record that leaves quarantine: the visit, detector and night that counted it there, and its Kafka timestamp.

    They are those of its quarantine row, which need not be what the packet itself says.
    """

    visit: int | None
    detector: int | None
    night: int
    timestamp: int


async def mark_redriven(connection: AsyncConnection, records: Collection[RecordId], commit: int) -> list[Lifted]:
    """Turn held quarantine rows into redriven ones; part of the transaction that publishes their packets.

    Raises
    ------
    Fenced
        ``redrive_fenced``: somebody else has re-driven one of them.
    """
    rows = table("quarantine")
    changed, lifted = 0, list[Lifted]()
    for wanted in among(rows, records):
        held = sa.update(rows).where(rows.c.state == "held", wanted)
        changed += (await connection.execute(held.values(state="redriven", redriveCommit=commit))).rowcount
        query = sa.select(rows.c.visit, rows.c.detector, rows.c.night, rows.c.kafkaTimestamp).where(wanted)
        lifted += [Lifted(*row) for row in await connection.execute(query)]
    if changed != len(records):
        raise Fenced(
            "redrive_fenced",
            f"{len(records) - changed} of {len(records)} records are not held in quarantine any more",
            "list them again: somebody else has re-driven them",
        )
    return lifted


def among(rows: sa.Table, records: Collection[RecordId]) -> Iterator[sa.ColumnElement[bool]]:
    """Clauses that together, in the order of the records, find the rows of table ``quarantine`` of `records`."""
    ordered = sorted(records)
    for at in range(0, len(ordered), RECORDS):
        yield sa.or_(
            *(
                sa.and_(rows.c.stream == r.stream, rows.c.kafkaPartition == r.partition, rows.c.kafkaOffset == r.offset)
                for r in ordered[at : at + RECORDS]
            )
        )
