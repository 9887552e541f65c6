"""A daemon under systemd says when it has started, that it turns, and that it stops."""

from __future__ import annotations

import asyncio
import socket
import uuid
from pathlib import Path

import pytest
from doubles.ingest_live import LONGEST_S, living
from doubles.ingest_run import IngestRun

from stream.transport.embedded import EmbeddedBroker


async def test_a_daemon_tells_its_supervisor_that_it_started_turns_and_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"@skyburst-{uuid.uuid4().hex}"
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with EmbeddedBroker() as broker, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(name.replace("@", "\0"))
        end.setblocking(False)

        async def told() -> bytes:
            return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(end, 100), LONGEST_S)

        broker.create_topic("alerts", 1)
        run = IngestRun(broker.bootstrap, "alerts", f"sqlite:///{tmp_path}/level1.db", tmp_path / "alertdb")
        await run.migrate()
        async with living(run) as live:
            first = [await told() for _ in range(3)]
            live.ingest.stop()
            while (last := await told()) == b"WATCHDOG=1":
                pass
    assert first == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
    assert (last, live.code) == (b"STOPPING=1", 0)
