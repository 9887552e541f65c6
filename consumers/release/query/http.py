"""Qserv's HTTP frontend (port 4048): a query is handed in, waited for, its result fetched and then deleted.

Made from the API's description (Qserv API v55, section "HTTP frontend"); it has not seen a live one yet.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

import httpx
import pyarrow as pa

from consumers.release.query.columns import array, arrow_type, once_each
from consumers.release.query.frontend import ROWS, Address, untrusted
from stream.errors import Fatal, SkyburstError, Transient
from stream.log import Log

API, OLDEST = 55, 40
"""The newest version of the API that this client speaks, and the first that has results deleted by the client."""
FIRST_S, LONGEST_S = 0.05, 2.0
"""Seconds between two looks at a query: they double from the first to the longest."""
LOST = 5
"""So many looks in a row may fail before the query is given up."""
_TIMEOUT = httpx.Timeout(300.0, connect=10.0)
_log = Log("consumers.release.query")


@dataclass(frozen=True, slots=True)
class Status:
    """How far a query is.

    Parameters
    ----------
    number
        The service's number of it.
    state
        ``EXECUTING``, ``COMPLETED``, ``FAILED``, ``FAILED_LR`` (the result is larger than the service allows) or
        ``ABORTED``.
    chunks, done
        Chunks of the sky that it goes over, and those that are through.
    error
        The service's words where it failed.
    """

    number: int
    state: str
    chunks: int = 0
    done: int = 0
    error: str = ""


class HttpFrontend:
    """SQL over the HTTP frontend. An answer is in memory whole: it comes as one JSON document.

    Parameters
    ----------
    address
        ``http`` or ``https``; user and password go as basic authentication, ``ssl_ca`` checks the server.
    plain
        The other end has none of Qserv's functions.
    client
        Of httpx, to the frontend's base URL; made from `address` where not given.
    pause
        Waits the given seconds between two looks.
    on_status
        Called after each look.
    """

    def __init__(
        self,
        address: Address,
        *,
        plain: bool = False,
        client: httpx.Client | None = None,
        pause: Callable[[float], None] = time.sleep,
        on_status: Callable[[Status], None] | None = None,
    ) -> None:
        self.functions = not plain
        self._where = address.shown
        self._database = address.database
        self._client = client or _client(address)
        self._pause = pause
        self._on_status = on_status
        self._version: int | None = None

    @contextmanager
    def stream(self, sql: str, *, rows: int = ROWS) -> Iterator[pa.RecordBatchReader]:
        """The answer to a query; see `Frontend`. The service keeps nothing of it: neither query nor result."""
        yield _reader(self._fetch(sql), rows, self._where)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _fetch(self, sql: str) -> Any:
        number = self._submit(sql)
        status = None
        try:
            status = self._wait(number)
            _require_completed(status, self._where)
            return self._call("GET", f"/query-async/result/{number}")
        finally:
            # Whatever ends it, an interrupt of the caller among them.
            self._forget(number, status)

    def _submit(self, sql: str) -> int:
        body: dict[str, object] = {"query": sql}
        if self._database:
            body["database"] = self._database
        answer = self._call("POST", "/query-async", body)
        return _whole(answer, "queryId", self._where)

    def _wait(self, number: int) -> Status:
        wait_s, lost = FIRST_S, 0
        while True:
            try:
                status = self._look(number)
                lost = 0
            except Transient:
                lost += 1
                if lost == LOST:
                    raise
            else:
                if self._on_status:
                    self._on_status(status)
                if status.state != "EXECUTING":
                    return status
            self._pause(wait_s)
            wait_s = min(2 * wait_s, LONGEST_S)

    def _look(self, number: int) -> Status:
        found = self._call("GET", f"/query-async/status/{number}").get("status")
        if not isinstance(found, Mapping) or not isinstance(found.get("status"), str):
            raise _unread(self._where, f"the status of query {number} has no state")
        chunks, done = (int(found.get(name) or 0) for name in ("totalChunks", "completedChunks"))
        return Status(number, found["status"], chunks, done, str(found.get("error") or ""))

    def _forget(self, number: int, status: Status | None) -> None:
        """Cancel the query where it may still run, and delete its result; a failure of this hides no other error."""
        say = _log.warning if status and status.state == "COMPLETED" else _log.info
        for path in ([] if status else [f"/query-async/{number}"]) + [f"/query-async/result/{number}"]:
            try:
                self._call("DELETE", path)
            except SkyburstError as error:
                say("query_not_forgotten", query=number, path=path, error=error)

    def _call(self, method: Literal["GET", "POST", "DELETE"], path: str, body: dict[str, object] | None = None) -> Any:
        if self._version is None:
            self._version = self._negotiated()
        if body is not None:
            return self._send(method, path, None, body | {"version": self._version})
        return self._send(method, path, {"version": str(self._version)}, None)

    def _negotiated(self) -> int:
        version = _whole(self._send("GET", "/meta/version", None, None), "version", self._where)
        if version < OLDEST:
            text = f"{self._where} speaks version {version} of Qserv's API; its results cannot be deleted"
            raise Fatal("query_version", text, f"use a Qserv of version {OLDEST} at least, or its MySQL port")
        return min(version, API)

    def _send(self, method: str, path: str, query: dict[str, str] | None, body: dict[str, object] | None) -> Any:
        try:
            # The service takes no other content type than exactly this one, and reads no body under another.
            headers = {} if body is None else {"Content-Type": "application/json"}
            content = None if body is None else json.dumps(body)
            answer = self._client.request(method, path, params=query, content=content, headers=headers)
        except httpx.HTTPError as error:
            away = Transient("query_away", f"{self._where}: {error or type(error).__name__}")
            raise untrusted(error, self._where) or away from error
        return _said(answer, self._where)


def _client(address: Address) -> httpx.Client:
    login = httpx.BasicAuth(address.user, address.password) if address.user else None
    return httpx.Client(base_url=address.shown, auth=login, verify=address.tls() or True, timeout=_TIMEOUT)


def _said(answer: httpx.Response, where: str) -> Any:
    """The document that came, where it says success."""
    if answer.status_code in (401, 403):
        raise Fatal("query_rights", f"{where} refuses this user ({answer.status_code})", "check user and password")
    if answer.status_code >= 500:
        raise Transient("query_away", f"{where} answers {answer.status_code}")
    if answer.status_code != 200:
        raise _unread(where, f"it answers {answer.status_code} to {answer.request.url.path}")
    try:
        document = answer.json()
    except ValueError:
        raise _unread(where, "it answers no JSON") from None
    if not isinstance(document, dict):
        raise _unread(where, "it answers no JSON object")
    if document.get("success", 0) == 0:
        raise SkyburstError("query_failed", f"{where} refuses: {document.get('error') or 'no reason given'}")
    return document


def _require_completed(status: Status, where: str) -> None:
    said = f"{where}, query {status.number}: {status.error or status.state}"
    if status.state == "ABORTED":
        raise SkyburstError("query_aborted", said, "ask for less, or ask again")
    if status.state == "FAILED_LR":
        raise SkyburstError("query_too_large", said, "ask for fewer rows or columns")
    if status.state == "FAILED":
        raise SkyburstError("query_failed", said)
    if status.state != "COMPLETED":
        raise _unread(where, f"query {status.number} is {status.state}")


def _reader(answer: Any, rows: int, where: str) -> pa.RecordBatchReader:
    try:
        columns = cast("list[dict[str, Any]]", answer["schema"])
        kinds = [arrow_type(str(each["type"])) for each in columns]
        binary = [bool(each.get("is_binary")) for each in columns]
        kinds = [pa.binary() if raw and pa.types.is_string(kind) else kind for kind, raw in zip(kinds, binary)]
        names = once_each([str(each["column"]) for each in columns])
        schema = pa.schema([pa.field(name, kind) for name, kind in zip(names, kinds)])
        found = answer["rows"]
    except (KeyError, TypeError) as error:
        raise _unread(where, f"its result has no {error}") from error
    return pa.RecordBatchReader.from_batches(schema, _batches(schema, found, binary, rows, where))


def _batches(
    schema: pa.Schema, found: Sequence[Sequence[Any]], binary: Sequence[bool], rows: int, where: str
) -> Iterator[pa.RecordBatch]:
    for at in range(0, len(found), rows):
        try:
            values = list(zip(*found[at : at + rows], strict=True))
            columns = [
                array(field.name, [_bytes(value) for value in column] if raw else column, field.type)
                for field, column, raw in zip(schema, values, binary, strict=True)
            ]
        except (TypeError, ValueError) as error:
            raise _unread(where, f"rows of its result are not as its schema says ({error})") from error
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _bytes(value: str | None) -> bytes | None:
    return None if value is None else bytes.fromhex(value)


def _whole(answer: Any, name: str, where: str) -> int:
    value = answer.get(name)
    if not isinstance(value, int):
        raise _unread(where, f"its answer has no {name}")
    return value


def _unread(where: str, what: str) -> Fatal:
    return Fatal("query_answer", f"{where} answers in a way that this client does not know: {what}")
