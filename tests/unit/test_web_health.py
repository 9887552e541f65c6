"""The health server: liveness, readiness and metrics, read-only, on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx
import pytest

from stream.clock import ManualClock
from stream.errors import Fatal
from stream.web import Health, WebServer, serving


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(wall=1_000.0)


@pytest.fixture
def health(clock: ManualClock) -> Health:
    return Health(clock)


@pytest.fixture
async def server(health: Health) -> AsyncIterator[WebServer]:
    async with serving(health) as started:
        yield started


async def get(server: WebServer, path: str, method: str = "GET") -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.request(method, server.url + path)


async def test_port_zero_gives_a_free_port_on_loopback(server: WebServer) -> None:
    assert server.port > 0 and server.host == "127.0.0.1"


async def test_alive_while_the_loop_turns(server: WebServer, health: Health, clock: ManualClock) -> None:
    clock.advance(29.0)
    assert (await get(server, "/healthz")).status_code == 200
    clock.advance(1.0)
    answer = await get(server, "/healthz")
    assert answer.status_code == 503 and answer.json() == {"alive": False, "loop_age_s": 30.0}
    health.turned()
    assert (await get(server, "/healthz")).status_code == 200


async def test_not_ready_says_why_until_every_reason_is_gone(
    server: WebServer, health: Health, clock: ManualClock
) -> None:
    assert (await get(server, "/readyz")).json()["reasons"][0]["code"] == "starting"
    health.set("starting", None)
    health.set("disk_full", "5 bytes left")
    clock.advance(3.0)
    health.set("disk_full", "4 bytes left")
    answer = await get(server, "/readyz")
    assert answer.status_code == 503
    assert answer.json() == {
        "ready": False,
        "reasons": [{"code": "disk_full", "text": "4 bytes left", "since": 1000.0}],
        "warnings": [],
    }
    health.set("disk_full", None)
    answer = await get(server, "/readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "reasons": [], "warnings": []})


async def test_a_warning_is_told_and_costs_no_readiness(server: WebServer, health: Health, clock: ManualClock) -> None:
    health.set("starting", None)
    health.warn("a_code", "mysql://u:geheim@h/db wants something")
    clock.advance(3.0)
    health.warn("a_code", "mysql://u:geheim@h/db wants something")
    answer = await get(server, "/readyz")
    assert (answer.status_code, answer.json()["ready"], answer.json()["reasons"]) == (200, True, [])
    (told,) = answer.json()["warnings"]
    assert (told["code"], told["since"]) == ("a_code", 1000.0) and "geheim" not in told["text"]
    assert '\nskyburst_warnings{code="a_code"} 1.0\n' in (await get(server, "/metrics")).text
    health.warn("a_code", None)
    assert (await get(server, "/readyz")).json() == {"ready": True, "reasons": [], "warnings": []}
    assert '\nskyburst_warnings{code="a_code"} 0.0\n' in (await get(server, "/metrics")).text


async def test_a_loop_that_stopped_is_not_ready(server: WebServer, health: Health, clock: ManualClock) -> None:
    health.set("starting", None)
    clock.advance(31.0)
    answer = await get(server, "/readyz")
    assert answer.status_code == 503 and answer.json()["reasons"][0]["code"] == "loop_stopped"


async def test_metrics_follow_health(server: WebServer, health: Health, clock: ManualClock) -> None:
    health.set("starting", None)
    clock.advance(2.0)
    answer = await get(server, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "\nskyburst_ready 1.0\n" in answer.text and "\nskyburst_loop_age_seconds 2.0\n" in answer.text


async def test_no_reason_shows_a_password(server: WebServer, health: Health) -> None:
    health.set("database_away", "mysql://u:geheim@h/db does not answer")
    assert "geheim" not in (await get(server, "/readyz")).text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD"])
async def test_nothing_but_get(server: WebServer, method: str) -> None:
    assert (await get(server, "/readyz", method)).status_code == 405


async def test_an_error_inside_shows_no_traceback(server: WebServer, health: Health) -> None:
    health.alive = None  # type: ignore[assignment,method-assign]
    answer = await get(server, "/healthz")
    assert answer.status_code == 500 and "Traceback" not in answer.text and "NoneType" not in answer.text


async def test_answers_tell_browsers_nothing_to_run(server: WebServer) -> None:
    headers = (await get(server, "/healthz")).headers
    assert headers["content-security-policy"] == "default-src 'none'" and headers["server"] == "skyburst"


async def test_a_taken_port_is_a_clear_error(health: Health) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Fatal, match=r"cannot listen on 127\.0\.0\.1"):
            async with serving(health, port=taken.getsockname()[1]):
                pass


async def test_the_server_is_gone_when_the_block_ends(health: Health) -> None:
    async with serving(health) as server:
        pass
    with pytest.raises(OSError):
        await asyncio.open_connection(server.host, server.port)
