"""The pages hold what they say: links lead somewhere, commands and settings exist, promises have tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from consumers.release.query.settings import QuerySettings
from consumers.release.settings import ReleaseSettings
from stream.cli import reference
from stream.config import IngestSettings, Settings, describe_settings
from stream.metrics import DECLARED

PROJECT = Path(__file__).resolve().parents[2]
PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")])
NAMES = [str(path.relative_to(PROJECT)) for path in PAGES]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")
MARKS = ("-", "[", "…", "|")
"""How a word begins that stands for others."""


def page(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str) -> None:
    lost = []
    for target in LINK.findall(FENCE.sub("", page(name))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (PROJECT / name).parent / path if path else PROJECT / name
        if not found.exists() or (anchor and anchor not in anchors(found.read_text(encoding="utf-8"))):
            lost.append(target)
    assert not lost


def test_every_page_is_linked_from_another() -> None:
    linked = {
        ((PROJECT / name).parent / target.partition("#")[0]).resolve()
        for name in NAMES
        for target in LINK.findall(page(name))
        if "://" not in target
    }
    assert {str(path) for path in PAGES if path.name != "README.md" and path not in linked} == set()


def code(name: str) -> Iterator[str]:
    """Lines of code of a page: fenced, indented, and between backticks."""
    text = page(name)
    for _, block in FENCE.findall(text):
        yield from block.splitlines()
    text = FENCE.sub("", text)
    yield from (line.strip() for line in text.splitlines() if line.startswith("    "))
    yield from SPAN.findall(text)


@cache
def verbs() -> dict[str, click.Command]:
    return dict(reference.verbs())


def calls(name: str) -> Iterator[list[str]]:
    """What follows `skyburst` wherever a page shows the command."""
    for line in code(name):
        for call in re.split(r"\$\(|[|;)]|&&", line.partition("#")[0]):
            words = call.replace('"', "").replace("'", "").split()
            if words[:1] == ["skyburst"] and words[1:] and not words[1].startswith(("=", ":")):
                yield words[1:]


def wrong_call(words: list[str]) -> str:
    """What is wrong with a call, or nothing."""
    path, rest = "skyburst", list(words)
    while rest and f"{path} {rest[0]}" in verbs():
        path += f" {rest.pop(0)}"
    if path == "skyburst":
        return "" if rest[0].startswith(MARKS) else f"there is no verb {rest[0]}"
    command = verbs()[path]
    if isinstance(command, click.Group) and rest and not rest[0].startswith(MARKS):
        return f"{path} has no verb {rest[0]}"
    flags = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
    unknown = [word for word in rest if word.startswith("--") and word.partition("=")[0] not in flags]
    return f"{path} has no {unknown}" if unknown else ""


@pytest.mark.parametrize("name", NAMES)
def test_every_command_and_flag_on_a_page_exists(name: str) -> None:
    assert [(words, wrong) for words in calls(name) if (wrong := wrong_call(words))] == []


def test_the_reader_of_commands_finds_them_and_what_is_wrong_with_them() -> None:
    assert ["verify"] in list(calls("README.md"))
    assert ["local", "up"] in list(calls("README.md"))
    assert wrong_call(["verify", "--nonsense"]) and wrong_call(["nonsense"]) and wrong_call(["level1", "nonsense"])
    assert not wrong_call(["ingest", "--until-idle-s", "5"])


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_on_a_page_is_a_setting(name: str) -> None:
    classes = (Settings, IngestSettings, ReleaseSettings, QuerySettings)
    docs = [doc for of in classes for doc in describe_settings(of)]
    known = {doc.env for doc in docs} | {"SKYBURST_LOG_LEVEL", "SKYBURST_TEST_DATA", "SKYBURST_SEED", "SKYBURST_CONFIG"}
    known |= set(re.findall(r"\"(SKYBURST_[A-Z_]+)\"", "\n".join(each.read_text() for each in _python())))
    named = set(re.findall(r"\bSKYBURST_[A-Z0-9_]+", page(name)))
    assert {each for each in named if each.removesuffix("_FILE") not in known and not each.endswith("_")} == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_on_a_page_exists(name: str) -> None:
    named = {each for each in SPAN.findall(page(name)) if re.fullmatch(r"skyburst_[a-z0-9_]+", each)}
    made = {f"{each}{end}" for each in DECLARED for end in ("", "_bucket", "_count", "_sum")}
    users = set(re.findall(r"'(skyburst_\w+)'", page("deploy/mariadb/roles.sql")))
    assert named - made - users == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_file_named_on_a_page_is_there(name: str) -> None:
    rooms = ("stream/", "producers/", "consumers/", "schemas/", "deploy/", "tests/", "docs/")
    named = {each for each in SPAN.findall(page(name)) if each.startswith(rooms) and not re.search(r"[<>* ]", each)}
    assert {each for each in named if not (PROJECT / each).exists()} == set()


def _python() -> list[Path]:
    return [path for room in ("stream", "producers", "consumers", "tests") for path in (PROJECT / room).rglob("*.py")]


@cache
def proofs() -> frozenset[str]:
    """The names of all tests."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in (PROJECT / "tests").rglob("test_*.py"))
    return frozenset(re.findall(r"^ *(?:async )?def (test_\w+)", text, re.MULTILINE))


def test_every_promise_of_the_readme_names_a_test_that_exists() -> None:
    table = page("README.md").partition("## What it promises")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and "held by" not in line]
    assert len(rows) > 10
    for row in rows:
        named = [each for each in SPAN.findall(row) if each.startswith("test_")]
        assert named, row
        assert set(named) <= proofs(), row


@pytest.mark.parametrize("name", NAMES)
def test_every_test_named_on_a_page_exists(name: str) -> None:
    named = {each for each in SPAN.findall(page(name)) if re.fullmatch(r"test_\w+", each)}
    assert named - proofs() == set()


def test_every_make_target_of_the_readme_is_one_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", page("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:^ {4}|`)make ([a-z-]+)", page("README.md") + page("CONTRIBUTING.md"), re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_every_decision_is_listed_and_says_question_decision_and_why() -> None:
    folder = PROJECT / "docs/decisions"
    listed = set(LINK.findall((folder / "README.md").read_text()))
    pages = {path.name for path in folder.glob("*.md")} - {"README.md"}
    assert listed == pages
    for name in pages:
        text = (folder / name).read_text()
        assert "**Question.**" in text and "**Decided.**" in text, name


def test_the_changelog_has_the_version_that_is_built() -> None:
    version = re.search(r'^version = "([^"]+)"', page("pyproject.toml"), re.MULTILINE)
    assert version and f"## [{version[1]}]" in page("CHANGELOG.md")
