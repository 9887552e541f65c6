"""`skyburst ingest` with something taken away, so that a test can show that it is needed. Arguments name what."""

from __future__ import annotations

import faulthandler
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

import stream.commit.committer
import stream.commit.ledger
from stream.alertdb.blocks import Block, BlockPlan
from stream.cli.group import main as command
from stream.commit.batch import OffsetRange
from stream.commit.segments import Written
from stream.tables.model import table


async def _move(
    connection: AsyncConnection, ranges: Sequence[OffsetRange], instance: str, sink: str = "alertdb"
) -> None:
    """Step 3a without its compare."""
    rows = table("ledger")
    for r in ranges:
        where = (rows.c.sink == sink, rows.c.stream == r.stream, rows.c.kafkaPartition == r.partition)
        await connection.execute(sa.update(rows).where(*where).values(next=r.end))


async def _publish_lengths(connection: AsyncConnection, written: Iterable[Written], *rest: Any) -> None:
    """Step 3b without its compare: a row that is there is set, whatever it says."""
    rows = table("segments")
    for item in written:
        values = {
            "dataLength": item.appended.data_length,
            "indexLength": item.appended.index_length,
            "dataName": item.before.data_name,
            "indexName": item.before.index_name,
            "night": item.work.key.night,
            "kind": item.work.key.kind,
            "state": "open",
            "records": rows.c.records + item.work.records,
        }
        done = await connection.execute(sa.update(rows).where(rows.c.segment == item.mine.number).values(**values))
        if done.rowcount == 0:
            await _REAL_LENGTHS(connection, [item], *rest)


_REAL_LENGTHS = stream.commit.committer.publish_lengths


def _slow(seconds: float) -> Callable[[BlockPlan, int], Block]:
    real = BlockPlan.compress

    def compress(plan: BlockPlan, index: int, *, hurried: bool = False) -> Block:
        time.sleep(seconds)
        return real(plan, index, hurried=hurried)

    return compress


def main() -> None:
    """Take away what the arguments name, then run the command; SIGUSR1 makes it say where its threads are."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    for item in sys.argv[1:]:
        name, _, value = item.partition("=")
        match name:
            case "no-ledger-fence":
                stream.commit.ledger.move = _move
            case "no-segment-fence":
                stream.commit.committer.publish_lengths = _publish_lengths
            case "slow-compress":
                BlockPlan.compress = _slow(float(value))  # type: ignore[method-assign]
            case _:
                raise SystemExit(f"nothing is called {item}")
    sys.argv[1:] = ["ingest"]
    command()
