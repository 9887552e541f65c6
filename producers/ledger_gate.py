"""How far ingest has come with a topic's partitions, asked of the ledger: what holds a replay back."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import sqlalchemy as sa

from stream.alert import Stream
from stream.clock import Clock, SystemClock
from stream.commit.ledger import SINK
from stream.tables.engine import open_reader
from stream.tables.model import table
from stream.tables.trouble import translated

EVERY_S = 0.05


class LedgerGate:
    """A `producers.headroom.Gate` on Level-1's ledger; asks at most every `EVERY_S` seconds.

    Parameters
    ----------
    level1
        The database's URL.
    stream
        The topic as it was created.
    """

    def __init__(self, level1: str, stream: Stream, sink: str = SINK, clock: Clock | None = None) -> None:
        self._engine = open_reader(level1)
        self._clock = clock or SystemClock()
        self._asked_at = float("-inf")
        self._places: dict[int, int] = {}
        ledger, streams = table("ledger").c, table("streams").c
        self._query = (
            sa.select(ledger.kafkaPartition, ledger.next)
            .join_from(table("ledger"), table("streams"), ledger.stream == streams.stream)
            .where(
                ledger.sink == sink,
                streams.cluster == stream.cluster,
                streams.topic == stream.topic,
                streams.topicId == stream.topic_id,
            )
        )

    def __call__(self, partition: int) -> int:
        """The ledger's next offset of the partition; 0 where ingest has not begun it."""
        now = self._clock.monotonic()
        if now - self._asked_at >= EVERY_S:
            with translated(), self._engine.connect() as conn:
                self._places = {row[0]: row[1] for row in conn.execute(self._query).all()}
            self._asked_at = now
        return self._places.get(partition, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.dispose()
