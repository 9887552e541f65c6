"""The MariaDB behind the double: connections that threads borrow, and what names its databases have there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, LifoQueue
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pymysql

from stream.errors import Wrong
from stream.local import LocalMariadb
from stream.local.mariadb import ADMINISTRATOR
from stream.local.ports import LOOPBACK

OWN_OPTIONS = {
    # As the server had it that was recorded.
    "character-set-server": "latin1",
    "lower-case-table-names": "1",
    # A double's tables need not outlive the machine, and syncing each table's definition costs 10 ms.
    "sync-frm": "OFF",
    "innodb-flush-log-at-trx-commit": "0",
    "max-connections": "400",
    "table-open-cache": "4000",
    "open-files-limit": "65535",
}
"""Options of a server that the double starts itself; sql_mode is MariaDB's own."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a MariaDB server is, and who may do all there.

    Its data folder must be on this machine: files are loaded by the server itself (LOAD DATA INFILE).
    """

    user: str
    password: str = field(repr=False)
    host: str = LOOPBACK
    port: int = 3306
    socket: str | None = None

    @classmethod
    def of(cls, server: LocalMariadb | str) -> Place:
        """Of a private server, or of a URL ``mysql://user:password@host:port/?unix_socket=…``."""
        if isinstance(server, LocalMariadb):
            return cls(ADMINISTRATOR, server.password, LOOPBACK, server.port)
        parts = urlsplit(server)
        if not parts.scheme.startswith(("mysql", "mariadb")) or not parts.username:
            raise Wrong("bad_double", f"{parts.scheme}://… is no MariaDB URL", "give mysql://user:password@host:port/")
        socket = parse_qs(parts.query).get("unix_socket", [None])[0]
        password = unquote(parts.password or "")
        return cls(unquote(parts.username), password, parts.hostname or LOOPBACK, parts.port or 3306, socket)


class Server:
    """Connections to a MariaDB, each used by one thread at a time.

    Parameters
    ----------
    place
        Where it is.
    prefix
        With which the names of the double's own databases begin.
    """

    def __init__(self, place: Place, prefix: str) -> None:
        self.place, self.prefix = place, prefix
        self._idle: LifoQueue[pymysql.Connection[Any]] = LifoQueue()
        self._all: list[pymysql.Connection[Any]] = []
        self._abandoned = False

    def database(self, worker: str, database: str) -> str:
        """The name in MariaDB of a database of a worker (``czar`` has the director indexes)."""
        return f"{self.prefix}{worker}_{database}"

    def as_told(self, message: str, worker: str, database: str) -> str:
        """MariaDB's message with Qserv's name of the database in it."""
        return re.sub(re.escape(self.database(worker, database)), lambda _: database, message, flags=re.IGNORECASE)

    @contextmanager
    def cursor(self) -> Iterator[pymysql.cursors.Cursor]:
        """A cursor, every statement committed at once."""
        if self._abandoned:
            raise pymysql.InterfaceError(0, "the double is dead")
        try:
            connection = self._idle.get_nowait()
        except Empty:
            connection = self._connect()
        try:
            with connection.cursor() as cursor:
                yield cursor
        finally:
            if connection.open:
                self._idle.put(connection)

    def rows(self, statement: str, arguments: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """The rows of one statement."""
        with self.cursor() as cursor:
            cursor.execute(statement, arguments or None)
            return list(cursor.fetchall())

    def execute(self, statement: str) -> None:
        """Run one statement."""
        with self.cursor() as cursor:
            cursor.execute(statement)

    def databases(self) -> list[str]:
        """The double's databases that are there."""
        rows = self.rows("SELECT schema_name FROM information_schema.schemata")
        return [name for (name,) in rows if name.lower().startswith(self.prefix.lower())]

    def abandon(self) -> None:
        """End all connections, whatever they are doing, as a process that dies does."""
        self._abandoned = True
        busy = [connection.thread_id() for connection in self._all if connection.open]
        if not busy:
            return
        with self._connect() as killer, killer.cursor() as cursor:
            for number in busy:
                try:
                    cursor.execute(f"KILL {number}")
                except pymysql.MySQLError as error:
                    if error.args[0] != pymysql.constants.ER.NO_SUCH_THREAD:
                        raise

    def close(self) -> None:
        """Close all connections."""
        for connection in self._all:
            if connection.open:
                connection.close()

    def _connect(self) -> pymysql.Connection[Any]:
        place = self.place
        connection = pymysql.connect(
            host=place.host,
            port=place.port,
            unix_socket=place.socket,
            user=place.user,
            password=place.password,
            autocommit=True,
            local_infile=True,
            connect_timeout=10,
        )
        self._all.append(connection)
        return connection
