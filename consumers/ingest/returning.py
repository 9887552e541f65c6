"""Quarantined packets that come back by themselves: their schema was unknown, and has appeared."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

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
    _stay: dict[int, int] = field(default_factory=dict)

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
        for schema_id, held in sorted((await self._unknown(survey)).items()):
            if self._stay.get(schema_id) == held:
                continue
            wanted = Selection(survey, code=CODE, schema_id=schema_id, state="held")
            first = await self.redriver.redrive(wanted, most=1)
            if any(one.waits for one in first.stays):
                continue
            rest = await self.redriver.redrive(wanted)
            _log.info("schema_appeared", schema_id=schema_id, records=first.taken + rest.taken, stay=len(rest.stays))
            if not any(one.waits for one in rest.stays):
                # What is bad under its schema, too, stays: it is not read again and again.
                self._stay[schema_id] = len(rest.stays)

    async def _unknown(self, survey: int) -> dict[int, int]:
        """By schema id how many packets are held for it."""
        rows = table("quarantine")
        query = (
            sa.select(rows.c.schemaId, sa.func.count().label("held"))
            .where(rows.c.code == CODE, rows.c.survey == survey, rows.c.state == "held", rows.c.schemaId.is_not(None))
            .group_by(rows.c.schemaId)
        )
        async with self.redriver.committer.engine.connect() as connection:
            return {row.schemaId: row.held for row in await connection.execute(query)}
