"""Quarantined packets that come back by themselves: their schema was unknown, and has appeared."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from consumers.ingest.again import Redriver
from stream.commit.held import Selection
from stream.errors import Fatal, SkyburstError
from stream.log import Log
from stream.tables.model import table
from stream.tables.trouble import translate

EVERY_S = 5.0
CODE = "schema_unknown"

_log = Log("consumers.ingest.returning")


@dataclass(slots=True)
class Returning:
    """Looks every few seconds whether one packet of each unknown schema can be read now; then takes all of them.

    Daemons that do so at once take each record once: the second is fenced. May be cancelled between two commits.
    """

    redriver: Redriver

    async def run(self) -> None:
        """Look again and again. What fails waits for the next time."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self._look()
            except (SQLAlchemyError, OSError, SkyburstError) as error:
                cause = translate(error)
                if isinstance(cause, Fatal):
                    raise cause from error
                _log.warning("returning_waits", error=cause)

    async def _look(self) -> None:
        survey = self.redriver.placer.number
        for schema_id in await self._unknown(survey):
            wanted = Selection(survey, code=CODE, schema_id=schema_id, state="held")
            first = await self.redriver.redrive(wanted, most=1)
            if first.taken:
                rest = await self.redriver.redrive(wanted)
                _log.info("schema_appeared", schema_id=schema_id, records=first.taken + rest.taken)

    async def _unknown(self, survey: int) -> list[int]:
        rows = table("quarantine")
        query = (
            sa.select(rows.c.schemaId)
            .where(rows.c.code == CODE, rows.c.survey == survey, rows.c.state == "held", rows.c.schemaId.is_not(None))
            .distinct()
        )
        async with self.redriver.committer.engine.connect() as connection:
            return sorted(await connection.scalars(query))
