"""What partitioning wrote for one table: every chunk file with its rows, bytes and digest.

A partitioned table is a folder; its manifest is ``manifest.jsonl`` in it: one line about the table, then one a file.
The manifest is written last and whole, under another name first, so that a folder with a manifest is complete. The
folder also has ``description.yaml``, the felis file as it was, so that files and manifest alone can be brought into an
empty Qserv.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from stream.errors import Wrong
from stream.sky import Layout

FORMAT = 1
NAME, DESCRIPTION, REJECTS = "manifest.jsonl", "description.yaml", "rejects.csv"
MADE_FROM = "partition.json"
"""What a table was partitioned from."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the fields of a chunk file are written; rows end with a newline, nothing is quoted, NULL is ``\\N``."""

    delimiter: str = ","
    escape: str = "\\"


@dataclass(frozen=True, slots=True, order=True)
class ChunkFile:
    """One file of rows.

    Parameters
    ----------
    chunk
        Qserv's chunk; 0 of a regular table.
    overlap
        Whether it has the rows of neighbours that lie within the overlap.
    path
        Relative to the manifest's folder, with ``/``.
    rows, bytes
        What is in it.
    sha256
        Of its bytes, hex.
    sources
        The catalogue's files that gave it rows, as they were named, in order.
    """

    chunk: int
    overlap: bool
    path: str
    rows: int
    bytes: int
    sha256: str
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of one table.

    Parameters
    ----------
    table
        Its name.
    fingerprint
        Of its description (`consumers.release.table.fingerprint`).
    layout
        How the sky was cut; None of a regular table.
    dialect
        How fields are written.
    rows
        Rows of the catalogue that were read.
    rejected
        How many of them went to ``rejects.csv``, by reason.
    files
        In order of chunk, overlap last.
    """

    table: str
    fingerprint: str
    layout: Layout | None
    dialect: Dialect
    rows: int
    rejected: dict[str, int] = field(default_factory=dict)
    files: tuple[ChunkFile, ...] = ()

    @property
    def chunks(self) -> Sequence[int]:
        """The chunks that have rows or overlap, in order."""
        return sorted({file.chunk for file in self.files})


def write(manifest: Manifest, folder: Path) -> None:
    """Put the manifest into the table's folder, durable, at once and whole."""
    layout = manifest.layout
    head = {
        "format": FORMAT,
        "table": manifest.table,
        "fingerprint": manifest.fingerprint,
        "layout": layout and {"stripes": layout.stripes, "sub_stripes": layout.sub_stripes, "overlap": layout.overlap},
        "dialect": asdict(manifest.dialect),
        "rows": manifest.rows,
        "rejected": manifest.rejected,
        "files": len(manifest.files),
    }
    new = folder / (NAME + ".new")
    with new.open("w", encoding="utf-8") as file:
        for line in (head, *(asdict(each) for each in manifest.files)):
            file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(folder / NAME)
    _sync(folder)


def read(folder: Path) -> Manifest:
    """The manifest of a table's folder.

    Raises
    ------
    Wrong
        ``no_manifest``: the folder has none, so that its partitioning did not end. ``bad_manifest``: it cannot be read.
    """
    must_have(folder)
    path = folder / NAME
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        return _read(lines)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise Wrong(
            "bad_manifest", f"{path} is not a manifest of format {FORMAT} ({error})", "partition the table anew"
        ) from error


def must_have(folder: Path) -> None:
    """See that a table's folder has a manifest.

    Raises
    ------
    Wrong
        ``no_manifest``: it has none.
    """
    if not (folder / NAME).exists():
        text = f"{folder} has no manifest: its partitioning did not end"
        raise Wrong("no_manifest", text, "run release partition again")


def digest(folder: Path) -> str:
    """SHA-256 (hex) of a table's manifest."""
    return hashlib.sha256((folder / NAME).read_bytes()).hexdigest()


def placed_by(folder: Path) -> Sequence[str]:
    """Digests of the manifests of those directors by whose ids a table was placed; none where that is not known."""
    try:
        told: Sequence[str] = json.loads((folder / MADE_FROM).read_bytes())["directors"]
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    return told


def tables(folder: Path) -> Iterator[Path]:
    """The folders of partitioned tables in a release's folder, by name."""
    return (path.parent for path in sorted(folder.glob(f"*/{NAME}")))


def _read(lines: Sequence[str]) -> Manifest:
    head, *rest = (json.loads(line) for line in lines)
    if head["format"] != FORMAT or head["files"] != len(rest):
        raise ValueError(f"format {head['format']}, {len(rest)} of {head['files']} files")
    return Manifest(
        table=head["table"],
        fingerprint=head["fingerprint"],
        layout=Layout(**head["layout"]) if head["layout"] else None,
        dialect=Dialect(**head["dialect"]),
        rows=head["rows"],
        rejected=head["rejected"],
        files=tuple(ChunkFile(**each | {"sources": tuple(each["sources"])}) for each in rest),
    )


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
