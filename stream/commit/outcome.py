"""Whether a COMMIT whose answer was lost stands."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from stream.commit.waiting import Waiter
from stream.errors import SkyburstError, Transient
from stream.tables.model import table
from stream.tables.trouble import translate


async def stands(engine: AsyncEngine, commit: int, waiter: Waiter) -> bool:
    """Look for `commit` with a locking read until the database says yes or no.

    A plain read would say "not there" too early, while the server still holds the transaction; a lock wait that times
    out (1205) means that it is still unknown. There is no deadline: before it is known nothing may be written over, and
    nothing else published.
    """
    rows = table("commits")
    query = sa.select(rows.c.commitId).where(rows.c.commitId == commit).with_for_update(read=True)
    while True:
        try:
            async with engine.connect() as connection:
                found = (await connection.execute(query)).scalar_one_or_none()
                await connection.rollback()
        except (SQLAlchemyError, OSError, SkyburstError) as error:
            cause: SkyburstError = translate(error)
            if not isinstance(cause, Transient):
                raise cause from error
            await waiter.wait(cause)
            continue
        waiter.done()
        return found is not None
