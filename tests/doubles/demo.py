"""`skyburst demo`, run as whoever calls it runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ALERTS = 60


@dataclass(frozen=True, slots=True)
class Demo:
    """A demo that was run: the folder that it was called in, its files' folder, and what it told as JSON."""

    beside: Path
    folder: Path
    told: dict[str, Any]


def run_demo(beside: Path) -> Demo:
    """Run it in the folder `beside`, without real packets, with settings around it that must not reach it."""
    beside.mkdir()
    bare = {name: value for name, value in os.environ.items() if not name.startswith("SKYBURST_")}
    elsewhere = {
        "SKYBURST_TEST_DATA": str(beside / "none"),
        "SKYBURST_BOOTSTRAP": "127.0.0.1:1",
        "SKYBURST_LEVEL1": "mysql://nobody@127.0.0.1:1/none",
    }
    command: Sequence[str] = (sys.executable, "-P", "-m", "stream.cli", "demo", "--at", "demo", "--json")
    done = subprocess.run(
        [*command, "--alerts", str(ALERTS)], cwd=beside, env=bare | elsewhere, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return Demo(beside, beside / "demo", json.loads(done.stdout))
