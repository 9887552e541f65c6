"""What tables of the science pipelines (lsst.afw.table, versions 0 to 3) say in FITS beyond the standard.

Flags are packed into one field of bits, the first in the highest bit of the first byte; ``FLAGCOL`` has its number,
``TFLAGn`` and ``TFDOCn`` their names and meanings. ``TCCLS`` says what a field is: angles are radians; points,
coordinates, moments and covariances of old tables are several values each, which get the names that later versions
give them. Fields that hold an id of the archive behind the table mean nothing without it and are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from consumers.release.reading.catalogue import LeftOut, field
from consumers.release.reading.fits_column import FitsColumn, Header
from consumers.release.reading.fits_value import Value

DEGREES = ("coord_ra", "coord_dec")
"""Angles that also come in degrees, under their name with ``_deg``."""
_PARTS = {"Point": ("x", "y"), "Coord": ("ra", "dec"), "Moments": ("xx", "yy", "xy")}
_COVARIANCE = re.compile(r"Covariance(?:\((\w+)\))?")
_ARCHIVED = "archive id for"


def is_afw(header: Header) -> bool:
    """Whether a table is afw's."""
    return any(word in header for word in ("AFW_TABLE_VERSION", "AFW_TYPE", "FLAGCOL", "TCCLS1"))


def version(header: Header) -> int:
    """The version of afw's tables; 0 did not say it."""
    return int(header.get("AFW_TABLE_VERSION", 0))


def values(found: Sequence[FitsColumn], header: Header) -> tuple[list[Value], list[LeftOut]]:
    """The columns of an afw table in the order of its fields, flags in place of theirs, and what is left out."""
    flags = int(header.get("FLAGCOL", 0))
    kept: list[Value] = []
    out: list[LeftOut] = []
    for number, column in enumerate(found, 1):
        if number == flags:
            kept += _flags(column, header)
        elif column.why_not:
            out.append(LeftOut(column.name, column.why_not))
        elif column.doc.lower().startswith(_ARCHIVED):
            out.append(LeftOut(column.name, f"{column.doc}: a number without meaning outside this file"))
        else:
            kept += _of(column)
    also = _aliases(header)
    return [_named(value, also(value.field.name)) for value in kept], out


def notes(header: Header) -> list[str]:
    """The aliases of the table in one line."""
    told = ", ".join(f"{name} = {target}" for name, target in _told_aliases(header))
    return [f"aliases: {told}"] if told else []


def _of(column: FitsColumn) -> Iterator[Value]:
    """The columns that one field gives."""
    covariance = _COVARIANCE.fullmatch(column.role)
    if column.role in _PARTS and len(_PARTS[column.role]) == column.count:
        unit = "rad" if column.role == "Coord" else column.unit
        for element, part in enumerate(_PARTS[column.role]):
            yield from _angle(replace(column, unit=unit), element, f"{column.name}_{part}")
    elif covariance:
        yield from _covariance(column, covariance[1])
    elif column.role == "Angle" and column.count == 1:
        yield from _angle(column, 0, column.name)
    else:
        for element, name in enumerate(column.names):
            yield Value(column.field(name), column, element)


def _angle(column: FitsColumn, element: int, name: str) -> Iterator[Value]:
    yield Value(column.field(name), column, element)
    if name in DEGREES and column.code in "ED":
        own = field(f"{name}_deg", pa.float64(), null=True, unit="deg", doc=column.doc)
        yield Value(own, column, element, lambda radians: np.degrees(radians.astype(np.float64)))


def _covariance(column: FitsColumn, of: str | None) -> Iterator[Value]:
    """Standard deviations and covariances, out of the triangle that is kept column by column."""
    size = int((np.sqrt(8 * column.count + 1) - 1) / 2)
    parts = _PARTS.get(of or "", ())
    names = parts if len(parts) == size else tuple(map(str, range(size)))
    element = 0
    for second in range(size):
        for first in range(second + 1):
            if first == second:
                deviation = replace(column, unit=_root(column.unit))
                yield Value(deviation.field(f"{column.name}_{names[first]}Err"), column, element, np.sqrt)
            else:
                own = column.field(f"{column.name}_{names[first]}_{names[second]}_Cov")
                yield Value(own, column, element)
            element += 1


def _root(unit: str) -> str:
    """The unit of a standard deviation, where that of the variance is an even power of one unit."""
    power = re.fullmatch(r"([A-Za-z]+)\^(\d+)", unit)
    if power is None or int(power[2]) % 2:
        return ""
    half = int(power[2]) // 2
    return power[1] if half == 1 else f"{power[1]}^{half}"


def _flags(column: FitsColumn, header: Header) -> Iterator[Value]:
    for element in range(column.repeat):
        name = str(header.get(f"TFLAG{element + 1}", f"{column.name}_{element}")).strip()
        doc = str(header.get(f"TFDOC{element + 1}", "")).strip()
        yield Value(field(name, pa.bool_(), null=False, doc=doc), column, element)


def _named(value: Value, also: Sequence[str]) -> Value:
    """The column with its other names in its description."""
    if not also:
        return value
    own = value.field
    told = (own.metadata or {}).get(b"description", b"").decode()
    text = f"{told.rstrip('.')}. " if told else ""
    metadata = (own.metadata or {}) | {b"description": f"{text}Also: {', '.join(also)}.".encode()}
    return replace(value, field=own.with_metadata(metadata))


def _aliases(header: Header) -> Callable[[str], Sequence[str]]:
    """What else a column is called: by its name in later versions, and by the table's own aliases of either."""
    told = _told_aliases(header)
    old = version(header)

    def also(name: str) -> Sequence[str]:
        names = [name, *([modern] if (modern := _modern(name, old)) != name else [])]
        found = names[1:]
        for each in names:
            for alias, target in told:
                if each == target or each.startswith(target + "_"):
                    found.append(alias + each[len(target) :])
        return list(dict.fromkeys(each for each in found if each != name))

    return also


def _modern(name: str, old: int) -> str:
    """The name that version 3 gives a column: errors end with Err since 2, instrumental fluxes say so since 3."""
    if old < 2:
        name = re.sub(r"Sigma$", "Err", name)
    if old < 3:
        name = re.sub(r"_flux(Err)?$", r"_instFlux\1", name)
    return name


def _told_aliases(header: Header) -> list[tuple[str, str]]:
    """The aliases that a header has: ``ALIAS`` since version 1, ``…_SLOT`` before."""
    found = []
    for card in header.cards:
        if card.keyword == "ALIAS" and ":" in str(card.value):
            alias, _, target = str(card.value).partition(":")
            found.append((alias.strip(), target.strip()))
        elif (slot := re.fullmatch(r"([A-Z_]+?)(_ERR|_FLAG)?_SLOT", card.keyword)) is not None:
            name = "".join(word.capitalize() for word in slot[1].split("_"))
            found.append((f"slot_{name}" + {"_ERR": "Err", "_FLAG": "_flag"}.get(slot[2] or "", ""), str(card.value)))
    return found
