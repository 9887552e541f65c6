"""The service's HTTP: routes, keys, versions, bodies, and answers that are always 200 but for unknown routes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import BodyPartReader, web

from consumers.release.double.refusals import (
    MIN_VERSION,
    NO_VERSION,
    Fields,
    Json,
    Refused,
    check_version,
    unauthorized,
)
from consumers.release.double.troubles import Troubles

NOT_FOUND = (
    "<html>\n<head><title>404 Not Found</title></head>\n"
    '<body style="background-color:#E6E6FA">\n<h1>404 Not Found</h1>\n</body>\n</html>\n'
)
MOST_BODY_BYTES = 2**30


@dataclass(slots=True)
class Call:
    """One request, its keys and version checked.

    Attributes
    ----------
    path
        What the route's placeholders stand for.
    query
        Of the URL.
    fields
        Of the body.
    admin
        Whether it came with the administrator's key.
    client
        Address of the caller.
    file, file_name
        Where the one file part of a form was put, and what it was called.
    warnings
        To be told in the answer.
    """

    path: Mapping[str, str]
    query: Mapping[str, str]
    fields: Fields
    admin: bool
    client: str
    file: Path | None = None
    file_name: str = ""
    warnings: list[str] = field(default_factory=list)

    def flag(self, name: str) -> bool:
        """A 0/1 parameter of the query, 0 where absent."""
        return self.query.get(name, "0") not in ("", "0")


Handler = Callable[[Call], Awaitable[Json]]


@dataclass(frozen=True, slots=True)
class Route:
    """One call of the API: method, path (aiohttp's placeholders), what does it, and since which version."""

    method: str
    path: str
    handler: Handler
    lowest: int = MIN_VERSION
    form: bool = False
    versioned: bool = True


@dataclass(frozen=True, slots=True)
class Keys:
    """The two keys of the service."""

    auth_key: str
    admin_auth_key: str


class Service:
    """The controller or one worker on the wire.

    Parameters
    ----------
    name
        ``controller`` or the worker's name.
    routes
        What it can do.
    keys
        What it wants to be shown.
    troubles
        What goes wrong on purpose.
    folder
        Where file parts are put.
    """

    def __init__(self, name: str, routes: Sequence[Route], keys: Keys, troubles: Troubles, folder: Path) -> None:
        self.name = name
        self._keys, self._troubles, self._folder = keys, troubles, folder
        self._context = "HTTP-PROCESSOR" if name == "controller" else "INGEST-HTTP-SVC"
        self._uploads = 0
        self.app = web.Application(client_max_size=MOST_BODY_BYTES, middlewares=[_unknown])
        for route in routes:
            self.app.router.add_route(route.method, "/" + route.path, self._bound(route))

    def _bound(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                answer = await self._called(route, request)
            except Refused as no:
                answer = {"success": 0, "error": no.error, "error_ext": no.ext, "warning": ""}
            if self._troubles.loses(self.name, request.method, request.path):
                transport = request.transport
                if transport is not None:
                    transport.abort()
                raise asyncio.CancelledError
            return web.Response(text=json.dumps(answer), content_type="application/json")

        return handle

    async def _called(self, route: Route, request: web.Request) -> Json:
        if route.form:
            call = await self._form(request)
        else:
            fields = Fields(await _json_body(request))
            call = Call(request.match_info, request.query, fields, False, request.remote or "")
            if request.method != "GET":
                call.admin = self._authorized(fields, self._context)
        try:
            if route.versioned:
                self._check_version(route, call)
            answer = await route.handler(call)
        finally:
            if call.file is not None:
                call.file.unlink(missing_ok=True)
        return answer | {"success": 1, "error": "", "error_ext": {}, "warning": " ".join(call.warnings)}

    def _check_version(self, route: Route, call: Call) -> None:
        asked: object = call.query.get("version", call.fields.values.get("version"))
        if asked is None:
            call.warnings.append(NO_VERSION)
            return
        if isinstance(asked, str) and asked.isdigit():
            asked = int(asked)
        check_version(asked, route.lowest)

    def _authorized(self, fields: Fields, context: str) -> bool:
        for name, key in (("admin_auth_key", self._keys.admin_auth_key), ("auth_key", self._keys.auth_key)):
            if name not in fields:
                continue
            if fields.text(name) != key:
                text = f"authorization key '{name}' in the request doesn't match the one in server configuration"
                raise unauthorized(context, text)
            return name == "admin_auth_key"
        raise unauthorized(
            context,
            "none of the authorization keys 'auth_key' or 'admin_auth_key' was found in the request."
            " Please, provide one.",
        )

    async def _form(self, request: web.Request) -> Call:
        """Fields, then one file: what comes after the file is not read as a field."""
        values: dict[str, str] = {}
        path, name = None, ""
        if request.content_type == "multipart/form-data":
            async for part in await request.multipart():
                if not isinstance(part, BodyPartReader):
                    continue
                if part.filename is None:
                    if path is None:
                        values[part.name or ""] = await part.text()
                    continue
                self._uploads += 1
                path, name = self._folder / f"{self.name}-upload-{self._uploads}", part.filename
                await _save(part, path)
        fields = Fields(values, form=True)
        try:
            admin = self._authorized(fields, "INGEST-FILE-HTTP-SVC")
        except Refused:
            if path is not None:
                path.unlink(missing_ok=True)
            raise
        return Call(request.match_info, request.query, fields, admin, request.remote or "", path, name)


async def _save(part: BodyPartReader, path: Path) -> None:
    with path.open("wb") as file:
        while chunk := await part.read_chunk(2**18):
            await asyncio.to_thread(file.write, part.decode(chunk))


async def _json_body(request: web.Request) -> Json:
    # Qserv compares the whole header: with a charset the body is passed over, and the keys are missed.
    if request.headers.get("Content-Type") != "application/json":
        await request.read()
        return {}
    raw = await request.read()
    if not raw:
        return {}
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise Refused(f"invalid parameters of the request, ex: the body is no JSON ({error})") from None
    if not isinstance(value, dict):
        raise Refused("invalid parameters of the request, ex: the body is no JSON object")
    return value


@web.middleware
async def _unknown(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status in (404, 405):
            return web.Response(status=404, text=NOT_FOUND, content_type="text/html", charset="utf-8")
        raise
