"""The release's results as JSON and as a page."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version

from stream.local import LocalMariadb
from tests.bench.report import fact_lines, measured, table
from tests.bench_release.part import Part


def versions(mariadb: LocalMariadb) -> dict[str, str]:
    """Of what was measured."""
    found = {name: version(name) for name in ("skyburst", "pyarrow", "numpy", "dask")}
    server = str(mariadb.execute("SELECT VERSION()")[0][0])
    return {**found, "Python": platform.python_version(), "MariaDB": server}


def as_json(parts: Mapping[str, Part], facts: Mapping[str, Mapping[str, str]]) -> str:
    """Everything, with every round."""
    found = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
        "measures": [{**asdict(each), "met": each.met} for part in parts.values() for each in part.measures],
        "parts": {name: {"told": dict(part.told), "rounds": part.rounds} for name, part in parts.items()},
    }
    return json.dumps(found, indent=1) + "\n"


def as_page(parts: Mapping[str, Part], facts: Mapping[str, Mapping[str, str]]) -> str:
    """Markdown."""
    lines = [
        "<!-- Made by `make bench-release`; do not edit. -->",
        "",
        "# Benchmarks of the release loader",
        "",
        f"Measured on {datetime.now(UTC):%Y-%m-%d} by `make bench-release`: files on disk, the double of the ingest",
        "service with a real MariaDB, all on one machine. Every round is in",
        "[benchmarks-release.json](benchmarks-release.json). Kills are counted by the tests, not here.",
        "",
        *fact_lines(facts),
        "",
        "## What it must reach",
        "",
        *measured([each for part in parts.values() for each in part.measures]),
    ]
    for name, part in parts.items():
        if part.told:
            lines += [
                "",
                f"## {name.capitalize()}",
                "",
                *table(("what", "measured"), [tuple(row) for row in part.told]),
            ]
    return "\n".join(lines) + "\n"
