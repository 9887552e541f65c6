"""Requests as the ingest service wants them, and its answers, good and bad.

What it wants (Qserv API v55, 1.1 and 1.2): the version in the query, keys in the body, a Content-Type that is exactly
``application/json``, numbers as numbers. What it does: HTTP 200 whatever happened, and ``success`` in the body.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from consumers.release.service.answers import Version
from consumers.release.service.transport import Answer, Form, HttpTransport, Request, Transport
from consumers.release.service.trouble import LostAnswer, Refused
from stream.errors import Fatal, Wrong

LEAST, NEWEST = 54, 55
"""Versions of the API that this client speaks: chunks in bulk need 54, and it was written against 55."""
_LATER = (408, 429)
"""What a gateway answers besides where a request is to be said another time."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that requests with an effect carry; never shown."""

    auth: str = field(default="", repr=False)
    admin: str = field(default="", repr=False)

    def hide(self, text: str) -> str:
        """`text` without either key."""
        for key in (self.auth, self.admin):
            if len(key) > 3:
                text = text.replace(key, "***")
        return text

    def of(self, admin: bool) -> dict[str, str]:
        """The body's field.

        Raises
        ------
        Wrong
            ``qserv_no_admin_key``: it is needed, and there is none.
        """
        if not admin:
            return {"auth_key": self.auth}
        if not self.admin:
            raise Wrong(
                "qserv_no_admin_key",
                "unpublishing, and deleting what is published, needs the administrator's key",
                "give SKYBURST_QSERV_ADMIN_KEY_FILE",
            )
        return {"admin_auth_key": self.admin}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that are waited.

    Parameters
    ----------
    connect_s
        For a connection.
    answer_s
        For an answer that should be quick.
    long_s
        For one that takes what it takes: a file that is loaded while one waits, an index, row counters, a commit.
    publish_s
        For a publication, after which it is looked at instead.
    """

    connect_s: float = 10.0
    answer_s: float = 60.0
    long_s: float = 86_400.0
    publish_s: float = 600.0


class Wire:
    """Says requests to controller and workers, and takes their answers apart.

    Parameters
    ----------
    keys
        For requests that have an effect.
    timeouts
        How long is waited.
    connections
        At most, to each service.
    transport
        HTTP where None; a test has another.
    """

    def __init__(
        self,
        keys: Keys,
        *,
        timeouts: Timeouts = Timeouts(),
        connections: int = 32,
        transport: Transport | None = None,
    ) -> None:
        self.keys = keys
        self.timeouts = timeouts
        self.version = NEWEST
        self._transport = transport or HttpTransport(timeouts.connect_s, connections)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def negotiate(self, url: str) -> Version:
        """Ask the service for its version, and speak one that both know from now on.

        Raises
        ------
        Fatal
            ``qserv_version``: there is none.
        """
        answer = await self._said(Request("GET", url, "meta/version", {}, None, self.timeouts.answer_s))
        found = Version.of(answer)
        if found.version < LEAST:
            raise Fatal(
                "qserv_version",
                f"{url} speaks version {found.version} of the ingest API, skyburst {LEAST} to {NEWEST}",
                "use a newer Qserv",
            )
        self.version = min(NEWEST, found.version)
        return found

    async def ask(
        self,
        url: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
        answer_s: float | None = None,
    ) -> dict[str, Any]:
        """GET; a few services read a body there."""
        content = None if body is None else json.dumps(body).encode()
        waited = answer_s if answer_s is not None else self.timeouts.answer_s
        return await self._said(Request("GET", url, path, self._query(query), content, waited))

    async def tell(
        self,
        method: str,
        url: str,
        path: str,
        body: Mapping[str, Any],
        *,
        query: Mapping[str, str | int] | None = None,
        admin: bool = False,
        answer_s: float | None = None,
    ) -> dict[str, Any]:
        """POST, PUT or DELETE with the key in the body.

        Raises
        ------
        Unreachable, LostAnswer, Refused
            See there.
        Wrong
            ``qserv_auth``: the key is not the service's.
        Fatal
            ``qserv_version``, or ``qserv_answer`` where what answers is no ingest service.
        """
        content = json.dumps(dict(body) | self.keys.of(admin)).encode()
        waited = answer_s if answer_s is not None else self.timeouts.answer_s
        return await self._said(Request(method, url, path, self._query(query), content, waited))

    async def send(
        self, url: str, path: str, fields: Mapping[str, str], name: str, file: BinaryIO, size: int
    ) -> dict[str, Any]:
        """POST a form: the fields, then one file of so many bytes."""
        form = Form(self.keys.of(admin=False) | dict(fields), name, file, size)
        return await self._said(Request("POST", url, path, self._query(None), form, self.timeouts.long_s))

    def _query(self, query: Mapping[str, str | int] | None) -> dict[str, str | int]:
        return {**(query or {}), "version": self.version}

    async def _said(self, request: Request) -> dict[str, Any]:
        what = f"{request.method} {request.path} of {request.url}"
        return self._taken(what, await self._transport.send(request))

    def _taken(self, what: str, answer: Answer) -> dict[str, Any]:
        try:
            told = json.loads(answer.content)
            good = bool(told["success"])
        except (ValueError, KeyError, TypeError):
            if answer.status >= 500 or answer.status in _LATER:
                raise LostAnswer(what, f"HTTP {answer.status}") from None
            if _broke_off(answer.content):
                why = f"HTTP {answer.status}, and {'half an answer' if answer.content.strip() else 'nothing'} in it"
                raise LostAnswer(what, why) from None
            text = f"what answers to {what} is no ingest service of Qserv (HTTP {answer.status})"
            raise Fatal("qserv_answer", text, "check SKYBURST_QSERV") from None
        if good:
            return dict(told)
        words = self.keys.hide(str(told.get("error", "")))
        more = told.get("error_ext") or {}
        if "max_version" in more:
            text = f"{what} wants version {more.get('min_version')} to {more['max_version']}, not {self.version}"
            raise Fatal("qserv_version", text, "use a Qserv that speaks one of ours, or a newer skyburst")
        if words.startswith("failed to pass authorization"):
            raise Wrong("qserv_auth", f"{what}: {words}", "check SKYBURST_QSERV_AUTH_KEY")
        raise Refused(what, words, more)


def _broke_off(content: bytes) -> bool:
    """Whether an answer is empty, or a JSON object that does not end: what was asked for may have been done."""
    text = content.strip()
    if not text.startswith(b"{"):
        return not text
    try:
        json.loads(text)
    except ValueError:
        return True
    return False
