"""When each message was committed, as another process sees it: the ledger, looked at again and again."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from stream.clock import Clock, SystemClock
from stream.tables.engine import open_reader
from stream.tables.model import table
from stream.tables.trouble import translated

EVERY_S = 0.02
"""Seconds between two looks, by which a commit may seem later than it was."""


@dataclass(slots=True)
class LedgerWatch:
    """Reads the ledger in a thread of its own until the block ends."""

    level1: str
    topic: str
    clock: Clock = field(default_factory=SystemClock)
    _seen: list[tuple[float, int, int]] = field(default_factory=list)
    _next: dict[int, int] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _error: BaseException | None = None

    def __enter__(self) -> LedgerWatch:
        self._thread = threading.Thread(target=self._look, name="ledger", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def committed(self) -> int:
        """How many offsets of all partitions the ledger is past; raises what kept the thread from looking."""
        if self._error is not None:
            raise self._error
        return sum(self._next.values())

    def latencies(
        self, partition: NDArray[np.int64], offset: NDArray[np.int64], ms: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Seconds from each message's Kafka timestamp until it was seen committed.

        Parameters
        ----------
        partition, offset, ms
            Of each message; its Kafka timestamp in milliseconds since 1970-01-01 UTC.
        """
        found = np.full(len(offset), np.nan)
        for number in np.unique(partition):
            at, reached = np.array([(at, to) for at, p, to in self._seen if p == number]).T
            mine = partition == number
            found[mine] = at[np.searchsorted(reached, offset[mine], side="right")] - ms[mine] / 1000.0
        return found

    def _look(self) -> None:
        ledger, streams = table("ledger").c, table("streams").c
        query = (
            sa.select(ledger.kafkaPartition, ledger.next)
            .join_from(table("ledger"), table("streams"), ledger.stream == streams.stream)
            .where(streams.topic == self.topic)
        )
        engine = open_reader(self.level1)
        try:
            while not self._over.wait(EVERY_S):
                with translated(), engine.connect() as connection:
                    places = {int(row[0]): int(row[1]) for row in connection.execute(query).all()}
                now = self.clock.now()
                self._seen += [(now, part, to) for part, to in places.items() if to > self._next.get(part, 0)]
                self._next = places
        except Exception as error:
            self._error = error
        finally:
            engine.dispose()
