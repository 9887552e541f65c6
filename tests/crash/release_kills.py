"""Partitioning in a process of its own, killed at random instants until it ends, and counted against its input."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from doubles.load_data import fields_of

from consumers.release.manifest import read
from stream.overlap import Overlap
from stream.sky import Layout

ENTRY = """
import sys
from pathlib import Path
from doubles import release_cases, release_tables
from consumers.release.partition import merge, source
from consumers.release.partition.cluster import open_workers
from stream.sky import Layout

source.PIECE_ROWS, merge.RANGE_BYTES = 2000, 1 << 15
table = getattr(release_tables, sys.argv[1])
with open_workers(count=2) as workers:
    print("begun", flush=True)
    release_cases.cut_up(table, [Path(each) for each in sys.argv[3:]], Path(sys.argv[2]), workers, layout=Layout())
"""


def begin(table: str, files: list[Path], release: Path) -> subprocess.Popen[bytes]:
    """Start partitioning; returns when it has begun."""
    command = [sys.executable, "-W", "error", "-c", ENTRY, table, str(release), *map(str, files)]
    tests = str(Path(__file__).resolve().parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([tests, *sys.path])}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, start_new_session=True)
    assert process.stdout is not None and process.stdout.readline() == b"begun\n"
    return process


def run(table: str, files: list[Path], release: Path) -> float:
    """Partition in one go; seconds from its beginning to its end."""
    process = begin(table, files, release)
    begun = time.monotonic()
    assert process.wait() == 0
    assert process.stdout is not None
    process.stdout.close()
    return time.monotonic() - begun


def kill_until_done(
    table: str, files: list[Path], release: Path, kills: int, usual_s: float, chance: random.Random
) -> int:
    """Partition, killing it up to `kills` times at random instants of its usual time, until it ends; how often."""
    killed = 0
    while True:
        process = begin(table, files, release)
        try:
            if killed < kills:
                process.wait(timeout=chance.uniform(0.0, 0.8 * usual_s))
            else:
                process.wait()
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
        finally:
            assert process.stdout is not None
            process.stdout.close()
        if process.returncode == 0:
            return killed
        assert process.returncode == -signal.SIGKILL


def expected(files: list[Path]) -> dict[bool, Counter[tuple[int, int, int]]]:
    """Id, chunk and sub-chunk of all lines that a director's Parquet files must give, main and overlap."""
    layout = Layout()
    found: dict[bool, Counter[tuple[int, int, int]]] = {False: Counter(), True: Counter()}
    for path in files:
        table = pq.read_table(path)
        ids, ra, dec = (table[name].to_numpy() for name in ("objectId", "ra", "dec"))
        chunk, sub_chunk = layout.locate(ra, dec)
        found[False].update(zip(ids.tolist(), chunk.tolist(), sub_chunk.tolist()))
        near = Overlap(layout).find(ra, dec)
        found[True].update(zip(ids[near.row].tolist(), near.chunk.tolist(), near.sub_chunk.tolist()))
    return found


def on_disk(folder: Path) -> dict[bool, Counter[tuple[int, int, int]]]:
    """The same of the lines that are in the chunk files of a table, whatever its manifest says of them."""
    found: dict[bool, Counter[tuple[int, int, int]]] = {False: Counter(), True: Counter()}
    for path in folder.rglob("chunk_*.txt"):
        for row in fields_of(path.read_bytes(), ","):
            found["overlap" in path.name][int(row[0] or b""), int(row[-2] or b""), int(row[-1] or b"")] += 1
    return found


def told(folder: Path) -> list[str]:
    """The manifest, line by line, as JSON."""
    manifest = read(folder)
    np.testing.assert_equal(sum(file.rows for file in manifest.files if not file.overlap), manifest.rows)
    return [json.dumps(json.loads(line)) for line in (folder / "manifest.jsonl").read_text().splitlines()]
