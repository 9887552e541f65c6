"""Made-up catalogues of a release: a director, a child and a match table as Parquet files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from doubles.release_cases import column
from numpy.typing import NDArray

from consumers.release.table import Follows, Role, Table

OBJECT = Table(
    "Object",
    Role.DIRECTOR,
    (column("objectId", "long"), column("ra"), column("dec"), column("flux"), column("name", "string")),
    "objectId",
    "ra",
    "dec",
)
SOURCE = Table(
    "Source",
    Role.CHILD,
    (column("sourceId", "long"), column("objectId", "long"), column("mjd")),
    "sourceId",
    follows=(Follows("Object", "objectId"),),
)
REFERENCE = Table(
    "Reference", Role.DIRECTOR, (column("refId", "long"), column("ra"), column("dec")), "refId", "ra", "dec"
)
MATCH = Table(
    "RefMatch",
    Role.MATCH,
    (column("objectId", "long"), column("refId", "long"), column("score")),
    follows=(Follows("Object", "objectId"), Follows("Reference", "refId")),
)
FILTER = Table("Filter", Role.REGULAR, (column("filterId", "long"), column("name", "string")))


def objects(rng: np.random.Generator, rows: int, first: int = 0, width: float = 4.0) -> pa.Table:
    """Objects in a field around (10, 0) deg."""
    ra, dec = rng.uniform(10 - width / 2, 10 + width / 2, rows), rng.uniform(-width / 2, width / 2, rows)
    ids = rng.permutation(rows).astype(np.int64) + first
    names = [f"J{number}, \\N" if number % 7 else None for number in ids.tolist()]
    flux = np.where(rng.random(rows) < 0.1, np.nan, rng.lognormal(0, 3, rows))
    return pa.table({"objectId": ids, "ra": ra, "dec": dec, "flux": flux, "name": names})


def sources(rng: np.random.Generator, ids: NDArray[np.int64], rows: int) -> pa.Table:
    """Sources of objects that have these ids."""
    return pa.table(
        {"sourceId": np.arange(rows), "objectId": rng.choice(ids, rows), "mjd": rng.uniform(6e4, 6.1e4, rows)}
    )


def write(table: pa.Table, path: Path, group: int = 1 << 20) -> Path:
    """Write a Parquet file with row groups of so many rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)
    return path
