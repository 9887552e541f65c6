"""The way from a stack catalogue to published tables, run as a page says it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from pyarrow import csv

from consumers.release import manifest

PROJECT = Path(__file__).resolve().parents[2]


def blocks(page: str, language: str) -> list[str]:
    """All lines of code of a language on a page, one block after the other."""
    text = (PROJECT / page).read_text(encoding="utf-8")
    found = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line for block in found for line in block.splitlines()]


def environment() -> dict[str, str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("SKYBURST_")}
    return bare | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def test_the_readme_has_the_commands_of_the_release_page() -> None:
    commands = blocks("docs/release.md", "sh")
    assert len(commands) > 20
    assert blocks("README.md", "bash") == commands


def test_the_release_page_takes_catalogues_to_published_and_proven_tables(tmp_path: Path, shared_data: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/data").symlink_to(shared_data)
    here = tmp_path / "skyburst"
    here.mkdir()
    script = "\n".join(blocks("docs/release.md", "sh"))
    last = "skyburst release double --at .local/dr1/double --stop"
    assert script.endswith(last) and "skyburst release verify" in script
    guarded = f"set -euo pipefail\ntrap '{last}' EXIT\n{script}"
    done = subprocess.run(["bash", "-c", guarded], cwd=here, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    tables = {path.name: manifest.read(path) for path in manifest.tables(here / ".local/dr1/files")}
    assert {name: each.rows for name, each in tables.items()} == {
        "deepCoadd_meas": 10, "Object": 1000, "Source": 4583, "Filter": 9,
    }  # fmt: skip
    proven = [line for line in done.stdout.splitlines() if line.startswith(("yes\t", "no\t"))]
    assert len(proven) > 20 and all(line.startswith("yes\t") for line in proven)
    assert "\n4583\n" in done.stdout
    curve = csv.read_csv(here / ".local/dr1/curve.csv")
    assert curve.num_rows > 0 and set(curve["objectId"].to_pylist()) == {433327840428745}
