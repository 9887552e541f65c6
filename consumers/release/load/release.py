"""A release's folder, read and found consistent: the database's description and the manifest of each table."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from consumers.release import manifest as manifests
from consumers.release.description import felis_file
from consumers.release.manifest import ChunkFile, Dialect, Manifest
from consumers.release.table import Database, Role, Table, fingerprint
from stream.errors import Wrong
from stream.sky import Layout


@dataclass(frozen=True, slots=True)
class PartitionedTable:
    """A table with its files.

    Parameters
    ----------
    table
        Its description.
    folder
        Where its files are, relative to the release's.
    manifest
        What they are.
    """

    table: Table
    folder: str
    manifest: Manifest

    def path(self, file: ChunkFile) -> str:
        """A file's path relative to the release's folder, with ``/``."""
        return f"{self.folder}/{file.path}"

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what its rows are: description and files, not where they lie or how many there were."""
        told = hashlib.sha256(self.manifest.fingerprint.encode())
        for file in sorted(self.manifest.files):
            told.update(f"{file.chunk} {file.overlap:d} {file.rows} {file.sha256}\n".encode())
        return told.hexdigest()


@dataclass(frozen=True, slots=True)
class Release:
    """All tables of a release that were partitioned.

    Parameters
    ----------
    folder
        The release's.
    database
        The description, with the tables that have files, in the order in which they are registered.
    layout
        Of the sky, with the directors' overlap; None where all tables are regular.
    tables
        By name, in the same order.
    """

    folder: Path
    database: Database
    layout: Layout | None
    tables: Mapping[str, PartitionedTable]

    @property
    def dialect(self) -> Dialect:
        """How all files of the release are written, for messages; each table has its own."""
        return next(iter(self.tables.values())).manifest.dialect


def read(folder: Path) -> Release:
    """Read a release's folder.

    Raises
    ------
    Wrong
        ``no_release``: it has no partitioned table. ``no_manifest``: a table's partitioning did not end.
        ``release_mixed``: its tables do not belong together. ``release_stale``: a table's files were made by another
        description than the one beside them.
    """
    folder = folder.absolute()
    _finished(folder)
    found: dict[str, tuple[Database, PartitionedTable]] = {}
    described_before: dict[bytes, Database] = {}
    for place in manifests.tables(folder):
        manifest = manifests.read(place)
        database = _described(place / manifests.DESCRIPTION, described_before)
        table = database.table(manifest.table)
        if fingerprint(table) != manifest.fingerprint:
            raise Wrong(
                "release_stale",
                f"table {table.name}: its files in {place} were made by another description than the one beside them",
                "partition the table again",
            )
        if table.name in found:
            raise Wrong("release_mixed", f"{folder} has table {table.name} twice", "keep one of them")
        found[table.name] = (database, PartitionedTable(table, place.relative_to(folder).as_posix(), manifest))
    if not found:
        raise Wrong("no_release", f"{folder} has no partitioned table", "name the folder that release partition wrote")
    name = _one({database.name for database, _ in found.values()}, folder, "databases")
    tables = {name: table for name, (_, table) in found.items()}
    described = Database(name, tuple(each.table for each in tables.values()))
    _followed(described, folder)
    ordered = {table.name: tables[table.name] for table in described.in_order()}
    return Release(folder, described, _layout(ordered, folder), ordered)


def check_places(release: Release) -> None:
    """See that rows which follow a director by id lie where its rows are now.

    Raises
    ------
    Wrong
        ``release_stale``: a director was partitioned again after a table that follows it.
    """
    for each in release.tables.values():
        told = manifests.placed_by(release.folder / each.folder)
        for follows, digest in zip(each.table.follows, told):
            if manifests.digest(release.folder / release.tables[follows.director].folder) != digest:
                raise Wrong(
                    "release_stale",
                    f"table {each.table.name} was placed by another partition of {follows.director} than is there now",
                    f"partition {each.table.name} again, with --anew",
                )


def _described(path: Path, before: dict[bytes, Database]) -> Database:
    """What a felis file describes; each content is read once, since most tables have the description of all."""
    try:
        content = hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return felis_file.read(path)  # says why it cannot be
    if content not in before:
        before[content] = felis_file.read(path)
    return before[content]


def _finished(folder: Path) -> None:
    for place in sorted(folder.glob(f"*/{manifests.DESCRIPTION}")):
        manifests.must_have(place.parent)


def _one(names: set[str], folder: Path, what: str) -> str:
    if len(names) > 1:
        raise Wrong("release_mixed", f"{folder} has tables of the {what} {', '.join(sorted(names))}", "keep one")
    return names.pop()


def _followed(database: Database, folder: Path) -> None:
    have = {table.name for table in database.tables if table.role is Role.DIRECTOR}
    for table in database.tables:
        for each in table.follows:
            if each.director not in have:
                text = f"table {table.name} follows {each.director}, which {folder} does not have"
                raise Wrong("release_mixed", text, f"partition {each.director} into the same folder")


def _layout(tables: Mapping[str, PartitionedTable], folder: Path) -> Layout | None:
    cut: Sequence[PartitionedTable] = [each for each in tables.values() if each.table.partitioned]
    if not cut:
        return None
    layouts = {each.table.name: each.manifest.layout for each in cut}
    lacking = [name for name, layout in layouts.items() if layout is None]
    known = {name: layout for name, layout in layouts.items() if layout is not None}
    grids = {(layout.stripes, layout.sub_stripes) for layout in known.values()}
    directors = [
        known[each.table.name] for each in cut if each.table.role is Role.DIRECTOR and each.table.name in known
    ]
    if lacking or len(grids) > 1 or len({layout.overlap for layout in directors}) > 1:
        said = ", ".join(f"{n} {v.stripes}/{v.sub_stripes}/{v.overlap}" for n, v in known.items())
        raise Wrong("release_mixed", f"the tables of {folder} were not cut alike: {said}", "partition them alike")
    return max(known.values(), key=lambda layout: layout.overlap) if not directors else directors[0]
