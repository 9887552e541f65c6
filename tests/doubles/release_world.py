"""A small partitioned release, made up, and what a test needs to load it into a double of Qserv."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from consumers.release import manifest as manifests
from consumers.release.description import felis_file
from consumers.release.manifest import ChunkFile, Dialect, Manifest
from consumers.release.table import Column, Database, Follows, Role, Table, fingerprint
from stream.sky import Layout

LAYOUT = Layout(85, 12, 0.01667)
CHUNKS = (7310, 7480, 7481, 7311)
"""Chunks that the layout has."""


def database(name: str = "dr1") -> Database:
    """A director, a child of it, and a regular table."""
    director = Table(
        "Object",
        Role.DIRECTOR,
        (
            Column("objectId", "objectId", "long", "BIGINT", nullable=False),
            Column("ra", "ra", "double", "DOUBLE", nullable=False),
            Column("dec", "dec", "double", "DOUBLE", nullable=False),
            Column("flux", "flux", "float", "FLOAT"),
            Column("name", "name", "string", "VARCHAR(16)", length=16),
        ),
        key="objectId",
        ra="ra",
        dec="dec",
    )
    child = Table(
        "Source",
        Role.CHILD,
        (
            Column("sourceId", "sourceId", "long", "BIGINT", nullable=False),
            Column("objectId", "objectId", "long", "BIGINT", nullable=False),
            Column("flux", "flux", "float", "FLOAT"),
        ),
        key="sourceId",
        follows=(Follows("Object", "objectId"),),
    )
    regular = Table(
        "Filter",
        Role.REGULAR,
        (
            Column("filterId", "filterId", "int", "INTEGER", nullable=False),
            Column("name", "name", "string", "VARCHAR(8)", length=8),
        ),
        key="filterId",
    )
    return Database(name, (director, child, regular))


def object_lines(rng: np.random.Generator, ids: Iterable[int], chunk: int) -> list[str]:
    """Lines of Object's file of a chunk."""
    return [
        f"{i},{rng.uniform(0, 360):.6f},{rng.uniform(-90, 90):.6f},{rng.uniform(0, 1):.4f},n{i % 97},{chunk},{i % 144}"
        for i in ids
    ]


def made(folder: Path, rng: np.random.Generator, *, rows: int = 40, chunks: Sequence[int] = CHUNKS) -> Database:
    """Write a release with `rows` objects and thrice as many sources a chunk."""
    described = database()
    objects: dict[tuple[int, bool], list[str]] = {}
    sources: dict[tuple[int, bool], list[str]] = {}
    number = 0
    for chunk in chunks:
        ids = range(number, number + rows)
        number += rows
        objects[chunk, False] = object_lines(rng, ids, chunk)
        objects[chunk, True] = object_lines(rng, ids[: rows // 4], chunk)
        sources[chunk, False] = [f"{3 * i + k},{i},\\N,{chunk},{i % 144}" for i in ids for k in range(3)]
    filters = {(0, False): [f"{k},{band}" for k, band in enumerate("ugrizy")]}
    for name, files in (("Object", objects), ("Source", sources), ("Filter", filters)):
        write_table(folder, described, name, files)
    return described


def write_table(
    folder: Path,
    described: Database,
    name: str,
    files: Mapping[tuple[int, bool], Sequence[str]],
    *,
    pieces: int = 1,
    rows: Mapping[tuple[int, bool], int] | None = None,
) -> Manifest:
    """Write a table's files, each in so many pieces, its description and its manifest; `rows` tells other counts."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    found = []
    for (chunk, overlap), lines in files.items():
        for piece in range(pieces):
            some = lines[piece::pieces]
            if not some:
                continue
            stem = f"chunk_{chunk}{'_overlap' * overlap}" if described.table(name).partitioned else "rows"
            path = place / f"{stem}{f'.{piece}' if pieces > 1 else ''}.txt"
            content = "".join(line + "\n" for line in some).encode()
            path.write_bytes(content)
            count = (rows or {}).get((chunk, overlap), len(some))
            digest = hashlib.sha256(content).hexdigest()
            found.append(ChunkFile(chunk, overlap, path.name, count, len(content), digest))
    table = described.table(name)
    felis_file.write(described, place / manifests.DESCRIPTION)
    manifest = Manifest(
        name,
        fingerprint(table),
        LAYOUT if table.partitioned else None,
        Dialect(),
        sum(each.rows for each in found if not each.overlap),
        files=tuple(sorted(found)),
    )
    manifests.write(manifest, place)
    return manifest


def counted(double: Any, name: str = "dr1") -> dict[tuple[str, int, bool], int]:
    """Rows that the double's workers hold, by table, chunk and overlap; counted in MariaDB."""
    found: dict[tuple[str, int, bool], int] = {}
    for each in double.rows(name):
        place = (each.table, each.chunk, each.overlap)
        found[place] = found.get(place, 0) + each.rows
    return {place: rows for place, rows in found.items() if rows}


def wanted(folder: Path, workers: int = 2) -> dict[tuple[str, int, bool], int]:
    """Rows that the manifests have, a regular table's on every worker."""
    found: dict[tuple[str, int, bool], int] = {}
    for place in manifests.tables(folder):
        manifest = manifests.read(place)
        for file in manifest.files:
            key = (manifest.table, file.chunk, file.overlap)
            found[key] = found.get(key, 0) + file.rows * (1 if manifest.layout else workers)
    return found
