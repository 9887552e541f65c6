"""Names of columns in the database: at most 64 characters, unquoted in SQL, and unique as MariaDB compares them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from consumers.release.table import LONGEST_NAME

DIGITS = 8
"""Hex digits of the digest that a shortened name ends with."""


def database_names(sources: Sequence[str]) -> list[str]:
    """The name in the database of each column of a catalogue.

    A name that can stay stays. Another has what SQL takes for an operator replaced by an underscore; one that is too
    long, or that another column has already (case does not count), is cut and ends with digits of its own digest.

    Parameters
    ----------
    sources
        Names in the catalogue, all different.

    Returns
    -------
    list[str]
        In the same order.
    """
    given: dict[str, str] = {}
    taken: set[str] = set()
    # Names that can stay come first, so that no mapped one takes their place.
    for source in sorted(sources, key=lambda name: _plain(name) != name or len(name) > LONGEST_NAME):
        name = _plain(source)
        if len(name) > LONGEST_NAME or name.lower() in taken:
            name = _cut(name, source, DIGITS)
        while name.lower() in taken:
            name = _cut(name, source + name, 2 * DIGITS)
        taken.add(name.lower())
        given[source] = name
    return [given[source] for source in sources]


def _plain(source: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_]", "_", source)
    return name if re.match(r"[A-Za-z_]", name) else f"_{name}"


def _cut(name: str, source: str, digits: int) -> str:
    digest = hashlib.sha256(source.encode()).hexdigest()[:digits]
    return f"{name[: LONGEST_NAME - digits - 1]}_{digest}"
