"""How many bad packets may still come before polling stops: exiting would only be a restart loop."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from stream.tables.model import table


class Allowance:
    """Counts the quarantined records of this process against its limit and what operators allow beyond it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._spent = 0
        self._granted = 0
        self._before: int | None = None

    @property
    def left(self) -> int:
        """Records that may still be quarantined."""
        return self._limit + self._granted - self._spent

    def spend(self, count: int) -> bool:
        """Count `count` more; False where none is left."""
        self._spent += count
        return self.left > 0

    def text(self) -> str:
        """What an operator should know and do."""
        return (
            f"{self._spent} records went to quarantine, {self._limit + self._granted} are allowed; look at them with "
            "`skyburst quarantine list`, then `skyburst quarantine allow N` goes on"
        )

    async def ask(self, engine: AsyncEngine, survey: int) -> bool:
        """Read what operators have allowed since this process began; True where that lets it go on."""
        total = await granted(engine, survey)
        if self._before is None:
            self._before = total
        was, self._granted = self.left, total - self._before
        return was <= 0 < self.left


async def granted(engine: AsyncEngine, survey: int) -> int:
    """Records that operators have ever allowed for `survey`."""
    rows = table("quarantine_allowance")
    async with engine.connect() as connection:
        found = (
            await connection.execute(sa.select(rows.c.allowed).where(rows.c.survey == survey))
        ).scalar_one_or_none()
    return int(found or 0)
