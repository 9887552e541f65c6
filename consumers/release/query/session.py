"""Qserv, asked: SQL and standard queries by one object, whatever protocol leads there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

import pyarrow as pa

from consumers.release.query.frontend import ROWS, Address, Frontend
from consumers.release.query.http import HttpFrontend, Status
from consumers.release.query.mysql import MysqlFrontend
from consumers.release.query.tables import with_units
from consumers.release.query.templates import template
from consumers.release.table import Database


def open_frontend(url: str, *, plain: bool = False, on_status: Callable[[Status], None] | None = None) -> Frontend:
    """The frontend at a URL: ``mysql://USER:PASSWORD@HOST:4040/DATABASE`` or ``https://USER:PASSWORD@HOST:4048/DATABASE``.

    Parameters
    ----------
    plain
        The other end is a plain MariaDB, without Qserv's functions.
    on_status
        Called with how far a query is; the MySQL protocol does not say.

    Raises
    ------
    Wrong
        ``query_url``.
    """
    address = Address.of(url)
    if address.scheme == "mysql":
        return MysqlFrontend(address, plain=plain)
    return HttpFrontend(address, plain=plain, on_status=on_status)


class Qserv:
    """Asks a frontend. A context manager; instances serve one thread at a time.

    Parameters
    ----------
    frontend
        A URL as `open_frontend` takes it, or a frontend.
    plain
        The URL leads to a plain MariaDB, without Qserv's functions.

    Examples
    --------
    ::

        with Qserv("mysql://reader:secret@qserv:4040/dp02") as qserv:
            rows = qserv.query("SELECT objectId, ra, decl FROM Object WHERE objectId = 12")
    """

    def __init__(self, frontend: str | Frontend, *, plain: bool = False) -> None:
        self._frontend = open_frontend(frontend, plain=plain) if isinstance(frontend, str) else frontend

    def query(self, sql: str) -> pa.Table:
        """The whole answer to a query; raises what `Frontend.stream` says."""
        with self._frontend.stream(sql) as reader:
            return reader.read_all()

    def stream(self, sql: str, *, rows: int = ROWS) -> AbstractContextManager[pa.RecordBatchReader]:
        """The answer in batches of `rows` rows: over the MySQL protocol never more than one is in memory."""
        return self._frontend.stream(sql, rows=rows)

    def sql(self, name: str, database: Database, given: Mapping[str, object]) -> str:
        """The SQL of a standard query (`consumers.release.query.templates`) for this frontend."""
        return template(name).sql(database, given, functions=self._frontend.functions)

    def ask(self, name: str, database: Database, given: Mapping[str, object]) -> pa.Table:
        """The answer to a standard query, its columns with the units and descriptions of `database`."""
        found = self.query(self.sql(name, database, given))
        return with_units(found, database.table(str(given["table"])))

    def close(self) -> None:
        """Close what is open."""
        self._frontend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
