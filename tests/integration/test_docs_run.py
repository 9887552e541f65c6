"""The README's commands and the snippets of the Python page, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from doubles.demo import Demo
from doubles.early import Early

PROJECT = Path(__file__).resolve().parents[2]


def blocks(page: str, language: str) -> str:
    """All code of a language on a page, one block after the other."""
    text = (PROJECT / page).read_text(encoding="utf-8")
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def environment() -> dict[str, str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("SKYBURST_")}
    kept = {name: value for name, value in os.environ.items() if name == "SKYBURST_KAFKA_JARS"}
    return bare | kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@dataclass(frozen=True, slots=True)
class Started:
    """The README's quick start: how it ended, and the folder that it was run in."""

    done: subprocess.CompletedProcess[str]
    folder: Path


def run_quick_start(folder: Path) -> Started:
    folder.mkdir()
    guarded = f"set -euo pipefail\ntrap 'skyburst local down' EXIT\n{blocks('README.md', 'sh')}"
    done = subprocess.run(["bash", "-c", guarded], cwd=folder, env=environment(), capture_output=True, text=True)
    return Started(done, folder)


EARLY = {"quick_start": run_quick_start}


@pytest.fixture
def quick_start(early: Early) -> Started:
    started: Started = early.outcome("quick_start")
    return started


def test_the_quick_start_of_the_readme_works_as_it_stands(quick_start: Started) -> None:
    script = blocks("README.md", "sh")
    assert "skyburst local up" in script and "skyburst verify" in script and "skyburst local down" in script
    done, folder = quick_start.done, quick_start.folder
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert (folder / "packet.wire").stat().st_size > 10_000
    assert (folder / "visit.parquet").stat().st_size > 1000
    assert any((folder / "cutouts").rglob("*"))


def test_the_snippets_of_the_python_page_work_as_they_stand(demo: Demo) -> None:
    snippets = blocks("docs/python.md", "python")
    assert "level1.cone(" in snippets and "archive.message(" in snippets
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", snippets], cwd=demo.beside, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 6
