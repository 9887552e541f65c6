"""systemd is told what it is to know, and nobody else; a supervisor that does not listen holds up nobody."""

from __future__ import annotations

import socket
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.ingest.supervisor import READY, TURNS, Supervisor


@pytest.fixture(params=["path", "abstract"])
def listening(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, str]]:
    """A socket as systemd has it, and its name in the environment."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.settimeout(10)
        name = str(Path(folder) / "notify") if request.param == "path" else f"@skyburst-{uuid.uuid4().hex}"
        end.bind(name.replace("@", "\0"))
        yield end, name


def test_what_is_told_arrives_in_order(listening: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch) -> None:
    end, name = listening
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    one = Supervisor.of_environment()
    one.tell(READY)
    one.tell(TURNS)
    assert [end.recv(100), end.recv(100)] == [b"READY=1", b"WATCHDOG=1"]


def test_nobody_is_told_where_nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setattr(socket, "socket", None)
    Supervisor.of_environment().tell(READY)


def test_one_that_is_gone_or_does_not_read_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    Supervisor("/nowhere/notify").tell(TURNS)
    assert [record.msg for record in caplog.records] == ["supervisor_deaf"]
    caplog.clear()
    name = f"@skyburst-{uuid.uuid4().hex}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(name.replace("@", "\0"))
        for _ in range(10_000):
            Supervisor(name).tell(TURNS)
            if caplog.records:
                break
    assert caplog.records[-1].msg == "supervisor_deaf"
