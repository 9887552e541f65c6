"""One HTTP request and its answer, each said once and never again by itself.

aiohttp carries it: of 5,000 small contributions, httpx took 2.5 ms of a core each and aiohttp 0.3 ms.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO, Protocol
from urllib.parse import urlencode

import aiohttp

from consumers.release.service.trouble import LostAnswer, Unreachable

_BLOCK = 1 << 18
_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)


@dataclass(frozen=True, slots=True)
class Form:
    """Fields, then one file, as ``multipart/form-data``.

    Parameters
    ----------
    fields
        By name.
    name
        Of the file, as the service is told.
    file
        Read once, from where it stands.
    size
        Its bytes.
    """

    fields: Mapping[str, str]
    name: str
    file: BinaryIO
    size: int
    boundary: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def length(self) -> int:
        """Bytes of all of it."""
        return len(self._head) + self.size + len(self._tail)

    async def blocks(self) -> AsyncIterator[bytes]:
        """All of it, piece by piece."""
        yield self._head
        while block := self.file.read(_BLOCK):
            yield block
        yield self._tail

    @property
    def _head(self) -> bytes:
        text = "".join(
            f'--{self.boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in self.fields.items()
        )
        told = f'Content-Disposition: form-data; name="file"; filename="{self.name}"\r\nContent-Type: text/csv\r\n\r\n'
        return f"{text}--{self.boundary}\r\n{told}".encode()

    @property
    def _tail(self) -> bytes:
        return f"\r\n--{self.boundary}--\r\n".encode()


@dataclass(frozen=True, slots=True)
class Request:
    """What is said.

    Parameters
    ----------
    method, url, path
        The service's URL and the path beneath it.
    query
        Of the URL.
    body
        JSON, a form, or nothing.
    answer_s
        How long its answer is waited for, seconds.
    """

    method: str
    url: str
    path: str
    query: Mapping[str, str | int]
    body: bytes | Form | None
    answer_s: float

    @property
    def whole_url(self) -> str:
        """With path and query; aiohttp takes one that it knows apart but once."""
        query = f"?{urlencode(self.query)}" if self.query else ""
        return f"{self.url}/{self.path}{query}"

    @property
    def headers(self) -> Mapping[str, str]:
        """The Content-Type is exactly this, without a charset: else Qserv passes the body over (1.2)."""
        if isinstance(self.body, Form):
            kind = f"multipart/form-data; boundary={self.body.boundary}"
            return {"Content-Type": kind, "Content-Length": str(self.body.length)}
        return {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered."""

    status: int
    content: bytes


class Transport(Protocol):
    """Carries requests; a test has another."""

    async def send(self, request: Request) -> Answer:
        """Say a request once.

        Raises
        ------
        Unreachable
            It was not sent.
        LostAnswer
            It was, or may have been, and no answer came.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class HttpTransport:
    """Requests over HTTP/1.1, with connections that are kept.

    Parameters
    ----------
    connect_s
        How long a connection is waited for, seconds.
    connections
        At most, to each service.
    """

    def __init__(self, connect_s: float, connections: int) -> None:
        self._connect_s, self._connections = connect_s, connections
        self._opened: aiohttp.ClientSession | None = None

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            connector = aiohttp.TCPConnector(limit=0, limit_per_host=self._connections)
            self._opened = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
            # It would say PUT and DELETE again by itself where a kept connection breaks.
            self._opened._retry_connection = False
        return self._opened

    async def send(self, request: Request) -> Answer:
        body = request.body
        try:
            async with self._session.request(
                request.method,
                request.whole_url,
                headers=request.headers,
                data=body.blocks() if isinstance(body, Form) else body,
                timeout=_timeout(self._connect_s, request.answer_s),
                allow_redirects=False,
            ) as answer:
                return Answer(answer.status, await answer.read())
        except _NOT_SENT as error:
            raise Unreachable(request.url, _why(error)) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            what = f"{request.method} {request.path} of {request.url}"
            raise LostAnswer(what, _why(error)) from error

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()


@lru_cache
def _timeout(connect_s: float, answer_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=connect_s, sock_read=answer_s)


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
