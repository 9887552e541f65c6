"""Which files and rows of them a partition takes, and beside which others it may lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from click.testing import CliRunner, Result
from doubles.load_data import fields_of
from doubles.release_cases import LAYOUT, Quiet
from doubles.release_tables import OBJECT, REFERENCE, SOURCE, objects, sources, write

from consumers.release.command import release
from consumers.release.description import felis_file
from consumers.release.manifest import read
from consumers.release.partition.cluster import open_workers
from consumers.release.partition.csv_dialect import CsvDialect
from consumers.release.partition.job import prepare
from consumers.release.partition.run import partition
from consumers.release.table import Database
from stream.errors import Wrong


def verb(*arguments: object) -> Result:
    """Run a verb of ``release``."""
    return CliRunner().invoke(release, [str(each) for each in arguments])


def hdu(first: int, *names: str) -> fits.BinTableHDU:
    """A table of three rows at (first, 1) deg and on, with ids from `first`."""
    values = {"refId": first + np.arange(3), "ra": first + np.arange(3.0), "dec": np.ones(3)}
    return fits.BinTableHDU.from_columns(
        [fits.Column(name, "K" if name == "refId" else "D", array=values[name]) for name in names]
    )


def cut(path: Path, folder: Path, number: int | None = None) -> list[int]:
    """The ids of a partition of a FITS file's HDU."""
    job = prepare(REFERENCE, LAYOUT, folder / "Reference", [str(path)], CsvDialect(), number)
    with open_workers(count=1) as workers:
        manifest = partition(job, b"description", workers, Quiet()).manifest
    main = [file for file in manifest.files if not file.overlap]
    return sorted(int(row[0] or b"") for file in main for row in fields_of((job.folder / file.path).read_bytes(), ","))


def test_the_hdu_that_has_the_tables_columns_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "t.fits"
    fits.HDUList([fits.PrimaryHDU(), hdu(10, "refId", "dec"), hdu(20, "refId", "ra", "dec")]).writeto(path)
    assert cut(path, tmp_path / "dr1") == [20, 21, 22]
    assert read(tmp_path / "dr1/Reference").rows == 3


def test_of_two_hdus_with_the_tables_columns_one_is_to_be_named(tmp_path: Path) -> None:
    path, names = tmp_path / "t.fits", ("refId", "ra", "dec")
    fits.HDUList([fits.PrimaryHDU(), hdu(10, *names), hdu(20, *names)]).writeto(path)
    with pytest.raises(Wrong, match="in HDUs 1, 2"):
        cut(path, tmp_path / "dr1")
    assert cut(path, tmp_path / "dr1", 2) == [20, 21, 22]
    with pytest.raises(Wrong, match="list of files"):
        cut(path, tmp_path / "dr1", 1)
    assert cut(path, tmp_path / "dr2", 1) == [10, 11, 12]
    with pytest.raises(Wrong, match="HDU 3 is not a binary table"):
        cut(path, tmp_path / "dr3", 3)


def test_a_child_by_id_is_not_loaded_beside_another_partition_of_its_director(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    described = tmp_path / "release.yaml"
    felis_file.write(Database("dr1", (OBJECT, SOURCE)), described)
    made = objects(rng, 30)
    moved = made.set_column(1, "ra", pa.array(made["ra"].to_numpy() + 40.0))
    child = write(sources(rng, made["objectId"].to_numpy(), 50), tmp_path / "s.parquet")
    director, folder = tmp_path / "o.parquet", tmp_path / "dr1"
    for table, name, path in ((made, "Object", director), (None, "Source", child), (made, "Object", director)):
        if table is not None:
            write(table, path)
        assert verb("partition", described, name, path, "--to", folder, "--anew").exit_code == 0
        if (folder / "Source").exists():
            assert verb("load", folder, "--dry-run").exit_code == 0
    assert verb("partition", described, "Object", write(moved, director), "--to", folder, "--anew").exit_code == 0
    refused = verb("load", folder, "--dry-run").exception
    assert isinstance(refused, Wrong) and refused.code == "release_stale"
    assert "Source was placed by another partition of Object" in refused.message
    assert verb("partition", described, "Source", child, "--to", folder, "--anew").exit_code == 0
    assert verb("load", folder, "--dry-run").exit_code == 0


def test_a_file_is_not_taken_twice_under_whatever_names(tmp_path: Path, rng: np.random.Generator) -> None:
    path = write(sources(rng, np.arange(5), 5), tmp_path / "s.parquet")
    (tmp_path / "link.parquet").symlink_to(path)
    for other in (path, tmp_path / "link.parquet", path.parent / ".." / path.parent.name / path.name):
        with pytest.raises(Wrong, match="are one file") as refused:
            prepare(SOURCE, LAYOUT, tmp_path / "dr1/Source", [str(path), str(other)], CsvDialect())
        assert refused.value.code == "named_twice"


def test_a_directors_row_without_a_key_is_rejected_and_stands_for_no_other(tmp_path: Path) -> None:
    made = pa.table({"refId": pa.array([0, None, None]), "ra": [1.0, 2.0, 3.0], "dec": [1.0, 1.0, 1.0]})
    paths = [str(write(made, tmp_path / "r.parquet")), str(tmp_path / "r.csv")]
    Path(paths[1]).write_text("7,1.0,1.0\n,2.0,1.0\nx,3.0,1.0\n")
    job = prepare(REFERENCE, LAYOUT, tmp_path / "dr1/Reference", paths, CsvDialect())
    with open_workers(count=1) as workers:
        manifest = partition(job, b"description", workers, Quiet()).manifest
    assert manifest.rejected == {"key_missing": 3, "key_not_an_integer": 1}
    assert sum(file.rows for file in manifest.files if not file.overlap) == 2
