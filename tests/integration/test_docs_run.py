"""The README's commands and the snippets of the Python page, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from doubles.demo import Demo

PROJECT = Path(__file__).resolve().parents[2]


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


def test_the_snippets_of_the_python_page_work_as_they_stand(demo: Demo) -> None:
    snippets = blocks("docs/python.md", "python")
    assert "level1.cone(" in snippets and "archive.message(" in snippets
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", snippets], cwd=demo.beside, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 6
