"""The reference is what the code says, and the runbook has a section for every code that an operator can meet."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from stream.cli import reference
from stream.config import IngestSettings, Settings, describe_settings
from stream.metrics import DECLARED

PROJECT = Path(__file__).resolve().parents[2]
PAGES = PROJECT / "docs/reference"
POLICIES = {"SkyburstError", "Transient", "Poison", "Fenced", "Held", "Fatal", "Wrong"}
SLUG = re.compile(r"[a-z][a-z0-9_]*")


@pytest.mark.parametrize("name", sorted(reference.PAGES))
def test_a_page_is_what_the_code_makes_of_it(name: str) -> None:
    assert (PAGES / name).read_text(encoding="utf-8") == reference.PAGES[name](), "run `make docs`"


def test_every_verb_option_setting_and_metric_is_in_the_reference() -> None:
    commands, settings, metrics = ((PAGES / f"{n}.md").read_text() for n in ("command", "settings", "metrics"))
    for path, command in reference.verbs():
        assert re.search(rf"^#+ {path}$", commands, re.MULTILINE), path
        for option in command.params:
            if isinstance(option, click.Option) and not (option.name or "").startswith("setting_"):
                assert option.opts[0] in commands, (path, option.opts)
    for doc in (*describe_settings(Settings), *describe_settings(IngestSettings)):
        assert f"`{doc.flag}`" in settings and f"`{doc.env}`" in settings, doc.name
    assert all(f"`{name}`" in metrics for name in DECLARED)


def test_every_verb_says_what_it_does_and_each_option_too() -> None:
    for path, command in reference.verbs():
        assert command.help, path
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, (path, option.opts)


def test_pages_have_no_table_row_of_another_width() -> None:
    for name, page in reference.PAGES.items():
        widths = [line.replace("\\|", "").count("|") for line in page().splitlines() if line.startswith("|")]
        blocks = re.findall(r"(?:^\|.*\n)+", page(), re.MULTILINE)
        assert widths and all(
            len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1 for block in blocks
        ), name


@cache
def modules() -> dict[Path, ast.Module]:
    rooms = ("stream", "producers", "consumers")
    return {path: ast.parse(path.read_text()) for room in rooms for path in (PROJECT / room).rglob("*.py")}


@cache
def error_classes() -> frozenset[str]:
    known = set(POLICIES)
    classes = [node for tree in modules().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while True:
        more = {c.name for c in classes if {_name(base) for base in c.bases} & known} - known
        if not more:
            return frozenset(known)
        known |= more


def _name(node: ast.AST) -> str:
    return str(getattr(node, "id", getattr(node, "attr", "")))


def _codes(node: ast.AST) -> Iterator[ast.expr]:
    """The expressions in which `node` names an error's code, if it does."""
    if isinstance(node, ast.Call):
        name = _name(node.func)
        if name in error_classes() or (isinstance(node.func, ast.Attribute) and name == "__init__"):
            yield from node.args[:1]
            yield from (word.value for word in node.keywords if word.arg == "code")
        elif name in ("Refusal", "refuse", "hold"):
            yield from node.args[1:2]
        elif name == "PartitionTrouble":
            yield from node.args
        elif name == "set" and len(node.args) == 2:
            yield from node.args[:1]
    elif isinstance(node, ast.Tuple) and len(node.elts) > 1:
        if _name(node.elts[0]) in error_classes():
            yield node.elts[1]
        elif _says_something(node.elts[-1]):
            yield node.elts[0]


def _says_something(node: ast.expr) -> bool:
    """Whether it is the text of an error: a code and a text make a pair in tables of refusals."""
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and " " in str(node.value))


def _strings(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and SLUG.fullmatch(node.value):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from (*_strings(node.body), *_strings(node.orelse))


def codes() -> dict[str, str]:
    """Every code that the code can raise, with a place where it does."""
    found = {}
    for path, tree in modules().items():
        for node in ast.walk(tree):
            for expression in _codes(node):
                for code in _strings(expression):
                    found[code] = f"{path.relative_to(PROJECT)}:{getattr(node, 'lineno', 0)}"
    return found


def sections() -> set[str]:
    titles = ""
    for page in ("operating", "release"):
        text = (PROJECT / f"docs/{page}.md").read_text(encoding="utf-8")
        titles += " ".join(re.findall(r"^### (.*)$", text.split("\n## Error codes\n", 1)[1], re.MULTILINE))
    return set(re.findall(r"`([a-z0-9_]+)`", titles))


def test_the_reader_of_codes_finds_them_where_they_are_given() -> None:
    found = set(codes())
    assert {"setting", "port_taken", "verb_broken", "disk_full", "deadlock", "segment_damaged"} <= found
    assert {"bad_union", "bad_time", "too_long", "starting"} <= found


def test_every_code_has_a_section_in_the_runbook() -> None:
    missing = {code: where for code, where in codes().items() if code not in sections()}
    assert not missing, "write a section in docs/operating.md or docs/release.md, Error codes"


def test_the_runbook_has_no_section_for_a_code_that_is_gone() -> None:
    everywhere = "\n".join(path.read_text() for path in modules())
    gone = {code for code in sections() if f'"{code}"' not in everywhere}
    assert not gone
