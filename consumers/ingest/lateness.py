"""How late a visit's alerts are committed, and which night its visit has, from what was announced of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy.ext.asyncio import AsyncEngine

from stream import metrics
from stream.commit.announced import times
from stream.commit.batch import Batch

WAIT_S = 120.0
"""Seconds for which the announcement of a visit whose alerts are there may be late."""
KEPT_NIGHTS = 4096
KEPT_WAITING = 10_000


@dataclass(slots=True)
class Lateness:
    """Alerts that were committed, by visit, until the announcement of their visit is known.

    Attributes
    ----------
    nights
        Night (YYYYMMDD) of each visit that was looked up last.
    """

    engine: AsyncEngine
    survey: int
    nights: dict[int, int] = field(default_factory=dict)
    _waiting: list[tuple[int, int, float]] = field(default_factory=list)

    def committed(self, batch: Batch, now: float) -> None:
        """Alerts of `batch` stand since `now` (seconds since 1970 UTC)."""
        for work in batch.works:
            if work.level1:
                column = work.level1["visit"]
                visits, counts = np.unique(column.values[~column.null].astype(np.int64), return_counts=True)
                self._waiting += [(v, n, now) for v, n in zip(visits.tolist(), counts.tolist(), strict=True)]
            self._waiting += [(q.visit, 0, now) for q in work.quarantined if q.visit is not None]
        del self._waiting[:-KEPT_WAITING]

    async def look_up(self, now: float) -> None:
        """Measure what is announced by now; what is not stays for `WAIT_S`."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        try:
            known = await times(self.engine, self.survey, {visit for visit, _, _ in waiting})
        except BaseException:
            self._waiting = waiting + self._waiting
            raise
        self._keep((visit, told.night) for visit, told in known.items())
        for visit, count, at in waiting:
            if visit not in known:
                self._waiting += [(visit, count, at)] if now - at < WAIT_S else []
                continue
            since = [instant for instant in known[visit].instants if instant <= at]
            if since and count:
                metrics.VISIT_LATENCY.observe(np.full(count, at - max(since)))

    def _keep(self, nights: Iterable[tuple[int, int]]) -> None:
        for visit, night in nights:
            self.nights.pop(visit, None)
            self.nights[visit] = night
        while len(self.nights) > KEPT_NIGHTS:
            del self.nights[next(iter(self.nights))]
