"""When each offset was committed, as another session sees it: the ledger, read every few milliseconds."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import numpy as np
import pymysql
from numpy.typing import NDArray

from stream.local.process import wait_until


class LedgerWatch:
    """Notes at which instant (seconds since 1970 UTC) each partition's place was first seen; a context manager.

    An offset counts as committed when a fresh transaction of another session sees the ledger behind it: at most
    `every_s` later than it was, never earlier.
    """

    def __init__(self, connection: pymysql.Connection[Any], every_s: float) -> None:
        self._connection = connection
        self._every_s = every_s
        self._ends: dict[int, list[int]] = {}
        self._seen: dict[int, list[float]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self.first: float | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._connection.close()

    @property
    def committed(self) -> int:
        """Offsets committed so far; the topic begins at 0 and has no holes."""
        return sum(ends[-1] for ends in list(self._ends.values()))

    @property
    def partitions(self) -> int:
        """Partitions that have a place: the daemon was given them."""
        return len(self._ends)

    @property
    def last(self) -> float:
        """When the ledger moved last."""
        return max((seen[-1] for seen in self._seen.values()), default=0.0)

    @property
    def first_commit(self) -> float:
        """When the first commit was seen."""
        return min(seen[1] for seen in self._seen.values() if len(seen) > 1)

    def wait(self, condition: Callable[[], bool], within_s: float, what: str) -> None:
        """Wait for `condition`; TimeoutError where it does not come."""
        if (
            not wait_until(lambda: condition() or not self._thread.is_alive(), within_s, every_s=0.01)
            or not condition()
        ):
            raise TimeoutError(f"{what}: {self.committed} committed after {within_s:.0f} s")

    def when(self, partition: int, offsets: NDArray[np.int64]) -> NDArray[np.float64]:
        """When each of a partition's `offsets` was committed."""
        ends, seen = self._ends[partition], self._seen[partition]
        return np.array([seen[bisect_left(ends, offset + 1)] for offset in offsets.tolist()])

    def _run(self) -> None:
        with self._connection.cursor() as cursor:
            while not self._stop.is_set():
                cursor.execute("SELECT kafkaPartition, next FROM ledger WHERE sink = 'alertdb'")
                now = time.time()
                for partition, end in cursor.fetchall():
                    ends = self._ends.setdefault(partition, [])
                    if not ends or end > ends[-1]:
                        self._seen.setdefault(partition, []).append(now)
                        ends.append(end)
                        if self.first is None:
                            self.first = now
                self._stop.wait(self._every_s)
