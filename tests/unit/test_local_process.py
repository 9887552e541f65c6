"""A server process is ours only while number, start and boot agree; a frozen one is alive, a dead one is not."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from stream.errors import Fatal
from stream.local.ports import LOOPBACK, free_ports, need_free
from stream.local.process import Process, tail, wait_until


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Process]:
    process = Process.start(["sleep", "60"], log=tmp_path / "log", pid_file=tmp_path / "pid")
    yield process
    process.kill()


def test_is_found_again_by_its_pid_file_and_runs_in_a_session_of_its_own(sleeper: Process, tmp_path: Path) -> None:
    assert Process.find(tmp_path / "pid") == sleeper
    done = subprocess.run(["ps", "-o", "sid=", "-p", str(sleeper.pid)], capture_output=True, text=True, check=True)
    assert int(done.stdout) == sleeper.pid


@pytest.mark.parametrize("changed", [{"started": 1}, {"boot": "another"}, {"pid": 2**22 + 1}])
def test_another_start_boot_or_number_is_not_ours(sleeper: Process, tmp_path: Path, changed: dict[str, object]) -> None:
    noted = json.loads((tmp_path / "pid").read_text())
    (tmp_path / "pid").write_text(json.dumps(noted | changed))
    assert Process.find(tmp_path / "pid") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "no json", '{"pid": null, "started": 1, "boot": ""}'])
def test_a_spoilt_pid_file_names_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "pid").write_text(text)
    assert Process.find(tmp_path / "pid") is None


def test_a_process_that_cannot_be_noted_is_not_left_running(tmp_path: Path) -> None:
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(OSError):
        Process.start(["sleep", "60"], log=tmp_path / "log", pid_file=tmp_path / "gone" / "pid.json")
    assert {child.pid for child in psutil.Process().children()} <= before


def test_a_frozen_process_is_alive_and_is_killed_after_the_deadline(sleeper: Process) -> None:
    sleeper.send(signal.SIGSTOP)
    assert wait_until(lambda: psutil.Process(sleeper.pid).status() == psutil.STATUS_STOPPED, 10)
    assert sleeper.alive
    assert not sleeper.stop(0.1)
    assert not sleeper.alive


def test_a_process_that_does_not_answer_or_whose_question_fails_is_killed(sleeper: Process, tmp_path: Path) -> None:
    assert sleeper.comes_up(lambda: True, 10)
    assert sleeper.alive
    assert not sleeper.comes_up(lambda: False, 0.05)
    assert not sleeper.alive
    other = Process.start(["sleep", "60"], log=tmp_path / "log", pid_file=tmp_path / "other")
    with pytest.raises(ZeroDivisionError):
        other.comes_up(lambda: 1 / 0 > 0, 10)
    assert not other.alive


def test_a_process_that_obeys_is_not_killed(sleeper: Process) -> None:
    assert sleeper.stop(20)
    assert not sleeper.alive
    sleeper.send(signal.SIGTERM)


def test_a_dead_leader_with_living_threads_is_alive_until_the_last_ends(tmp_path: Path) -> None:
    code = (
        "import ctypes, sys, threading\n"
        "threading.Thread(target=sys.stdin.read).start()\n"
        "print('ready', flush=True)\n"
        "ctypes.CDLL(None).syscall(60, 0)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == b"ready\n"
    noted = Process.of(child.pid)
    noted.note(tmp_path / "pid")
    leader = psutil.Process(child.pid)
    assert wait_until(lambda: leader.status() == psutil.STATUS_ZOMBIE, 10)
    assert noted.alive
    child.stdin.close()
    assert noted.ended(10)
    child.stdout.close()
    child.wait()


def test_ports_differ_are_free_and_lie_below_those_of_outgoing_connections() -> None:
    ports = free_ports(5)
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert len(set(ports)) == 5
    assert max(ports) < first
    for port in ports:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))


def test_a_settled_port_on_which_somebody_listens_is_named_and_one_that_was_just_left_is_not(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, free_ports(1)[0]))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(Fatal, match=f"port {port} of .* is taken") as raised:
            need_free([port], "kafka_failed", tmp_path)
        assert raised.value.code == "kafka_failed"
        client = socket.create_connection((LOOPBACK, port))
        listener.accept()[0].close()
        client.close()
    need_free([port], "kafka_failed", tmp_path)


def test_tail_tells_the_last_lines_or_why_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a\nb\nc\n")
    assert tail(tmp_path / "log", 2) == "b\nc"
    assert "No such file" in tail(tmp_path / "absent")
