"""No Python branches on a survey: neither a survey's name nor a packet's field stands in it.

Held over all code of the three packages but the adapter of the schema package: names, attributes, keywords and strings,
docstrings left out (they may say where a rule comes from).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from lsst.alert.packet import Schema, get_schema_path

from stream.survey import load_survey

PROJECT = Path(__file__).parents[2]
PACKAGES = ("stream", "producers", "consumers")
ADAPTER = PROJECT / "stream" / "codec" / "lsst.py"
SURVEYS = tuple(path.stem for path in sorted((PROJECT / "schemas" / "surveys").glob("*.toml")))
EVERYDAY = {
    "M", "a", "candidate", "designation", "e", "field", "flags", "g", "h", "i", "id", "jd", "name", "node", "period",
    "pid", "publisher", "q", "rb", "sky", "x", "y",
}  # fmt: skip
"""Field names that any program has (a process has a pid); with their parent before them they count all the same."""


def _fields(schema: Any) -> Iterator[str]:
    """Every field name of an Avro schema, at any depth."""
    if isinstance(schema, list):
        for part in schema:
            yield from _fields(part)
    elif isinstance(schema, dict):
        for field in schema.get("fields", ()):
            yield str(field["name"])
            yield from _fields(field["type"])
        for key in ("type", "items", "values"):
            yield from _fields(schema.get(key))


def _level1() -> set[str]:
    model = yaml.safe_load((PROJECT / "schemas" / "level1.yaml").read_text())
    return {column["name"] for table in model["tables"] for column in table["columns"]}


@cache
def _forbidden() -> set[str]:
    root = Path(get_schema_path(7, 0)).parents[1]
    words: set[str] = set()
    dotted: set[str] = set()
    for path in root.glob("*/*/*.alert.avsc"):
        if int(path.parts[-3]) >= 7:
            words.update(_fields(Schema.from_file(str(path)).definition))
    for name in SURVEYS:
        paths = load_survey(name).paths
        dotted.update(path for path in paths if "." in path)
        words.update(part for path in paths for part in path.split("."))
    return (words - _level1() - EVERYDAY) | dotted


def _modules() -> list[Path]:
    found = [path for package in PACKAGES for path in sorted((PROJECT / package).rglob("*.py"))]
    return [path for path in found if path != ADAPTER]


def _docstrings(tree: ast.AST) -> set[int]:
    """The constants that are documentation: a string that stands as a statement of its own."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def _words(path: Path) -> Iterator[tuple[int, str]]:
    """Every name and every word of every string, with its line."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = _docstrings(tree)
    for node in ast.walk(tree):
        texts: list[str] = []
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and id(node) not in documentation:
            texts = [node.value if isinstance(node.value, str) else node.value.decode("latin-1")]
        elif isinstance(node, ast.Name | ast.Attribute | ast.arg | ast.keyword | ast.FunctionDef | ast.ClassDef):
            texts = [str(getattr(node, key)) for key in ("id", "attr", "arg", "name") if getattr(node, key, None)]
        for text in texts:
            for word in re.findall(r"\w+(?:\.\w+)*", text):
                for part in {word, *word.split(".")}:
                    yield getattr(node, "lineno", 0), part


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(PROJECT)))
def test_no_python_names_a_survey_or_a_field_of_its_packets(path: Path) -> None:
    forbidden = _forbidden()
    found = [
        f"line {line}: {word}"
        for line, word in _words(path)
        if word in forbidden or any(survey in re.split(r"[_\d]", word.lower()) for survey in SURVEYS)
    ]
    assert found == []


def test_the_words_looked_for_are_there_and_what_is_wrong_would_be_found(tmp_path: Path) -> None:
    looked_for = {"diaSource", "isdiffpos", "magpsf", "candid", "prvDiaSources", "time_processed", "candidate.pid"}
    assert looked_for <= _forbidden()
    assert {"diaSourceId", "band", "ra", "psfFlux", "visit", "pid"}.isdisjoint(_forbidden())
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        '"""diaSource is fine here"""\nif survey == "ztf" and row["candidate.pid"]:\n    magpsf = alert.isdiffpos\n'
    )
    found = {word for _line, word in _words(wrong)}
    assert {"ztf", "candidate.pid", "magpsf", "isdiffpos"} <= found and "diaSource" not in found
    assert any("lsst" in re.split(r"[_\d]", word.lower()) for _line, word in _words(ADAPTER))
