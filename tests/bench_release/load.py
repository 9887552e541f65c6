"""Loading chunk files into the double of Qserv, beside plain LOAD DATA streams and a plain loop of requests."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.csv

from consumers.release import manifest as manifests
from consumers.release.description import felis_file
from consumers.release.double import QservDouble
from consumers.release.load.registering import columns_of
from consumers.release.manifest import ChunkFile, Dialect, Manifest
from consumers.release.table import Column, Database, Role, Table, fingerprint
from stream.local import LocalMariadb
from stream.sky import Layout
from tests.bench.measures import Measure
from tests.bench_release.part import Part, Run

WORKERS = 2
FIRST_CHUNK = 7480
"""Of 85 stripes, with enough chunks after it."""
LARGE_FILES, LARGE_ROWS, FLOATS = 48, 75_000, 20
SMALL_FILES, SMALL_ROWS, SMALL_CHUNKS, SMALL_FLOATS = 5_000, 100, 50, 4
PLAIN, OURS, BARE, MERGED = "plain LOAD DATA streams", "skyburst", "the double's bare rate", "skyburst, merged"


def measure(run: Run) -> Part:
    """Measure both, in turn, as often as is asked for."""
    mariadb = LocalMariadb(run.folder / "mariadb", options={"secure-file-priv": "", "skip-log-bin": "ON"}).start()
    try:
        large, rounds = _large(run, mariadb)
        small, more = _small(run, mariadb)
    finally:
        mariadb.stop()
    rate = {what: median(each[what] for each in large) for what in large[0]}
    small_rate = {what: median(each[what] for each in small) for what in small[0]}
    measures = (
        Measure(
            f"load of {rounds['files']} chunk files, share of {WORKERS} plain LOAD DATA streams",
            median(each[OURS] / each[PLAIN] for each in large),
            ">=",
            0.9,
        ),
        Measure(
            f"load of {more['files']} contributions of {SMALL_ROWS} rows, share of the double's bare rate",
            median(each[OURS] / each[BARE] for each in small),
            ">=",
            0.9,
        ),
    )
    told = (
        (f"{PLAIN}, {rounds['MB']} MB", f"{rate[PLAIN]:.1f} MB/s"),
        (f"{OURS}, with ledger, gate and SHA-256 of every file", f"{rate[OURS]:.1f} MB/s"),
        (f"{BARE}, contributions of {SMALL_ROWS} rows", f"{small_rate[BARE]:.0f} a second"),
        (OURS, f"{small_rate[OURS]:.0f} a second"),
        (f"{MERGED} into {SMALL_CHUNKS} contributions", f"{small_rate[MERGED]:.0f} files a second"),
    )
    return Part(measures, told, {"large": large, "small": small})


def _large(run: Run, mariadb: LocalMariadb) -> tuple[list[Mapping[str, float]], Mapping[str, int]]:
    folder = run.folder / "large"
    files = _make(folder, run.scaled(LARGE_FILES), 1, LARGE_ROWS, FLOATS)
    size = sum(each.bytes for each in files)
    rounds = []
    for number in range(run.rounds):
        plain = size / _plain(mariadb, folder, files) / 1e6
        with _double(run, mariadb, f"large{number}") as double:
            ours = size / _loaded("skyburst", double, folder) / 1e6
            _whole(double, files)
        run.say(f"round {number + 1}: {PLAIN} {plain:.1f} MB/s, {OURS} {ours:.1f} MB/s")
        rounds.append({PLAIN: plain, OURS: ours})
    shutil.rmtree(folder)
    return rounds, {"files": len(files), "MB": int(size / 1e6)}


def _small(run: Run, mariadb: LocalMariadb) -> tuple[list[Mapping[str, float]], Mapping[str, int]]:
    folder = run.folder / "small"
    pieces = run.scaled(SMALL_FILES // SMALL_CHUNKS)
    files = _make(folder, SMALL_CHUNKS, pieces, SMALL_ROWS, SMALL_FLOATS)
    rounds = []
    for number in range(run.rounds):
        found = {}
        for what, kind, merge in ((BARE, "bare", "0"), (OURS, "skyburst", "0"), (MERGED, "skyburst", "64MiB")):
            with _double(run, mariadb, f"{kind}{merge}{number}") as double:
                found[what] = len(files) / _loaded(kind, double, folder, SKYBURST_RELEASE_MERGE_BYTES=merge)
                _whole(double, files)
        run.say(f"round {number + 1}: " + ", ".join(f"{what} {rate:.0f}/s" for what, rate in found.items()))
        rounds.append(found)
    shutil.rmtree(folder)
    return rounds, {"files": len(files)}


@contextmanager
def _double(run: Run, mariadb: LocalMariadb, name: str) -> Iterator[QservDouble]:
    with QservDouble.in_thread(run.folder / name, mariadb=mariadb, workers=WORKERS) as double:
        yield double


def _loaded(kind: str, double: QservDouble, folder: Path, **more: str) -> float:
    """The seconds of one load; the ledger is new."""
    for path in folder.glob("load.sqlite*"):
        path.unlink()
    environment = {"PATH": os.environ["PATH"], "SKYBURST_QSERV": double.url, "SKYBURST_QSERV_AUTH_KEY": double.auth_key}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench_release.loading", kind, str(folder)],
        env=environment | more,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return float(json.loads(done.stdout)["seconds"])


def _whole(double: QservDouble, files: Sequence[ChunkFile]) -> None:
    """Hold what the workers have against the files."""
    wanted: Counter[int] = Counter()
    for each in files:
        wanted[each.chunk] += each.rows
    held = Counter({each.chunk: each.rows for each in double.rows("bench")})
    assert held == wanted


def _plain(mariadb: LocalMariadb, folder: Path, files: Sequence[ChunkFile]) -> float:
    """The seconds of as many streams as there are workers, each LOAD DATA after LOAD DATA into MyISAM tables."""
    table = _table(FLOATS)
    mariadb.create_database("plain")
    columns = ", ".join(f"`{name}` {kind}" for name, kind in [("qserv_trans_id", "INT NOT NULL"), *columns_of(table)])
    names = ", ".join(f"`{name}`" for name, _ in columns_of(table))

    def stream(several: Sequence[ChunkFile]) -> None:
        for each in several:
            name = f"Object_{each.chunk}"
            mariadb.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns}) ENGINE=MyISAM", database="plain")
            mariadb.execute(
                f"LOAD DATA INFILE '{folder / 'Object' / each.path}' INTO TABLE {name} CHARACTER SET 'latin1'"
                f" FIELDS TERMINATED BY ',' ({names}) SET qserv_trans_id = 1",
                database="plain",
            )

    begun = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as threads:
        for done in [threads.submit(stream, files[worker::WORKERS]) for worker in range(WORKERS)]:
            done.result()
    spent = time.perf_counter() - begun
    mariadb.drop_database("plain")
    return spent


def _table(floats: int) -> Table:
    names = [f"f{number}" for number in range(floats)]
    return Table(
        "Object",
        Role.DIRECTOR,
        (
            Column("objectId", "objectId", "long", "BIGINT", nullable=False),
            Column("ra", "ra", "double", "DOUBLE", nullable=False),
            Column("decl", "decl", "double", "DOUBLE", nullable=False),
            *(Column(name, name, "double", "DOUBLE") for name in names),
        ),
        key="objectId",
        ra="ra",
        dec="decl",
    )


def _make(folder: Path, chunks: int, pieces: int, rows: int, floats: int) -> list[ChunkFile]:
    """A partitioned release of one director: so many files a chunk."""
    table, rng = _table(floats), np.random.default_rng(1)
    place = folder / table.name
    place.mkdir(parents=True)
    found = []
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    for chunk in range(FIRST_CHUNK, FIRST_CHUNK + chunks):
        for piece in range(pieces):
            ids = np.arange(rows, dtype=np.int64) + (chunk * pieces + piece) * rows
            columns = [ids, *rng.normal(size=(2 + floats, rows)), np.full(rows, chunk), ids % 144]
            path = place / f"chunk_{chunk}{f'.{piece}' if pieces > 1 else ''}.txt"
            pyarrow.csv.write_csv(pa.table(columns, names=[str(n) for n in range(len(columns))]), path, options)
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            found.append(ChunkFile(chunk, False, path.name, rows, len(content), digest))
    felis_file.write(Database("bench", (table,)), place / manifests.DESCRIPTION)
    total = sum(each.rows for each in found)
    manifest = Manifest(
        table.name, fingerprint(table), Layout(85, 12, 0.01667), Dialect(), total, files=tuple(sorted(found))
    )
    manifests.write(manifest, place)
    return found
