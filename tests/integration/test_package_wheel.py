"""The wheel alone is enough: it holds just our four packages with their data, and works where the checkout is not."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from doubles.early import Early
from doubles.real_packets import REAL_PACKETS

PROJECT = Path(__file__).resolve().parents[2]
OURS = {"stream", "producers", "consumers", "schemas"}


@dataclass(frozen=True, slots=True)
class Installed:
    """The wheel, an environment that has it, and its demo that was run there: its files, and what it said.

    The environment has the dependencies of the one that runs the tests, and not the checkout.
    """

    wheel: Path
    elsewhere: Path
    demo: Path
    out: str
    err: str


def install(folder: Path) -> Installed:
    """Make them. The demo has real packets where there are any."""
    folder.mkdir()
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, PROJECT)
    (wheel,) = folder.glob("*.whl")
    elsewhere = folder / "elsewhere"
    run(sys.executable, "-m", "venv", "--without-pip", elsewhere)
    (packages,) = elsewhere.glob("lib/python*/site-packages")
    # A path in a .pth file brings the folder's packages, but not what that folder's own .pth files name: the checkout.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = elsewhere / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    there = {"SKYBURST_TEST_DATA": str(REAL_PACKETS)} if REAL_PACKETS.is_dir() else {}
    done = run(elsewhere / "bin" / "skyburst", "demo", "--alerts", 100, cwd=folder, **there)
    (demo,) = folder.glob("skyburst-demo-*")
    return Installed(wheel, elsewhere, demo, done.stdout, done.stderr)


EARLY = {"installed": install}


@pytest.fixture(scope="module")
def installed(early: Early) -> Installed:
    made: Installed = early.outcome("installed")
    return made


@pytest.fixture
def wheel(installed: Installed) -> Path:
    return installed.wheel


@pytest.fixture
def elsewhere(installed: Installed) -> Path:
    return installed.elsewhere


def run(*command: object, cwd: Path | None = None, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SKYBURST_"))}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=bare | more, capture_output=True, text=True)
    if check and done.returncode:
        pytest.fail(f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


def test_holds_just_the_four_packages(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == OURS


def test_holds_every_file_of_the_packages_that_is_no_rubbish(wheel: Path) -> None:
    listed = subprocess.run(["git", "ls-files", *OURS], cwd=PROJECT, capture_output=True, text=True, check=True)
    kept = {name for name in listed.stdout.splitlines() if (PROJECT / name).is_file()}
    assert kept
    assert kept - set(zipfile.ZipFile(wheel).namelist()) == set()
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if "__pycache__" in name]


@pytest.mark.parametrize("package", sorted(OURS))
def test_the_packages_that_run_are_those_of_the_wheel(elsewhere: Path, tmp_path: Path, package: str) -> None:
    code = f"import {package}; print({package}.__file__)"
    found = run(elsewhere / "bin" / "python", "-c", code, cwd=tmp_path).stdout.strip()
    assert Path(found).is_relative_to(elsewhere)


def test_the_command_lists_its_verbs_without_complaint(elsewhere: Path, tmp_path: Path) -> None:
    done = run(elsewhere / "bin" / "skyburst", "--help", cwd=tmp_path)
    assert done.stderr == ""
    verbs = {line.split()[0] for line in done.stdout.partition("Commands:")[2].splitlines() if line.strip()}
    assert {"demo", "ingest", "replay", "verify", "local"} <= verbs


def test_the_demo_runs_from_the_wheel_and_holds(installed: Installed) -> None:
    assert installed.out.splitlines()[-1] == "all holds" and "verify" in installed.out
    assert {path.name for path in installed.demo.iterdir()} >= {"alertdb", "level1.db", "skyburst.toml"}


def test_real_packets_are_sent_where_they_are_and_come_back_byte_for_byte(
    installed: Installed, shared_data: Path, tmp_path: Path
) -> None:
    (name,) = {path.parent.name for path in shared_data.rglob("*.wire")}
    real = sorted((shared_data / name).glob("*.wire"))
    assert f"{len(real)} real packets of {real[0].parent.resolve()}" in installed.err
    source = installed.out.partition("diaSourceId")[2].split()[0]
    config = ("--config", installed.demo / "skyburst.toml")
    alert = ("alert", source, "--format", "wire", "-o", "back")
    run(installed.elsewhere / "bin" / "skyburst", *alert, *config, cwd=tmp_path)
    assert (tmp_path / "back").read_bytes() in [path.read_bytes() for path in real]


def test_kafka_jars_are_pinned_in_the_wheel(elsewhere: Path, tmp_path: Path) -> None:
    code = (
        "from stream.local import jars\n"
        "from importlib.resources import files\n"
        "pom = files('stream.local').joinpath('pom.xml').read_text()\n"
        "print(len(jars.digests()), f'<version>{jars.VERSION}</version>' in pom)"
    )
    assert run(elsewhere / "bin" / "python", "-c", code, cwd=tmp_path).stdout.split() == ["46", "True"]
