"""Qserv's HTTP frontend as its documentation says (API v55), over a real MariaDB: queries with states, results kept.

A query runs in the database at once; what it became is said only once `gate` is open.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pymysql
from aiohttp import web
from pymysql.constants import FIELD_TYPE

from stream.local import LocalMariadb

OLDEST, PARSE_ERRORS = 12, (1054, 1064, 1146)
_TYPES = {
    FIELD_TYPE.TINY: "TINYINT", FIELD_TYPE.SHORT: "SMALLINT", FIELD_TYPE.LONG: "INT", FIELD_TYPE.LONGLONG: "BIGINT",
    FIELD_TYPE.FLOAT: "FLOAT", FIELD_TYPE.DOUBLE: "DOUBLE", FIELD_TYPE.DATETIME: "DATETIME", FIELD_TYPE.DATE: "DATE",
    FIELD_TYPE.TIME: "TIME", FIELD_TYPE.BIT: "BIT(64)", FIELD_TYPE.NULL: "NULL", FIELD_TYPE.TIMESTAMP: "TIMESTAMP",
}  # fmt: skip


@dataclass(slots=True)
class Query:
    """What the service knows of a query."""

    text: str
    state: str = "EXECUTING"
    error: str = ""
    result: dict[str, Any] | None = None


@dataclass(slots=True)
class QservHttp:
    """The service: what it was asked, what it keeps, and how it is to behave.

    Parameters
    ----------
    becomes
        State and words that the next queries get instead of their own.
    lose
        So many requests that begin with the key (a path, or a method and a path) are answered 503, then no more.
    """

    mariadb: LocalMariadb
    user: str = "reader"
    password: str = "let me: in"
    version: int = 55
    port: int = 0
    position: tuple[str, str] = ("ra_PS", "decl_PS")
    gate: threading.Event = field(default_factory=threading.Event)
    looked: threading.Event = field(default_factory=threading.Event)
    becomes: tuple[str, str] | None = None
    lose: dict[str, int] = field(default_factory=dict)
    queries: dict[int, Query] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def url(self, database: str, password: str = "let%20me%3A%20in") -> str:
        """Its address with a login."""
        return f"http://{self.user}:{password}@127.0.0.1:{self.port}/{database}"

    @property
    def kept(self) -> list[int]:
        """Queries whose results it still keeps."""
        return [number for number, query in self.queries.items() if query.result is not None]

    @property
    def running(self) -> list[int]:
        """Queries that it still works on."""
        return [number for number, query in self.queries.items() if query.state == "EXECUTING"]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any request."""
        self.asked.append(f"{request.method} {request.path}")
        for begin, left in self.lose.items():
            if (f"{request.method} {request.path}".startswith(begin) or request.path.startswith(begin)) and left:
                self.lose[begin] -= 1
                return web.Response(status=503, text="<html>no</html>")
        login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {login}":
            return web.Response(status=401, text="<html>who are you</html>")
        body: dict[str, Any] = {}
        if request.headers.get("Content-Type") == "application/json":
            body = await request.json()
        version = body.get("version", request.query.get("version"))
        if version is not None and not OLDEST <= int(version) <= self.version:
            text = f"The requested version {version} of the API is not in the range supported by the service."
            return _no(text, {"min_version": OLDEST, "max_version": self.version})
        return await self._serve(request.method, request.path, body)

    async def _serve(self, method: str, path: str, body: dict[str, Any]) -> web.StreamResponse:
        if (method, path) == ("GET", "/meta/version"):
            return _yes(kind="qserv-czar-query-frontend", name="http", id=8, instance_id="test", version=self.version)
        if (method, path) == ("POST", "/query-async"):
            return await asyncio.to_thread(self._submit, body)
        found = re.fullmatch(r"/query-async(/status|/result|)/(\d+)", path)
        if found is None:
            return web.Response(status=404, text="<html>no such service</html>")
        what, number = found[1], int(found[2])
        if number not in self.queries:
            return _no(f"failed to obtain info for queryId={number}, ex: Czar::getQueryInfo Unknown user query, err=")
        query = self.queries[number]
        if (method, what) == ("GET", "/status"):
            return self._status(number, query)
        if (method, what) == ("GET", "/result"):
            return _yes(**query.result) if query.result and query.state == "COMPLETED" else _no("no result")
        if (method, what) == ("DELETE", "/result"):
            query.result, had = None, query.result is not None
            return _yes() if had else _no(f"no result of queryId={number}")
        if (method, what) == ("DELETE", ""):
            query.state = "ABORTED" if query.state == "EXECUTING" else query.state
            return _yes()
        return web.Response(status=404, text="<html>no such service</html>")

    def _status(self, number: int, query: Query) -> web.Response:
        # The state is said as it was found; the first look at a held query wakes the test that waits for it.
        if query.state == "EXECUTING" and self.gate.is_set():
            query.state, query.error = self.becomes or (("FAILED", query.error) if query.error else ("COMPLETED", ""))
        done = 3 if query.state == "EXECUTING" else 7
        status = {"queryId": number, "query": query.text, "status": query.state, "error": query.error, "czarId": 8}
        answer = _yes(status=status | {"totalChunks": 7, "completedChunks": done, "queryBeginEpoch": 1708141345})
        self.looked.set()
        return answer

    def _submit(self, body: dict[str, Any]) -> web.Response:
        if "query" not in body:
            return _no("the required parameter 'query' was not found in the request body")
        query = Query(body["query"])
        try:
            query.result = self._run(query.text, body.get("database"))
        except pymysql.MySQLError as error:
            if error.args[0] in PARSE_ERRORS:
                return _no(f"Query processing error: {error.args[1]}")
            query.error = f"{error.args[0]} {error.args[1]}"
        number = len(self.queries) + 310554
        self.queries[number] = query
        return _yes(queryId=number)

    def _run(self, text: str, database: str | None) -> dict[str, Any]:
        """The answer, with an area restrictor done as Qserv does it: on the director's position, by scisql."""
        ra, dec = self.position
        text = re.sub(r"qserv_areaspec_circle\(([^()]*)\)", rf"scisql_s2PtInCircle({ra}, {dec}, \1) = 1", text)
        with (
            pymysql.connect(
                host="127.0.0.1", port=self.mariadb.port, user="skyburst", password=self.mariadb.password,
                database=database, conv={},
            ) as connection,
            connection.cursor() as cursor,
        ):  # fmt: skip
            cursor.execute(text)
            fields = cursor._result.fields  # type: ignore[union-attr]
            kinds = [_type(each) for each in fields]
            rows = [
                [value.hex().upper() if isinstance(value, bytes) else value for value in row]
                for row in cursor.fetchall()
            ]
        schema = [
            {"table": each.table_name, "column": each.name, "type": kind, "is_binary": int(binary)}
            for each, (kind, binary) in zip(fields, kinds, strict=True)
        ]
        return {"schema": schema, "rows": rows}


def _type(each: Any) -> tuple[str, bool]:
    """The type in the words of CREATE TABLE, and whether it is binary."""
    code, unsigned = each.type_code, bool(each.flags & 32)
    if code == FIELD_TYPE.NEWDECIMAL:
        return f"DECIMAL({each.length - (each.scale > 0) - (not unsigned)},{each.scale})", False
    if code in _TYPES:
        return _TYPES[code] + (" UNSIGNED" if unsigned and code != FIELD_TYPE.BIT else ""), code == FIELD_TYPE.BIT
    if each.charsetnr == 63:
        return f"VARBINARY({each.length})", True
    return f"VARCHAR({each.length})", False


def _yes(**said: Any) -> web.Response:
    return web.json_response({"success": 1, "error": "", "error_ext": {}, "warning": "", **said})


def _no(error: str, more: dict[str, Any] | None = None) -> web.Response:
    return web.json_response({"success": 0, "error": error, "error_ext": more or {}, "warning": ""})


@contextmanager
def qserv_http(mariadb: LocalMariadb, tls: ssl.SSLContext | None = None) -> Iterator[QservHttp]:
    """Serve on a free port of 127.0.0.1 until the block ends, the gate open."""
    service = QservHttp(mariadb)
    service.gate.set()
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", service.handle)
        runner = web.AppRunner(app, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        service.port = runner.addresses[0][1]
        ready.set()
        await stop.wait()
        await runner.cleanup()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        if not ready.wait(10):
            raise TimeoutError("the double of the HTTP frontend did not come up")
        yield service
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
