"""The two frontends that the contract of `consumers.release.query` holds for, each before the same real MariaDB."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from doubles.qserv_http import QservHttp, qserv_http

from consumers.release.query import Qserv
from stream.local import LocalMariadb

PROTOCOLS = ("mysql", "http")


@dataclass(frozen=True, slots=True)
class Place:
    """A database behind a frontend."""

    protocol: str
    database: str
    mariadb: LocalMariadb
    http: QservHttp

    def url(self, *, password: str | None = None, port: int | None = None) -> str:
        """Where the frontend is; with another password or port than its own where they are given."""
        if self.protocol == "http":
            url = self.http.url(self.database, password) if password else self.http.url(self.database)
            return url.replace(f":{self.http.port}/", f":{port}/") if port else url
        user = "skyburst" if password else None
        url = self.mariadb.url(self.database, user=user, password=password)
        return url.replace(f":{self.mariadb.port}/", f":{port}/") if port else url

    def asked(self) -> Qserv:
        """What asks there; the MySQL protocol leads to MariaDB itself, which has no functions of Qserv's."""
        return Qserv(self.url(), plain=self.protocol == "mysql")


@contextmanager
def place(protocol: str, mariadb: LocalMariadb, database: str) -> Iterator[Place]:
    """A frontend before `database`."""
    with qserv_http(mariadb) as http:
        yield Place(protocol, database, mariadb, http)
