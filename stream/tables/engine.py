"""Connections to the database of Level-1, set up alike wherever they are made.

MariaDB is reached by aiomysql (PyMySQL in notebooks), SQLite by aiosqlite (sqlite3 in notebooks). What differs between
the two databases lives in this package and nowhere else.
"""

from __future__ import annotations

import asyncio
import os
import socket
import weakref
from pathlib import Path
from typing import Any

import pymysql
from pymysql.constants import CR
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.mysql.aiomysql import MySQLDialect_aiomysql
from sqlalchemy.engine.interfaces import DBAPICursor, ExecutionContext, PoolProxiedConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from stream.errors import Fatal, Transient, Wrong
from stream.tables import bulk
from stream.tables.bulk import Bulk
from stream.tls import FILES, tls_of

LOCK_WAIT_S = 5
"""Seconds that a statement waits for a row lock, and that the server lets a writing transaction stand idle."""

CONNECT_S = 5

ROLLBACK_S = 5.0
"""Seconds that the answer to a ROLLBACK is waited for."""

RECYCLE_S = 3600
"""Seconds after which a connection is made anew: a server that once refused the bulk command may take it again."""

_LOST_HOST = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 30_000}
"""aiomysql waits for an answer without a limit, and by the kernel's own settings a host that vanished without a word is
noticed after hours; by these after half a minute. A server that is only slow, or frozen, is waited for all the same."""

_MARIADB_SESSION = {
    "tx_isolation": "'READ-COMMITTED'",
    "sql_mode": "'STRICT_ALL_TABLES,STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
    "innodb_lock_wait_timeout": LOCK_WAIT_S,
    "idle_write_transaction_timeout": LOCK_WAIT_S,
    # From 1000 values on MariaDB makes a temporary table of an IN list, and the locking read of a batch's ids a scan.
    "in_predicate_conversion_threshold": 0,
    "time_zone": "'+00:00'",
    # A server may have these for people who type: rows beyond the limit are left out without a word, a COMMIT ends the
    # connection, and an UPDATE that names no key is refused, or a SELECT of many rows.
    "sql_select_limit": 2**64 - 1,
    "completion_type": "'NO_CHAIN'",
    "sql_safe_updates": 0,
    "sql_big_selects": 1,
}

_DRIVERS = {"mysql": ("mysql+aiomysql", "mysql+pymysql"), "sqlite": ("sqlite+aiosqlite", "sqlite+pysqlite")}
_OPTIONS = {
    "mysql": {
        *FILES,
        *("charset", "unix_socket", "user", "password", "read_default_file", "read_default_group", "program_name"),
    },
    "sqlite": set[str](),
}
"""What a URL may say behind its question mark: the drivers meet any other word with a traceback, or pass over it."""


def level1_url(setting: str | URL) -> URL:
    """The database's URL with the dialect that skyburst uses, whatever driver was written down.

    Parameters
    ----------
    setting
        ``mysql://USER:PASSWORD@HOST:PORT/DATABASE`` (also ``mariadb``; ``?ssl_ca=FILE&ssl_cert=FILE&ssl_key=FILE`` for
        TLS) or ``sqlite:///FILE``.

    Raises
    ------
    Wrong
        ``level1_url``: not a URL, another kind of database, a database without a name, or an unknown option.
    """
    advice = "give mysql://USER:PASSWORD@HOST:PORT/DATABASE or sqlite:///FILE"
    try:
        url = make_url(setting)
    except (ArgumentError, ValueError):
        # From None: SQLAlchemy repeats the text, which may have a password in it.
        raise Wrong("level1_url", "the Level-1 setting is not a database URL", advice) from None
    kind = url.drivername.split("+")[0].replace("mariadb", "mysql")
    if kind not in _DRIVERS:
        raise Wrong("level1_url", f"Level-1 cannot be kept in {kind!r}", advice)
    _must_be_plain(str(setting), kind, set(url.query))
    if url.database in (None, "", ":memory:"):
        raise Wrong("level1_url", f"the Level-1 URL {url.render_as_string()} names no database", advice)
    return url.set(drivername=_DRIVERS[kind][0])


def _must_be_plain(setting: str, kind: str, options: set[str]) -> None:
    if kind == "sqlite" and "?" in setting:
        raise Wrong("level1_url", "the SQLite URL has a question mark in it", "give no options; in a path write %3F")
    if kind == "mysql" and setting.count("@") > 1:
        # What is behind the first one would be taken for the host, and told to whoever reads of it.
        text = "the Level-1 URL has more than one @ in it"
        advice = "write @ inside a password or a file's name as %40; in a password / as %2F, ? as %3F, % as %25"
        raise Wrong("level1_url", text, advice)
    if unknown := options - _OPTIONS[kind]:
        known = ", ".join(sorted(_OPTIONS[kind]))
        raise Wrong("level1_url", f"the Level-1 URL has no option {min(unknown)!r}", f"known are {known}")


def sqlite_file(url: str | URL) -> Path | None:
    """The database's file where `url` is an SQLite one, else None."""
    ours = level1_url(url)
    return Path(str(ours.database)) if ours.get_backend_name() == "sqlite" else None


def open_engine(url: str | URL, *, pool_size: int = 4, readonly: bool = False) -> AsyncEngine:
    """Engine for a daemon or service. It connects at the first use.

    Parameters
    ----------
    url
        As :func:`level1_url` takes it.
    pool_size
        Connections kept at most; more are never made, callers wait.
    readonly
        On SQLite, transactions begin without the write lock and writes are refused. On MariaDB the role decides.

    Notes
    -----
    MariaDB: READ COMMITTED, strict, 5 s for a lock and for an idle writing transaction (KEEPING.md, "The steps"). The
    connection is dropped whose ROLLBACK the server does not answer within `ROLLBACK_S`.
    SQLite: BEGIN IMMEDIATE, WAL, synchronous FULL.
    """
    ours = level1_url(url)
    bare, options = _bare(ours), _options(ours, pool_size, readonly)
    if ours.get_backend_name() == "mysql":
        bare = bare.set(drivername=f"mysql+{_PATIENT}")
        options["connect_args"]["async_creator_fn"] = bulk.connect
    engine = create_async_engine(bare, **options)
    _settle(engine.sync_engine, readonly)
    return engine


def free_locks(engine: AsyncEngine) -> None:
    """Have MariaDB end a transaction that stands idle also where it has written nothing, but may have locked rows.

    For transactions that begin with a locking read: a process that is frozen behind one kept its rows from all others
    for as long as it was frozen. `LOCK_WAIT_S` holds for writing ones by itself.
    """
    if engine.dialect.name != "sqlite":
        event.listen(engine.sync_engine, "connect", _end_idle)


def _end_idle(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"SET SESSION idle_transaction_timeout = {LOCK_WAIT_S}")
    cursor.close()


async def unhurried(connection: AsyncConnection) -> None:
    """Let writing transactions of this connection stand idle: for whoever reads files in one, and holds up nobody."""
    if connection.dialect.name != "sqlite":
        await connection.exec_driver_sql("SET SESSION idle_write_transaction_timeout = 0")


def open_reader(url: str | URL) -> Engine:
    """Engine without asyncio, for notebooks and tools. It cannot write on SQLite; on MariaDB the role decides.

    Threads may share it, and a process that is forked from this one makes connections of its own.
    """
    ours = level1_url(url)
    options = _options(ours, 2, True)
    ours = ours.set(drivername=_DRIVERS[ours.get_backend_name()][1])
    engine = create_engine(_bare(ours), **options)
    _settle(engine, True)
    _READERS.add(engine)
    return engine


_READERS: weakref.WeakSet[Engine] = weakref.WeakSet()


def _part() -> None:
    """Give a forked process connections of its own: two that read from one get pieces of each other's answers."""
    for engine in _READERS:
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_part)


def _options(url: URL, pool_size: int, readonly: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"pool_size": pool_size, "max_overflow": 0, "hide_parameters": True}
    if url.get_backend_name() == "sqlite":
        # The driver begins transactions by itself, and never an immediate one, unless it is told to leave them alone.
        return options | {"connect_args": {"isolation_level": None, "timeout": float(LOCK_WAIT_S)}}
    session = ", ".join(f"SESSION {name} = {value}" for name, value in _MARIADB_SESSION.items())
    connect: dict[str, Any] = {
        "charset": "utf8mb4",
        "local_infile": False,
        "connect_timeout": CONNECT_S,
        "init_command": f"SET {session}",
    }
    if tls := {key: str(value) for key, value in url.query.items() if key in FILES}:
        # aiomysql wants a context where SQLAlchemy would hand it a dictionary.
        connect["ssl"] = tls_of(tls, "level1_url", "Level-1")
    return options | {"connect_args": connect, "pool_pre_ping": True, "pool_recycle": RECYCLE_S}


def _bare(url: URL) -> URL:
    return url.difference_update_query(FILES)


class _Patient(MySQLDialect_aiomysql):
    """Takes a `Bulk` for the parameters of a statement, and waits for the answer to a ROLLBACK only so long.

    A connection that is closed instead is rolled back, too: also one on which a ROLLBACK fails, since it was lost.

    SQLAlchemy rolls back wherever it lets go of a connection, and lets nobody cancel that: a server that froze just
    then held up, without end, whoever had a deadline or was to be stopped.
    """

    supports_statement_cache = True

    def do_execute(
        self, cursor: DBAPICursor, statement: str, parameters: Any, context: ExecutionContext | None = None
    ) -> None:
        if isinstance(parameters, tuple) and parameters and isinstance(parameters[0], Bulk):
            cursor.execute(parameters[0])
        else:
            cursor.execute(statement, parameters)

    def do_rollback(self, dbapi_connection: PoolProxiedConnection) -> None:
        line = self.get_driver_connection(dbapi_connection)
        late = asyncio.get_running_loop().call_later(ROLLBACK_S, line.close)
        try:
            dbapi_connection.rollback()
        except self.loaded_dbapi.Error:
            line.close()
        finally:
            late.cancel()


_PATIENT = "skyburst_aiomysql"
registry.register(f"mysql.{_PATIENT}", __name__, _Patient.__name__)


def _settle(engine: Engine, readonly: bool) -> None:
    if engine.dialect.driver == "aiomysql":
        event.listen(engine, "connect", _notice_lost_host)
    if engine.dialect.name != "sqlite":
        return

    file = Path(str(engine.url.database))
    began: list[tuple[int, int]] = []

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        if not readonly:
            cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute(f"PRAGMA query_only = {'ON' if readonly else 'OFF'}")
        cursor.close()
        if not began:
            began.append(_identity(file))

    if readonly:
        event.listen(engine, "do_connect", _must_be_there)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if not readonly and _identity(file) not in began:
            text = f"{file} is not the file with which this process began"
            raise Fatal("level1_instance", text, "start it again, once the database behind `level1` is the right one")
        # A transaction that reads before it writes fails at once with "database is locked", whatever the timeout.
        connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")


def _identity(file: Path) -> tuple[int, int]:
    """Device and inode. SQLite writes on into a file that was moved, beside a journal that has another one's name."""
    try:
        found = file.stat()
    except FileNotFoundError:
        raise Transient("level1_away", f"there is no {file} any more", "bring it back, or end this process") from None
    return found.st_dev, found.st_ino


def _must_be_there(_dialect: Any, _record: Any, arguments: list[Any], _options: Any) -> None:
    """SQLite makes a file that is not there: whoever only reads would leave an empty one where a path was mistyped."""
    if not Path(arguments[0]).exists():
        text = f"there is no database {arguments[0]}"
        raise Fatal("level1_version", text, "see that the path is right; `skyburst level1 migrate` makes one")


def _notice_lost_host(connection: Any, _record: Any) -> None:
    if connection.driver_connection.closed:  # SQLAlchemy rolls back at the end of the first connection's making, too
        raise pymysql.err.OperationalError(CR.CR_SERVER_LOST, "the server did not answer a ROLLBACK")
    line = connection.driver_connection._writer.get_extra_info("socket")
    if line.family == socket.AF_UNIX:
        return
    for name, value in _LOST_HOST.items():
        if hasattr(socket, name):  # none of them is everywhere
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
