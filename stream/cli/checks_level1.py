"""The checks of the database: reachable, the right version, session, rights, partitions, clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from functools import partial

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from stream.cli.finding import Check, Finding
from stream.config import Settings

_FLUSH = "innodb_flush_log_at_trx_commit"
SKEW_S = 2.0
"""Seconds between the clocks of this machine and of the database beyond which heartbeats and latencies mislead."""

Ask = Callable[[AsyncConnection], Awaitable[Finding]]


def level1_checks(settings: Settings) -> Iterator[tuple[str, str, Check]]:
    """As `stream.cli.checks.checks` gives them."""
    for name, needs, ask in (
        ("level1", "", _version),
        ("level1 session", "level1", _session),
        ("level1 rights", "level1", _rights),
        ("level1 partitions", "level1", _partitions),
        ("level1 clock", "level1", _clock),
    ):
        yield name, needs, partial(_asked, settings, ask)


def _asked(settings: Settings, ask: Ask) -> Finding:
    return asyncio.run(_connected(settings.need("level1"), ask))


async def _connected(url: str, ask: Ask) -> Finding:
    from stream.tables.engine import open_engine, sqlite_file
    from stream.tables.trouble import translated

    file = sqlite_file(url)
    if file is not None and not file.exists():
        return Finding("fails", f"{file} is not there", "run `skyburst level1 migrate`")
    engine = open_engine(url)
    try:
        with translated():
            async with engine.connect() as connection:
                return await ask(connection)
    finally:
        await engine.dispose()


async def _version(connection: AsyncConnection) -> Finding:
    from stream.tables.migrate import check, must_be_whole

    found = await check(connection)
    await must_be_whole(connection)
    return Finding("ok", f"version {found.version}, instance {found.instance}")


async def _session(connection: AsyncConnection) -> Finding:
    """What holds for a connection; ``level1_packet`` where the server takes too little of one statement."""
    if connection.dialect.name == "sqlite":
        mode = (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar_one()
        return Finding("ok", f"SQLite, journal {mode}: one host, one daemon")
    from stream.level1.write import statement_limit

    await statement_limit(connection)
    names = ("tx_isolation", "sql_mode", "innodb_lock_wait_timeout", "idle_write_transaction_timeout", _FLUSH)
    query = f"SELECT VERSION(), {', '.join('@@' + name for name in names)}"
    found = (await connection.exec_driver_sql(query)).one()
    version, isolation, mode, wait, idle, flush = (str(each) for each in found)
    wrong = []
    if isolation != "READ-COMMITTED":
        wrong.append(f"tx_isolation is {isolation}")
    if "STRICT_ALL_TABLES" not in mode:
        wrong.append("sql_mode is not strict")
    if int(wait) > 10 or not 0 < int(idle) <= 10:
        wrong.append(f"innodb_lock_wait_timeout is {wait}, idle_write_transaction_timeout {idle}")
    if wrong:
        return Finding("fails", "; ".join(wrong), "nothing between here and the server may change a session's settings")
    if int(flush) != 1:
        advice = "set it to 1: else a crash of the server loses commits whose packets are on disk"
        return Finding("warn", f"{version}; {_FLUSH} is {flush}", advice)
    return Finding("ok", f"{version}, READ COMMITTED, strict")


async def _rights(connection: AsyncConnection) -> Finding:
    """What ingest must be able to do, tried on no row in a transaction that is rolled back; and what it should not."""
    from stream.tables.model import table

    quarantine = table("quarantine")
    await connection.execute(sa.update(quarantine).where(sa.false()).values(state=quarantine.c.state))
    await connection.execute(
        sa.insert(quarantine).from_select(quarantine.c.keys(), sa.select(quarantine).where(sa.false()))
    )
    await connection.rollback()
    if connection.dialect.name == "sqlite":
        return Finding("ok", "reads and writes")
    grants = " ".join(str(row[0]).upper() for row in await connection.exec_driver_sql("SHOW GRANTS"))
    if "ALL PRIVILEGES" in grants or " DELETE" in grants:
        return Finding("warn", "this user may delete rows; ingest never does", "use the role ingest of deploy/mariadb")
    return Finding("ok", "reads and writes, cannot delete")


async def _partitions(connection: AsyncConnection) -> Finding:
    from stream.tables.nights import night_of, partitions, rows_in_last

    if await rows_in_last(connection):
        return Finding("warn", "rows fall into the last partition", "run `skyburst level1 migrate`")
    have = await partitions(connection)
    if not have:
        return Finding("ok", "none on this database")
    tonight, below = night_of(datetime.now(UTC).date()), have[-2].below if len(have) > 1 else None
    if below is None or below <= tonight:
        return Finding("warn", f"tonight ({tonight}) has no partition of its own", "run `skyburst level1 migrate`")
    return Finding("ok", f"{len(have)}, up to the night before {below}")


async def _clock(connection: AsyncConnection) -> Finding:
    from stream.clock import SystemClock

    if connection.dialect.name == "sqlite":
        return Finding("ok", "the database has this machine's clock")
    clock = SystemClock()
    before = clock.now()
    theirs = float((await connection.exec_driver_sql("SELECT UNIX_TIMESTAMP(NOW(6))")).scalar_one())
    skew = theirs - (before + clock.now()) / 2
    if abs(skew) > SKEW_S:
        return Finding("warn", f"the database's clock is {skew:+.1f} s from this one", "keep both with NTP")
    return Finding("ok", f"{skew:+.3f} s apart")
