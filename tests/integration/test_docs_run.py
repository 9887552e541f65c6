"""The README's commands and the snippets of the Python page, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
ALERTS = 40


def blocks(page: str, language: str) -> str:
    """All code of a language on a page, one block after the other."""
    text = (PROJECT / page).read_text(encoding="utf-8")
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def environment() -> dict[str, str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("SKYBURST_")}
    kept = {name: value for name, value in os.environ.items() if name == "SKYBURST_KAFKA_JARS"}
    return bare | kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def test_the_quick_start_of_the_readme_works_as_it_stands(tmp_path: Path) -> None:
    script = blocks("README.md", "sh")
    assert "skyburst local up" in script and "skyburst verify" in script and "skyburst local down" in script
    guarded = f"set -euo pipefail\ntrap 'skyburst local down' EXIT\n{script}"
    done = subprocess.run(["bash", "-c", guarded], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert (tmp_path / "packet.wire").stat().st_size > 10_000
    assert (tmp_path / "visit.parquet").stat().st_size > 1000
    assert any((tmp_path / "cutouts").rglob("*"))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a demo's files in `demo`, as the page asks for."""
    folder = tmp_path_factory.mktemp("python")
    command = [sys.executable, "-P", "-m", "stream.cli", "demo", "--at", "demo", "--alerts", str(ALERTS)]
    subprocess.run(command, cwd=folder, env=environment(), check=True, capture_output=True)
    return folder


def test_the_snippets_of_the_python_page_work_as_they_stand(demo: Path) -> None:
    snippets = blocks("docs/python.md", "python")
    assert "level1.cone(" in snippets and "archive.message(" in snippets
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", snippets], cwd=demo, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 6
