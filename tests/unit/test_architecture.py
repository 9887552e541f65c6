"""Which room may import which, and how long a file or a function may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("stream", "producers", "consumers", "schemas")
ROOMS = (
    "cli", "local", "web", "audit", "commit", "level1", "alertdb", "tables", "transport", "codec",
    "survey", "overlap", "sky", "visit", "alert", "config", "layers", "metrics", "instruments", "log", "retry",
    "clock", "collecting", "redact", "tls", "errors",
)  # fmt: skip
"""The rooms of `stream`: each may import those after it."""
LONGEST_FILE, LONGEST_TEST_FILE, LONGEST_FUNCTION = 400, 500, 70


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the packages by its path, parsed."""
    paths = [path for package in PACKAGES for path in sorted((PROJECT / package).rglob("*.py"))]
    return {str(path.relative_to(PROJECT)): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def imported(tree: ast.AST) -> Iterator[tuple[str, ...]]:
    """The dotted names that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(each.name.split(".")) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((*(node.module or "").split("."), each.name) for each in node.names)


def room_of(path: str) -> str:
    """The room of a module of `stream`: a room's `commands.py` has verbs, and belongs to the command."""
    parts = path.split("/")
    return "cli" if parts[-1] == "commands.py" else parts[1].removesuffix(".py")


def upward(path: str, tree: ast.AST) -> list[str]:
    """The rooms that a module of `stream` imports and may not."""
    here = ROOMS.index(room_of(path))
    rooms = {name[1] for name in imported(tree) if name[0] == "stream" and len(name) > 1 and name[1] in ROOMS}
    return sorted(room for room in rooms if ROOMS.index(room) < here)


def test_every_room_of_stream_is_in_the_list() -> None:
    found = {room_of(path) for path in modules() if path.startswith("stream/")} - {"__init__"}
    assert found == set(ROOMS)


def test_imports_inside_stream_go_only_down_the_list() -> None:
    ours = {path: tree for path, tree in modules().items() if path.startswith("stream/") and path.count("/") > 1}
    ours |= {path: tree for path, tree in modules().items() if path.startswith("stream/") and room_of(path) in ROOMS}
    assert {path: up for path, tree in ours.items() if (up := upward(path, tree))} == {}


def test_an_import_that_goes_up_would_be_found() -> None:
    assert upward("stream/alertdb/x.py", ast.parse("from stream.commit.batch import Batch")) == ["commit"]
    assert upward("stream/sky.py", ast.parse("def f():\n    import stream.codec.decoder")) == ["codec"]
    assert upward("stream/sky.py", ast.parse("from stream import codec, errors")) == ["codec"]
    assert upward("stream/commit/x.py", ast.parse("from stream.alertdb import store")) == []


@pytest.mark.parametrize(
    ("package", "may_not"),
    [
        ("stream", {"producers", "consumers", "tests"}),
        ("producers", {"consumers", "tests"}),
        ("consumers", {"producers", "tests"}),
        ("schemas", {"stream", "producers", "consumers", "tests"}),
    ],
)
def test_packages_import_no_other_than_they_may(package: str, may_not: set[str]) -> None:
    ours = {path: tree for path, tree in modules().items() if path.startswith(f"{package}/")}
    assert ours
    assert {path: up for path, tree in ours.items() if (up := {name[0] for name in imported(tree)} & may_not)} == {}


def test_redact_and_errors_import_nothing_of_ours() -> None:
    for name in ("stream/redact.py", "stream/errors.py"):
        assert {each[0] for each in imported(modules()[name])} & set(PACKAGES) == set(), name


@pytest.mark.parametrize(("low", "above"), [("layers", "config"), ("instruments", "metrics")])
def test_a_module_beneath_another_does_not_know_it(low: str, above: str) -> None:
    assert ROOMS.index(above) < ROOMS.index(low)
    assert any(name[:2] == ("stream", low) for name in imported(modules()[f"stream/{above}.py"]))


def test_no_file_is_longer_than_one_idea() -> None:
    paths = [path for folder in (*PACKAGES, "tests") for path in (PROJECT / folder).rglob("*.py")]
    lengths = {str(path.relative_to(PROJECT)): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    limit = {name: LONGEST_TEST_FILE if name.startswith("tests/") else LONGEST_FILE for name in lengths}
    assert {name: lines for name, lines in lengths.items() if lines > limit[name]} == {}


def test_no_function_is_longer_than_a_page() -> None:
    long = {}
    for path, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    long[f"{path}:{node.name}"] = lines
    assert long == {}
