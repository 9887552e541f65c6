"""A catalogue is read in memory that its size does not change, in whatever form it is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

READ = '''
import sys
from pathlib import Path
from consumers.release.reading import open_catalogue

def kilobytes(catalogue):
    """This process' own memory and what it maps of the catalogue; what libraries count changes with who else runs."""
    ours, total = False, 0
    for line in open("/proc/self/smaps"):
        words = line.split()
        if not words[0].endswith(":"):
            ours = len(words) < 6 or words[5].startswith("[") or words[5] == catalogue
        elif ours and words[0] == "Pss:":
            total += int(words[1])
    return total

rows = most = seen = 0
for batch in open_catalogue(Path(sys.argv[1])).batches():
    rows += batch.num_rows
    seen += 1
    if seen % 4 == 1:
        most = max(most, kilobytes(sys.argv[1]))
print(rows, most)
'''


def write_fits(path: Path, columns: dict[str, np.ndarray]) -> None:  # type: ignore[type-arg]
    fits.BinTableHDU.from_columns([fits.Column(name, "D", array=each) for name, each in columns.items()]).writeto(path)


def write_parquet(path: Path, columns: dict[str, np.ndarray]) -> None:  # type: ignore[type-arg]
    # All rows in one row group, which is what a reader of whole row groups has in memory.
    pq.write_table(pa.table(columns), path, row_group_size=1 << 30)


def write_csv(path: Path, columns: dict[str, np.ndarray]) -> None:  # type: ignore[type-arg]
    pc.write_csv(pa.table(columns), path)


@pytest.mark.parametrize(
    ("write", "small", "large"),
    [(write_fits, 150_000, 750_000), (write_parquet, 150_000, 750_000), (write_csv, 250_000, 1_000_000)],
    ids=["fits", "parquet", "csv"],
)
def test_memory_does_not_grow_with_the_file(
    write: Callable[..., None], small: int, large: int, tmp_path: Path, rng: np.random.Generator
) -> None:
    peaks = []
    for rows in (small, large):
        path = tmp_path / f"{rows}.{write.__name__.removeprefix('write_')}"
        write(path, {f"x{number}": rng.random(rows) for number in range(8)})
        told = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, check=True)
        count, peak = map(int, told.stdout.split())
        assert count == rows
        peaks.append(peak)
    print(f"peaks {peaks} kB")
    grown, more = peaks[1] - peaks[0], (path.stat().st_size * (large - small) / large) / 1024
    assert grown < 0.5 * more, f"{grown:.0f} kB more for {more:.0f} kB more of the file"
