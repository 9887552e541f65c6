"""Whether rows fall into the last partition of Level-1: a warning in /readyz, long before it is a trouble."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from stream.clock import Clock
from stream.log import Log
from stream.tables.nights import rows_in_last
from stream.web.health import Health

CODE = "last_partition"
LOOK_S = 60.0
"""Seconds between two looks. A look reads one row of the last partition, which is empty as long as all is well."""
_TEXT = "rows fall into the last partition of Level-1; run `skyburst level1 migrate`"

_log = Log("consumers.ingest.last_partition")


@dataclass(slots=True)
class LastPartition:
    """Looks now and then, and says it once when it begins and once when it ends. It never costs readiness.

    What other daemons and earlier starts wrote counts like what this one did.
    """

    engine: AsyncEngine
    health: Health
    clock: Clock
    _looked: float = -1e9
    _warned: bool = False

    async def look(self) -> None:
        """Look again where it is time to."""
        now = self.clock.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        async with self.engine.connect() as connection:
            self._tell(await rows_in_last(connection))

    def _tell(self, due: bool) -> None:
        self.health.warn(CODE, _TEXT if due else None)
        if due and not self._warned:
            _log.warning("last_partition", code=CODE, message=_TEXT)
        elif self._warned and not due:
            _log.info("last_partition_empty", code=CODE)
        self._warned = due
