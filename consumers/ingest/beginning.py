"""What a daemon asks the database before anything else; it waits for one that is away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.ingest.allowance import Allowance
from stream.commit.identity import Daemon, survey_number
from stream.commit.waiting import Waiter
from stream.errors import SkyburstError, Transient
from stream.level1.write import statement_limit
from stream.log import Log
from stream.survey import Survey
from stream.tables.migrate import check
from stream.tables.trouble import translate
from stream.web.health import Health

_log = Log("consumers.ingest")


@dataclass(frozen=True, slots=True)
class Beginning:
    """Who this daemon is, bytes that a statement may have, the number of its survey, and whether it had to wait."""

    daemon: Daemon
    statement_bytes: int
    survey: int
    waited: bool = False


async def begin(
    engine: AsyncEngine, survey: Survey, allowance: Allowance, health: Health, stopped: Callable[[], bool]
) -> Beginning:
    """Check the tables and learn what a daemon must know.

    Raises
    ------
    Fatal
        ``level1_version``: the tables are not those of this version.
    Transient
        The database is away, and the daemon was told to stop.
    """

    def tell(error: SkyburstError | None) -> None:
        health.set("waiting", None if error is None else f"{error.code}: {error}")
        if error is None:
            _log.info("goes_on")
        else:
            _log.warning("waiting", error=error)

    waited = False
    with Waiter(tell) as waiter:
        while True:
            try:
                found = await _ask(engine, survey, allowance)
                return replace(found, waited=waited)
            except (SQLAlchemyError, OSError, SkyburstError) as error:
                cause = translate(error)
                if not isinstance(cause, Transient) or stopped():
                    raise cause from error
                waited = True
                await waiter.wait(cause)


async def _ask(engine: AsyncEngine, survey: Survey, allowance: Allowance) -> Beginning:
    async with engine.connect() as connection:
        await check(connection)
        limit = await statement_limit(connection)
    daemon = await Daemon.start(engine)
    number = await survey_number(engine, survey.name, survey.digest, daemon.instance)
    await allowance.ask(engine, number)
    return Beginning(daemon, limit, number)
