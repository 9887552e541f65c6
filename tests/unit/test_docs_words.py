"""What is written is about skyburst and for whoever uses it: no path of one machine, and nothing left to do."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
UNWANTED = (
    r"(?<![\w.])/(?:root|home/\w+)/",
    r"\b(?:TODO|FIXME|XXX|HACK)\b",
    r"\bNotImplementedError\b",
)
THIS = "tests/unit/test_docs_words.py"


def files() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True)
    kept = [name for name in listed.stdout.splitlines() if (PROJECT / name).is_file()]
    return [name for name in kept if name != THIS and name != "LICENSE" and not name.endswith(".lock")]


@pytest.mark.parametrize("words", UNWANTED)
def test_no_file_names_a_home_folder_or_leaves_work_behind(words: str) -> None:
    found = []
    for name in files():
        text = (PROJECT / name).read_text(encoding="utf-8", errors="replace")
        found += [f"{name}: {match[0]}" for match in re.finditer(words, text)]
    assert found == []


def test_the_words_would_be_found() -> None:
    shown = ("see /home/somebody/x", "# TODO: later", "raise NotImplementedError")
    assert all(any(re.search(words, text) for words in UNWANTED) for text in shown)


def test_pages_are_for_readers_with_little_time() -> None:
    pages = [PROJECT / "README.md", *(PROJECT / "docs").glob("*.md"), *(PROJECT / "docs/decisions").glob("*.md")]
    boast = re.compile(
        r"\b(?:blazing|seamless|powerful|cutting-edge|state-of-the-art|world-class|effortless|robust|leverag\w+)\b",
        re.I,
    )
    assert {path.name: boast.findall(path.read_text()) for path in pages if boast.search(path.read_text())} == {}
