"""The two commands of a fresh machine: the demo asks for no server, the tests for real ones; CI runs all there is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


def would_run(target: str) -> str:
    return subprocess.run(["make", "-B", "-n", target], cwd=PROJECT, capture_output=True, text=True, check=True).stdout


def test_the_demo_needs_neither_mariadb_nor_java() -> None:
    commands = would_run("demo")
    assert "skyburst demo" in commands
    assert not any(word in commands for word in ("mariadb", "java", "maven", "kafka"))


@pytest.mark.parametrize("target", ["test", "test-long", "bench"])
def test_what_measures_or_tests_has_real_servers_first(target: str) -> None:
    commands = would_run(target)
    assert "debian-needs mariadb java" in commands
    assert commands.index("kafka_jars()") < commands.rindex(".venv/bin/python -m")


@pytest.mark.parametrize("target", ["demo", "test"])
def test_nothing_is_installed_without_its_digest(target: str) -> None:
    installs = [line for line in would_run(target).splitlines() if "-m pip" in line]
    assert installs
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)


def test_ci_runs_lint_then_tests_then_long_tests_and_stops_at_the_first_failure() -> None:
    text = (PROJECT / ".ci" / "run").read_text()
    assert "set -euo pipefail" in text
    assert "for target in lint test test-long; do" in text
    assert (PROJECT / ".ci" / "run").stat().st_mode & 0o111
