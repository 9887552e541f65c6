"""Qserv's own test cases as tables of a release, and partitioning of any table in one call."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from consumers.release.manifest import Manifest
from consumers.release.partition.cluster import Workers
from consumers.release.partition.csv_dialect import CsvDialect
from consumers.release.partition.job import Job, prepare
from consumers.release.partition.run import Outcome, partition
from consumers.release.table import Column, Follows, Role, Table
from stream.sky import Layout

LAYOUT = Layout(85, 12, 0.01667)
DIALECTS = {"case01": CsvDialect("\t", target="\t"), "case02_test101": CsvDialect()}


@dataclass(slots=True)
class Quiet:
    """Notes what a run says of its progress."""

    phases: list[tuple[str, int]] = field(default_factory=list)
    done: int = 0

    def begin(self, phase: str, total: int) -> None:
        self.phases.append((phase, total))
        self.done = 0

    def advance(self, count: int) -> None:
        self.done += count


def column(name: str, datatype: str = "double") -> Column:
    mysql = {"long": "BIGINT", "double": "DOUBLE"}.get(datatype, "VARCHAR(255)")
    return Column(name, name, datatype, mysql, 255 if datatype == "string" else None)


def case_table(folder: Path, name: str) -> Table:
    """Table Object or Source of a case, by its files for Qserv's partitioner and for ingest."""
    config = json.loads((folder / "partition" / f"{name}.json").read_text())
    schema = json.loads((folder / "ingest" / f"{name}.json").read_text())["schema"]
    types = {each["name"]: each["type"].upper() for each in schema}
    columns = tuple(column(each, _felis(types.get(each, "DOUBLE"))) for each in config["in"]["csv"]["field"])
    ra, dec = (each.strip() for each in config["part"]["pos"].split(","))
    if name == "Object":
        return Table(name, Role.DIRECTOR, columns, "objectId", ra, dec)
    return Table(name, Role.CHILD, columns, "sourceId", ra, dec, (Follows("Object", "objectId"),))


def _felis(mysql: str) -> str:
    if any(word in mysql for word in ("CHAR", "BLOB", "BINARY")):
        return "string"
    return "long" if "INT" in mysql else "double"


def cut_up(
    table: Table,
    files: Sequence[Path],
    release: Path,
    workers: Workers,
    *,
    layout: Layout = LAYOUT,
    csv: CsvDialect | None = None,
    anew: bool = False,
) -> Outcome:
    """Partition a table into the folder of a release."""
    return partition(a_job(table, files, release, layout, csv), b"description", workers, Quiet(), anew=anew)


def a_job(
    table: Table, files: Sequence[Path], release: Path, layout: Layout = LAYOUT, csv: CsvDialect | None = None
) -> Job:
    """The job of a table, ready to run."""
    return prepare(table, layout, release / table.name, [str(each) for each in files], csv or CsvDialect())


def lines(folder: Path, manifest: Manifest) -> dict[str, Counter[bytes]]:
    """The lines of each chunk file by its name, as multisets."""
    return {Path(file.path).name: lines_of(folder / file.path) for file in manifest.files}


def lines_of(path: Path) -> Counter[bytes]:
    """The lines of a file as a multiset; the last must have its newline."""
    data = path.read_bytes()
    assert not data or data.endswith(b"\n")
    return Counter(data.split(b"\n")[:-1])


def rows_of(folder: Path, manifest: Manifest, *, overlap: bool) -> list[bytes]:
    """All lines of main or overlap files, in order of the files."""
    found = []
    for file in manifest.files:
        if file.overlap is overlap:
            found += (folder / file.path).read_bytes().split(b"\n")[:-1]
    return found
