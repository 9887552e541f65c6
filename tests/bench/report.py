"""The results as JSON and as a page."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import confluent_kafka
import zstandard

from stream.config import IngestSettings
from stream.local.jars import VERSION as KAFKA
from tests.bench.drain import Rate
from tests.bench.measures import READINGS, Measure, Results, measures
from tests.bench.servers import MARIADB_OPTIONS, Servers

_SHOWN = ("batch_bytes", "batch_age_s", "inflight_bytes", "fetch_queue_kb", "compress_threads")


def machine() -> dict[str, str]:
    """What it ran on."""
    cpu = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1e6
    return {
        "cpu": f"{len(cpu)} x {cpu[0] if cpu else platform.machine()}",
        "memory": f"{memory:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "load": "load average at the start " + " ".join(f"{x:.1f}" for x in os.getloadavg()),
    }


def versions(servers: Servers) -> dict[str, str]:
    """Of what was measured."""
    return {
        "skyburst": version("skyburst"),
        "Python": platform.python_version(),
        "Kafka": KAFKA,
        "MariaDB": str(servers.mariadb.execute("SELECT VERSION()")[0][0]),
        "librdkafka": str(confluent_kafka.libversion()[0]),
        "zstd": ".".join(map(str, zstandard.ZSTD_VERSION)),
    }


def settings() -> dict[str, str]:
    """The servers' and the daemon's settings that matter."""
    ours = IngestSettings()
    return {**MARIADB_OPTIONS, **{name: str(getattr(ours, name)) for name in _SHOWN}}


def as_json(results: Results, facts: Mapping[str, Mapping[str, str]]) -> str:
    """Everything, with every round."""
    found: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
        "measures": [{**asdict(each), "met": each.met} for each in measures(results)],
        "rounds": {
            size: {what: [asdict(rate) | {"alerts_s": rate.alerts_s, "mb_s": rate.mb_s} for rate in rounds]
                   for what, rounds in kinds.items()}
            for size, kinds in results.rates.items()
        },
        "live": {name: asdict(each) for name, each in results.lives.items()},
        "stalled": asdict(results.stalled) if results.stalled else None,
        "alert": asdict(results.looked) if results.looked else None,
        "starts": results.starts,
    }  # fmt: skip
    return json.dumps(found, indent=1) + "\n"


def as_page(results: Results, facts: Mapping[str, Mapping[str, str]]) -> str:
    """Markdown."""
    lines = [
        "<!-- Made by `make bench`; do not edit. -->",
        "",
        "# Benchmarks",
        "",
        f"Measured on {datetime.now(UTC):%Y-%m-%d} by `make bench`: real Kafka and MariaDB, the daemon and the sender",
        "all on one machine, `skyburst ingest` with its stock settings. Every round is in "
        "[benchmarks.json](benchmarks.json).",
        "",
        *fact_lines(facts),
        "",
        "## What it must reach",
        "",
        *measured(measures(results)),
        "",
        "## Drains",
        "",
        f"Medians over the interleaved rounds. Before them each topic is read {READINGS} times and drained once,",
        "which is in no ratio: a broker that was just started compiles its own code on the same processors, and its",
        "first drain may be a quarter slower. A drain's clock runs from its first assignment to its last commit. CPU",
        "seconds are of what is measured, then of MariaDB, Kafka and everything else on the machine meanwhile.",
        "",
        *table(
            ("packets", "what", "alerts/s", "MB/s", "CPU s per 1000", "peak MB", "servers, others: CPU s"),
            [_drained(size, what, rounds) for size, kinds in results.rates.items() for what, rounds in kinds.items()],
        ),
        "",
        "## Live",
        "",
        "Seconds from the instant at which the schedule says an alert is due until another session sees it committed.",
        "",
        *table(
            ("run", "alerts", "in s", "p50", "p98", "max", "all within", "lost", "daemon's CPU s"),
            [
                (name, f"{x.alerts:,}", f"{x.seconds:g}", f"{x.p50:.3f}", f"{x.p98:.3f}", f"{x.most:.3f}",
                 f"{x.all_s:.2f}", str(x.lost), f"{x.cpu_s:.1f}")
                for name, x in results.lives.items()
            ],
        ),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def fact_lines(facts: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What it ran on, a line each."""
    return [f"- {name}: " + "; ".join(f"{key} {value}" for key, value in said.items()) for name, said in facts.items()]


def measured(found: Sequence[Measure]) -> list[str]:
    """The table of figures beside their targets."""
    rows = [(each.name, each.shown, each.wanted, "met" if each.met else "**not met**") for each in found]
    return table(("measure", "measured", "target", ""), rows)


def _drained(size: str, what: str, rounds: list[Rate]) -> tuple[str, ...]:
    def middle(values: list[float]) -> float:
        return median(values)

    servers = [median(rate.servers_cpu_s[k] for rate in rounds) for k in (0, 1)]
    drained = rounds[0].peak > 0
    return (
        size,
        what,
        f"{middle([rate.alerts_s for rate in rounds]):,.0f}",
        f"{middle([rate.mb_s for rate in rounds]):,.0f}",
        f"{middle([1000 * rate.cpu_s / rate.alerts for rate in rounds]):.3f}",
        f"{max(rate.peak for rate in rounds) / 1e6:.0f}" if drained else "",
        f"{servers[0]:.2f}, {servers[1]:.2f}, {middle([r.others_cpu_s for r in rounds]):.2f}" if drained else "",
    )


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """A table in Markdown."""
    return [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)]
