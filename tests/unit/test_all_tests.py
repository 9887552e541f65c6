"""`make test` runs every test once, and fails where one fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests/all.sh"
HALVES = ["wanted", "unwanted"]


def ran(tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    """The script with a command that is this shell code, whose arguments are those of one half."""
    command = tmp_path / "command"
    command.write_text(f"#!/bin/sh\n{body}\n")
    command.chmod(0o755)
    return subprocess.run([SCRIPT, command], capture_output=True, text=True, timeout=60, check=False)


def collected(*more: str) -> list[str]:
    """Tests of some files that have both halves: by a fixture, and by a parameter's value."""
    files = [f"tests/contract/test_{name}.py" for name in ("commit_sweep", "transport_faults", "transport_security")]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *files, *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    return [line for line in done.stdout.splitlines() if "::" in line]


def test_both_halves_are_run(tmp_path: Path) -> None:
    done = ran(tmp_path, 'echo "$@"')
    assert done.returncode == 0
    assert done.stdout.split() == ["--servers", "wanted", "--servers", "unwanted"]


@pytest.mark.parametrize("half", HALVES)
def test_it_fails_where_one_half_fails(tmp_path: Path, half: str) -> None:
    done = ran(tmp_path, f'echo "$2"; [ "$2" != {half} ] || exit 3')
    assert done.returncode == 3
    assert done.stdout.split() == HALVES


def test_a_test_is_in_one_half() -> None:
    several = [collected("--servers", half) for half in HALVES]
    assert all(several)
    assert sorted([*several[0], *several[1]]) == sorted(collected())


@pytest.mark.parametrize("server", ["mariadb", "kafka"])
def test_a_test_that_takes_a_server_without_naming_it_fails(tmp_path: Path, server: str) -> None:
    path = tmp_path / "test_it.py"
    path.write_text(f"def test_it(request):\n    request.getfixturevalue({server!r})\n")
    command = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-p", "conftest", "--servers", "unwanted", path]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert f"this test wants {server}, and names it neither as a fixture" in done.stdout


def test_the_makefile_runs_them_so() -> None:
    assert re.search(r"^test:.*\n\ttests/all\.sh \$\(PYTEST\)\n", (ROOT / "Makefile").read_text(), re.MULTILINE)
