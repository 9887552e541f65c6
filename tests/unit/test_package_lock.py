"""The lock files pin every package by version and digest, name no index, and agree with one another and pyproject."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-test.lock", "requirements-build.lock")
OURS = {"stream", "producers", "consumers", "schemas"}


def entries(name: str) -> list[list[str]]:
    """Each package's line and the digest lines that follow it."""
    text = (PROJECT / name).read_text().replace("\\\n", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    starts = [number for number, line in enumerate(lines) if not line.startswith("--hash=")]
    return [lines[start:end] for start, end in zip(starts, [*starts[1:], None])]


def pins(name: str) -> dict[str, str]:
    found = [Requirement(entry[0]) for entry in entries(name)]
    return {canonicalize_name(each.name): str(each.specifier) for each in found}


def project() -> dict[str, object]:
    content: dict[str, object] = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    return content


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_one_version_and_digests(name: str) -> None:
    assert entries(name)
    for line, *digests in entries(name):
        assert re.fullmatch(r"[a-z0-9.-]+==[A-Za-z0-9.]+( ; .+)?", line)
        assert digests, line
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", digest) for digest in digests), line


@pytest.mark.parametrize("name", LOCKS)
def test_names_no_index_and_no_address(name: str) -> None:
    assert not re.search(r"https?:|index|find-links|trusted-host|@", (PROJECT / name).read_text())


def test_the_tests_run_on_what_users_have() -> None:
    users, tests = pins("requirements.lock"), pins("requirements-test.lock")
    assert users.items() <= tests.items()
    assert pins("requirements-build.lock").items() <= tests.items()


@pytest.mark.parametrize(("name", "extra"), [("requirements.lock", False), ("requirements-test.lock", True)])
def test_whatever_pyproject_asks_for_is_locked_in_a_version_that_it_takes(name: str, extra: bool) -> None:
    asked = project()["project"]
    assert isinstance(asked, dict)
    wanted = asked["dependencies"] + (asked["optional-dependencies"]["test"] if extra else [])
    locked = pins(name)
    for requirement in map(Requirement, wanted):
        version = locked[canonicalize_name(requirement.name)].removeprefix("==")
        assert requirement.specifier.contains(version), requirement


def test_the_build_backend_is_the_locked_one() -> None:
    build = project()["build-system"]
    assert isinstance(build, dict)
    assert build["requires"] == [f"hatchling{pins('requirements-build.lock')['hatchling']}"]


def test_no_locked_dependency_owns_one_of_our_import_names() -> None:
    locked = set(pins("requirements-test.lock"))
    owners: dict[str, set[str]] = {}
    seen = set()
    for found in distributions():
        name = canonicalize_name(found.metadata["Name"])
        seen.add(name)
        for file in found.files or ():
            top = file.parts[0].removesuffix(".py").split(".")[0]
            if top in OURS and name != "skyburst":
                owners.setdefault(top, set()).add(name)
    assert owners == {}
    missing = {name for name in locked - seen if not _only_elsewhere(name)}
    assert missing == set(), "the environment lacks locked packages: nothing was proven about them"


def _only_elsewhere(name: str) -> bool:
    """Whether the lock's marker leaves the package out here."""
    for line, *_ in entries("requirements-test.lock"):
        requirement = Requirement(line)
        if canonicalize_name(requirement.name) == name:
            return requirement.marker is not None and not requirement.marker.evaluate()
    return False
