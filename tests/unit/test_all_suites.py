"""`make test` runs every suite, and fails where one fails."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests/all.sh"
SUITES = sorted({path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")})


def ran(tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    """The script with a command that is this shell code, whose arguments are the suites."""
    command = tmp_path / "command"
    command.write_text(f"#!/bin/sh\n{body}\n")
    command.chmod(0o755)
    return subprocess.run([SCRIPT, command], capture_output=True, text=True, timeout=60, check=False)


def test_every_suite_is_run_once(tmp_path: Path) -> None:
    done = ran(tmp_path, 'for each in "$@"; do echo "$each"; done')
    assert done.returncode == 0
    assert sorted(re.findall(r"^tests/(\w+)$", done.stdout, re.MULTILINE)) == SUITES


@pytest.mark.parametrize("suite", SUITES)
def test_it_fails_where_a_suite_fails(tmp_path: Path, suite: str) -> None:
    done = ran(tmp_path, f'echo "$@"; case " $* " in *" tests/{suite} "*) exit 3;; esac')
    assert done.returncode == 3
    assert all(f"tests/{each}" in done.stdout for each in SUITES)


def test_the_makefile_runs_them_so() -> None:
    assert re.search(r"^test:.*\n\ttests/all\.sh \$\(PYTEST\)\n", (ROOT / "Makefile").read_text(), re.MULTILINE)
