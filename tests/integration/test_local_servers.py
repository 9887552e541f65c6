"""`skyburst local`: servers outlive the command that started them, and `down` ends those and no others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pymysql
import pytest
from click.testing import CliRunner, Result
from confluent_kafka.admin import AdminClient

from stream.errors import Transient
from stream.local import jars
from stream.local.commands import local
from stream.local.process import Process
from stream.local.servers import LocalServers

COMMAND = "from stream.local.commands import local; local()"


def run(verb: str, at: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", COMMAND, verb, "--at", at], capture_output=True, text=True, check=True)


@pytest.fixture(scope="module")
def up(server_folder: Path) -> Iterator[tuple[Path, str]]:
    at = server_folder / "local pair"
    done = run("up", at)
    yield at, done.stdout
    run("down", at)


def settings(shell_lines: str) -> dict[str, str]:
    """What a shell has after it evaluated the lines."""
    command = ["sh", "-c", 'eval "$1"; env', "sh", shell_lines]
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if line.startswith("SKYBURST_"))


def test_up_prints_only_exports_and_both_servers_answer_after_it_ended(up: tuple[Path, str]) -> None:
    at, printed = up
    assert all(line.startswith("export SKYBURST_") for line in printed.splitlines())
    found = settings(printed)
    assert set(found) == {"SKYBURST_BOOTSTRAP", "SKYBURST_LEVEL1"}
    assert AdminClient({"bootstrap.servers": found["SKYBURST_BOOTSTRAP"]}).list_topics(timeout=10).brokers
    server = LocalServers(at).mariadb
    assert found["SKYBURST_LEVEL1"] == server.url("level1")
    assert ("level1",) in server.execute("SHOW DATABASES")


def test_env_and_a_second_up_print_the_same_and_start_nothing(up: tuple[Path, str]) -> None:
    at, printed = up
    before = LocalServers(at).kafka.process.pid
    assert run("env", at).stdout == printed
    assert run("up", at).stdout == printed
    assert LocalServers(at).kafka.process.pid == before


def test_down_spares_a_process_that_was_given_the_noted_number(tmp_path: Path) -> None:
    at = tmp_path / "pair"
    (at / "kafka").mkdir(parents=True)
    stranger = Process.start(["sleep", "60"], log=tmp_path / "log", pid_file=tmp_path / "pid")
    try:
        noted = {"pid": stranger.pid, "started": stranger.started - 1, "boot": stranger.boot}
        (at / "kafka" / "kafka.pid.json").write_text(json.dumps(noted))
        assert invoke("down", at).exit_code == 0
        assert stranger.alive
    finally:
        stranger.kill()


def test_env_without_servers_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    error = invoke("env", tmp_path).exception
    assert isinstance(error, Transient)
    assert error.code == "local_down"
    assert "skyburst local up" in str(error)


def test_where_kafka_cannot_start_nothing_is_left_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYBURST_KAFKA_JARS", str(tmp_path / "jars"))
    monkeypatch.setattr(jars, "shutil", SimpleNamespace(which=lambda *_, **__: None))
    assert getattr(invoke("up", tmp_path / "pair").exception, "code", None) == "java_missing"
    assert not LocalServers(tmp_path / "pair").mariadb.running
    with pytest.raises(pymysql.err.OperationalError):
        LocalServers(tmp_path / "pair").mariadb.execute("SELECT 1")


def invoke(verb: str, at: Path) -> Result:
    return CliRunner().invoke(local, [verb, "--at", str(at)])
