"""/metrics, /healthz and /readyz: read-only, on loopback unless told otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from stream.errors import Fatal
from stream.log import Log
from stream.metrics import LOOP_AGE, READY, REGISTRY
from stream.redact import redact
from stream.web.health import Health, Unready

_log = Log("web")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class WebServer:
    """Where the server listens: `port` is the real one, also where 0 was asked for."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """``http://host:port``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def application(health: Health, registry: CollectorRegistry = REGISTRY) -> web.Application:
    """The application, for serving and for tests."""

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    async def healthz(_: web.Request) -> web.Response:
        alive = health.alive()
        body = {"alive": alive, "loop_age_s": round(health.age(), 3)}
        return web.json_response(body, status=200 if alive else 503)

    async def readyz(_: web.Request) -> web.Response:
        reasons, warnings = _shown(health.reasons()), _shown(health.warnings())
        if not health.alive():
            reasons.insert(0, {"code": "loop_stopped", "text": f"the loop last turned {health.age():.0f} s ago"})
        body = {"ready": not reasons, "reasons": reasons, "warnings": warnings}
        return web.json_response(body, status=503 if reasons else 200)

    LOOP_AGE.follow(health.age)
    READY.follow(lambda: float(health.ready()))
    app = web.Application(middlewares=[_no_traces], client_max_size=1024)
    app.on_response_prepare.append(_headers)
    for path, handler in (("/metrics", metrics), ("/healthz", healthz), ("/readyz", readyz)):
        app.router.add_get(path, handler, allow_head=False)
    return app


def _shown(noted: Iterable[Unready]) -> list[dict[str, object]]:
    return [{"code": one.code, "text": redact(one.text), "since": one.since} for one in noted]


@web.middleware
async def _no_traces(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Exception as error:
        _log.error("request_failed", code="request_failed", path=request.path, error=error)
        return web.Response(status=500, text="internal error; the log has it\n")


async def _headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "skyburst"
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "default-src 'none'"


@asynccontextmanager
async def serving(
    health: Health, *, host: str = "127.0.0.1", port: int = 0, registry: CollectorRegistry = REGISTRY
) -> AsyncIterator[WebServer]:
    """Serve until the block ends.

    Raises
    ------
    Fatal
        ``port_taken``: nothing can listen there.
    """
    runner = web.AppRunner(application(health, registry), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            advice = "give another metrics_port, or 0 for any free one"
            raise Fatal("port_taken", f"cannot listen on {host}:{port} ({error.strerror})", advice) from error
        server = WebServer(host, int(runner.addresses[0][1]))
        _log.info("listening", url=server.url)
        yield server
    finally:
        await runner.cleanup()
