"""Partitioning beside one `pyarrow.csv.write_csv` of the same table, which the usual way begins with; and its memory.

The table has an id, a position and 20 doubles, over 100 square degrees. Its chunk files have 41 % more rows than it
has: those of the overlap. Both write to one disk, in turn, each after what the other left has been written out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from consumers.release.description import felis_file
from consumers.release.table import Column, Database, Role, Table
from tests.bench.measures import Measure
from tests.bench_release.part import Part, Run

ROWS, MORE_ROWS, FLUXES = 5_000_000, 20_000_000, 20
CLOSELY_S, ROUGHLY_S = 0.2, 5.0
"""Seconds between two looks at the memory: each takes 12 ms of a core, and holds up who wants memory meanwhile."""
NAMES = ("objectId", "ra", "dec", *(f"flux{i}" for i in range(FLUXES)))
_PLAIN = """
import sys, time
import pyarrow.csv, pyarrow.parquet
table = pyarrow.parquet.read_table(sys.argv[1])
begun = time.perf_counter()
pyarrow.csv.write_csv(table, sys.argv[2])
print(time.perf_counter() - begun)
"""


def measure(run: Run) -> Part:
    """Both in turn, as often as is asked for; then, in runs of their own, the memory at 5 and at 20 million rows."""
    description = _describe(run.folder)
    rows, more_rows = run.scaled(ROWS), run.scaled(MORE_ROWS)
    catalogue = make(run.folder / "objects.parquet", rows)
    rounds: list[dict[str, float]] = []
    told: dict[str, int] = {}
    for number in range(run.rounds):
        before = os.getloadavg()[0]
        plain = _plain(catalogue, run.folder / "plain.csv")
        ours, _, told = _ours(description, catalogue, run.folder / "release", ROUGHLY_S)
        rounds.append({"plain_s": plain, "ours_s": ours, "load": before})
        run.say(f"round {number + 1}: write_csv {plain:.1f} s, skyburst {ours:.1f} s; load {before:.1f}")
    _, peak, _ = _ours(description, catalogue, run.folder / "release", CLOSELY_S)
    catalogue.unlink()
    catalogue = make(run.folder / "more.parquet", more_rows)
    _, more_peak, _ = _ours(description, catalogue, run.folder / "release", CLOSELY_S)
    catalogue.unlink()
    plain, ours = (median(each[key] for each in rounds) for key in ("plain_s", "ours_s"))
    measures = (
        Measure(f"partition of {rows:,} rows of Parquet, over write_csv of them once", ours / plain, "<=", 1.0),
        Measure(f"memory of partition, {rows:,} rows", peak, "<=", 1000.0, "MB"),
        Measure(f"memory of partition, {more_rows:,} rows", more_peak, "<=", 1000.0, "MB"),
    )
    said = (
        ("partition, the whole command", f"{ours:.1f} s, {rows / ours:,.0f} rows/s"),
        ("pyarrow.csv.write_csv, from memory", f"{plain:.1f} s, {rows / plain:,.0f} rows/s"),
        ("written besides, for the overlap", f"{told['overlap_rows']:,} rows"),
        ("chunk files", f"{told['bytes'] / 1e6:,.0f} MB in {told['files']} files"),
    )
    return Part(measures, said, {"partition": rounds, "partition_pss_mb": peak, "partition_more_pss_mb": more_peak})


def make(path: Path, rows: int) -> Path:
    """A Parquet file of objects in 100 square degrees, as pyarrow writes it unless told otherwise."""
    rng = np.random.default_rng(5)
    writer = None
    for first in range(0, rows, 1 << 20):
        count = min(1 << 20, rows - first)
        low, high = np.sin(np.radians((-5.0, 5.0)))
        columns = [
            rng.permutation(count) * 1_000_003 + first + 10**15,
            rng.uniform(50.0, 60.0, count),
            np.degrees(np.arcsin(rng.uniform(low, high, count))),
            *(rng.lognormal(3.0, 2.0, count) * rng.choice((-1.0, 1.0), count) for _ in range(FLUXES)),
        ]
        table = pa.table(dict(zip(NAMES, columns)))
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()
    return path


def _describe(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    columns = [Column("objectId", "objectId", "long", "BIGINT", nullable=False)]
    columns += [Column(name, name, "double", "DOUBLE") for name in NAMES[1:]]
    table = Table("Object", Role.DIRECTOR, tuple(columns), "objectId", "ra", "dec")
    felis_file.write(Database("bench", (table,)), folder / "release.yaml")
    return folder / "release.yaml"


def _plain(catalogue: Path, target: Path) -> float:
    os.sync()
    done = subprocess.run([sys.executable, "-c", _PLAIN, catalogue, target], check=True, capture_output=True)
    target.unlink()
    return float(done.stdout)


def _ours(description: Path, catalogue: Path, release: Path, every_s: float) -> tuple[float, float, dict[str, int]]:
    os.sync()
    words = ["release", "partition", description, "Object", catalogue, "--to", release, "--json"]
    cut = ["--stripes", "340", "--sub-stripes", "3", "--overlap", "0.01667"]
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "stream.cli", *words, *cut], stdout=subprocess.PIPE)
    watch = PssWatch(process.pid, every_s)
    out, _ = process.communicate()
    seconds = time.perf_counter() - begun
    peak = watch.stop()
    if process.returncode:
        raise SystemExit(f"partitioning ended with {process.returncode}")
    shutil.rmtree(release)
    return seconds, peak, json.loads(out)


class PssWatch:
    """The most memory, MB, that a process and all that it started share out (PSS), looked at every so many seconds."""

    def __init__(self, pid: int, every_s: float) -> None:
        self._pid, self._every_s, self._most = pid, every_s, 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """End it."""
        self._stop.set()
        self._thread.join()
        return self._most

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self._most = max(self._most, sum(map(_pss, _family(self._pid))) / 1e3)


def _family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for each in found:
        for path in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found += map(int, path.read_text().split())
            except OSError:
                continue
    return found


def _pss(pid: int) -> float:
    """PSS of a process, kB; 0 where it has ended."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return float(line.split()[1])
    except OSError:
        pass
    return 0.0
