"""`python -m tests.bench_release`: partitioning and loading on this machine, beside plain ways to do the same."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from stream.local import LocalMariadb
from tests.bench.__main__ import FOLDER, interrupted
from tests.bench.report import machine
from tests.bench_release import report
from tests.bench_release.part import Part, Run

PARTS = ("partition", "load")
BUSY = 1.0
"""A load average from which on something else takes part in what is measured."""


def main() -> int:
    """Run what the command line asks for; 0 where every target is met, 1 else."""
    asked = _arguments()
    chosen = tuple(asked.only.split(",")) if asked.only else PARTS
    if wrong := set(chosen).difference(PARTS):
        sys.exit(f"there is no part {min(wrong)}; there are {', '.join(PARTS)}")
    signal.signal(signal.SIGTERM, interrupted)
    kept = Path(os.environ.get(FOLDER, ".local/bench")).absolute() / "release"
    with _folder(kept) as folder:
        facts = {"machine": machine(), "versions": _versions(folder)}
        for name, said in facts.items():
            print(f"{name}: " + "; ".join(f"{key} {value}" for key, value in said.items()), flush=True)
        if os.getloadavg()[0] > BUSY:
            print("the machine is busy with something else: these figures say little", flush=True)
        started = time.monotonic()
        parts: dict[str, Part] = {}
        for name in chosen:
            print(name, flush=True)
            run = Run(folder / name, kept, 0.1 if asked.quick else 1.0, asked.rounds or (2 if asked.quick else 5))
            run.folder.mkdir()
            begun = time.monotonic()
            parts[name] = _measure(name)(run)
            print(f"  {name} took {time.monotonic() - begun:.0f} s", flush=True)
            shutil.rmtree(run.folder, ignore_errors=True)
    print(f"\n{time.monotonic() - started:.0f} s in all")
    if asked.quick:
        print("a tenth of everything: starting and ending weigh more; the targets mean the whole")
    found = [each for part in parts.values() for each in part.measures]
    for each in found:
        print(each.line())
    whole = not asked.quick and chosen == PARTS
    _write(Path("docs") if whole else kept, parts, facts)
    return 0 if found and all(each.met for each in found) else 1


def _measure(name: str) -> Callable[[Run], Part]:
    measure: Callable[[Run], Part] = import_module(f"tests.bench_release.{name}").measure
    return measure


def _versions(folder: Path) -> dict[str, str]:
    server = LocalMariadb(folder / "mariadb").start()
    try:
        return report.versions(server)
    finally:
        server.stop()
        shutil.rmtree(folder / "mariadb", ignore_errors=True)


@contextmanager
def _folder(kept: Path) -> Iterator[Path]:
    """An empty folder beside what is kept, for one benchmark at a time; wiped whatever happens."""
    kept.mkdir(parents=True, exist_ok=True)
    with (kept / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"another benchmark runs in {kept}")
        run = kept / "run"
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir()
        try:
            yield run
        finally:
            shutil.rmtree(run, ignore_errors=True)


def _write(folder: Path, parts: dict[str, Part], facts: dict[str, dict[str, str]]) -> None:
    (folder / "benchmarks-release.json").write_text(report.as_json(parts, facts))
    (folder / "benchmarks-release.md").write_text(report.as_page(parts, facts))
    print(f"written to {folder}/benchmarks-release.md and .json")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench_release", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything, two rounds")
    parser.add_argument("--only", metavar="PART,…", help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, help="rounds of what is compared")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
