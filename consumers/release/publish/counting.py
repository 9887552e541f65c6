"""Rows of each chunk and its overlap: what the manifest has, and what the workers counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from consumers.release.manifest import Manifest
from consumers.release.service import RowCount

Rows = Mapping[tuple[int, bool], int]
"""By chunk, and whether it is overlap."""


def expected(manifest: Manifest) -> Rows:
    """What the manifest has."""
    rows: Counter[tuple[int, bool]] = Counter()
    for file in manifest.files:
        rows[file.chunk, file.overlap] += file.rows
    return +rows


def found(counts: Iterable[RowCount]) -> Rows:
    """What the workers counted, all transactions together."""
    rows: Counter[tuple[int, bool]] = Counter()
    for each in counts:
        rows[each.chunk, each.overlap] += each.rows
    return +rows


def differences(ours: Rows, theirs: Rows) -> list[str]:
    """The chunks where they differ, in words."""
    places = sorted(place for place in {*ours, *theirs} if ours.get(place, 0) != theirs.get(place, 0))
    return [
        f"chunk {chunk}{', overlap' * overlap} has {theirs.get((chunk, overlap), 0)} rows,"
        f" {ours.get((chunk, overlap), 0)} in the manifest"
        for chunk, overlap in places
    ]
