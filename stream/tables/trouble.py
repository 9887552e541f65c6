"""What the database's error codes mean for whoever asked: each becomes a class of ``stream.errors``."""

from __future__ import annotations

import asyncio
import sqlite3
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, InterfaceError, ResourceClosedError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from stream.errors import Fatal, Fenced, Held, Poison, SkyburstError, Transient

Policy = tuple[type[SkyburstError], str, str]

_AWAY: Policy = (Transient, "level1_away", "")
_FULL: Policy = (Transient, "level1_full", "make room on the database's disk")
_READ_ONLY: Policy = (Transient, "level1_read_only", "the server is read-only: set read_only = OFF or use the primary")
_BUSY: Policy = (Transient, "level1_busy", "")
_VALUE: Policy = (Poison, "level1_refused", "")
_DUPLICATE: Policy = (Fenced, "level1_duplicate", "")
_RIGHTS: Policy = (Fatal, "level1_rights", "give the user its role: see deploy/mariadb/roles.sql")
_DENIED: Policy = (
    Fatal,
    "level1_rights",
    "see that user, password and host are right, and whether the server asks for TLS (ssl_ca=FILE in the URL)",
)
_TABLES: Policy = (Fatal, "level1_version", "run skyburst level1 migrate")
_NO_DATABASE: Policy = (Fatal, "level1_version", "make it (deploy/mariadb/roles.sql does), or mend its name in the URL")
_TLS: Policy = (Fatal, "level1_tls", "give the authority that signed the server's certificate as ssl_ca in the URL")
_LOCKED: Policy = (
    Transient,
    "lock_wait",
    "another transaction is in the way: see SHOW FULL PROCESSLIST at the server",
)
_BINLOG: Policy = (Fatal, "level1_error", "set binlog_format to ROW or MIXED at the server")
_BROKEN: Policy = (Fatal, "level1_error", "")

_MARIADB: dict[int, Policy] = {
    1205: _LOCKED,
    **dict.fromkeys((1213, 1020), (Transient, "deadlock", "")),
    **dict.fromkeys((1040, 1203, 1226, 1317, 1412, 1615, 1969, 3024), _BUSY),
    **dict.fromkeys((1042, 1043, 1047, 1053, 1077, 1079, 1080, 1129, 1152, 1158, 1159, 1160, 1161), _AWAY),
    **dict.fromkeys((1180, 1184, 1927, 2002, 2003, 2005, 2006, 2012, 2013, 2014, 2027, 2055, 4031), _AWAY),
    # The first three are of the server's files, such as that of a transaction's binary log in its temporary folder.
    **dict.fromkeys((1, 3, 20, 1021, 1026, 1030, 1114, 1878), _FULL),
    **dict.fromkeys((1290, 1792, 1836), _READ_ONLY),
    1049: _NO_DATABASE,
    1665: _BINLOG,
    1526: (Held, "level1_partition", "run skyburst level1 migrate to make partitions for this night"),
    **dict.fromkeys((1048, 1264, 1265, 1292, 1366, 1406, 1411, 1690), _VALUE),
    **dict.fromkeys((1022, 1062, 1169, 1586), _DUPLICATE),
    **dict.fromkeys((1044, 1142, 1143, 1227, 1370), _RIGHTS),
    **dict.fromkeys((1045, 1698, 3159), _DENIED),
    **dict.fromkeys((1054, 1146, 1364), _TABLES),
}

_SQLITE: dict[int, Policy] = {
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_INTERRUPT: _BUSY,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: _FULL,
    sqlite3.SQLITE_NOMEM: _BUSY,
    sqlite3.SQLITE_TOOBIG: _VALUE,
    sqlite3.SQLITE_MISMATCH: _VALUE,
    sqlite3.SQLITE_RANGE: _VALUE,
    sqlite3.SQLITE_CONSTRAINT: _VALUE,
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY: _DUPLICATE,
    sqlite3.SQLITE_CONSTRAINT_UNIQUE: _DUPLICATE,
    sqlite3.SQLITE_CANTOPEN: (Fatal, "level1_rights", "make the folder of the database and let this user write in it"),
    sqlite3.SQLITE_READONLY: (Fatal, "level1_rights", "let this user write the database's file and folder"),
    sqlite3.SQLITE_PERM: (Fatal, "level1_rights", "let this user write the database's file and folder"),
}


def translate(error: BaseException) -> SkyburstError:
    """The error of `stream.errors` that says what to do about a database error.

    Parameters
    ----------
    error
        From SQLAlchemy, from a driver, or from the connection's transport. One of ours is given back as it is.

    Returns
    -------
    SkyburstError
        Transient for what passes by itself (``lock_wait`` is 1205, which undid only its statement: roll back;
        ``deadlock`` 1213; ``level1_away``; ``level1_busy``; ``level1_full``; ``level1_read_only``), Held for a missing
        partition (1526), Poison ``level1_refused`` for a value that the server refuses, Fenced ``level1_duplicate`` for
        a key that is taken, Fatal for rights, tables, an untrusted certificate and everything unknown.
    """
    if isinstance(error, SkyburstError):
        return error
    cause: BaseException = error
    if isinstance(error, DBAPIError) and error.orig is not None:
        cause = error.orig
    cause = _certificate(cause) or cause
    kind, code, advice = _policy(error, cause)
    return kind(code, f"Level-1 database: {_said(cause)}", advice)


@contextmanager
def translated() -> Iterator[None]:
    """Database errors raised inside leave as errors of `stream.errors`; anything else leaves as it is."""
    try:
        yield
    except (SQLAlchemyError, OSError, EOFError, sqlite3.Error) as error:
        raise translate(error) from error


def _certificate(error: BaseException | None) -> BaseException | None:
    """The refusal of a certificate among the causes: drivers call it 2003, as if the server were away."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or getattr(error, "original_exception", None)
    return error


def _policy(error: BaseException, cause: BaseException) -> Policy:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _TLS
    if isinstance(cause, sqlite3.Error):
        return _of_sqlite(cause)
    number = cause.args[0] if cause.args else None
    if isinstance(number, int) and number in _MARIADB and not isinstance(cause, OSError):
        return _MARIADB[number]
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return _AWAY
    if isinstance(cause, PoolTimeout):
        return _BUSY
    if isinstance(cause, OverflowError):
        return _VALUE
    if isinstance(cause, OSError | EOFError | asyncio.TimeoutError | InterfaceError | ResourceClosedError):
        return _AWAY
    # aiomysql has errors of its own without a number, all of a connection that is gone.
    return _AWAY if number in (0, "(0, 'Not connected')") or "closed" in str(cause).lower() else _BROKEN


def _of_sqlite(cause: sqlite3.Error) -> Policy:
    extended = getattr(cause, "sqlite_errorcode", None)
    if extended is None:
        return _BROKEN
    if "no such table" in str(cause) or "no such column" in str(cause):
        return _TABLES
    return _SQLITE.get(extended, _SQLITE.get(extended & 0xFF, _BROKEN))


def _said(cause: BaseException) -> str:
    if len(cause.args) > 1 and isinstance(cause.args[0], int):
        return f"{cause.args[0]} {cause.args[1]}"[:300]
    return f"{type(cause).__name__} {cause}"[:300]
