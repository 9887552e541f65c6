"""What the page says of the double runs as it is written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "release.md"


def test_the_pages_snippet_of_the_double_runs_and_leaves_nothing_running(tmp_path: Path) -> None:
    section = PAGE.read_text().partition("\n## The double of the ingest service\n")[2].partition("\n## ")[0]
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, check=True, timeout=120)
    running = tmp_path / "double" / "mariadb" / "mariadbd.pid"
    assert running.parent.is_dir() and not running.exists()
