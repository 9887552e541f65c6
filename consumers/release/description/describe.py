"""A table's description made from catalogues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from consumers.release.description import limits
from consumers.release.description.agreed import Agreed, agreed
from consumers.release.description.arrow_types import kind_of
from consumers.release.description.names import database_names
from consumers.release.reading.catalogue import DESCRIPTION, UNIT, Catalogue, LeftOut
from consumers.release.table import Column, Follows, Role, Table
from stream.errors import Wrong

KEY, RA, DEC = "id", "coord_ra_deg", "coord_dec_deg"
"""The key and the position of an afw table."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the caller says of a table, since no catalogue does.

    Parameters
    ----------
    name, role
        Its name, and what it is to Qserv.
    key, ra, dec
        Columns by their name in the catalogue or in the database; empty where there is none. An afw table has the
        key ``id``, and as a director the position ``coord_ra_deg``, ``coord_dec_deg``, unless told.
    follows
        The directors and the columns that have their keys.
    database
        The database's name.
    drop
        Patterns (``*``, ``?``) of columns in the catalogue that the table shall not have.
    """

    name: str
    role: Role
    key: str = ""
    ra: str = ""
    dec: str = ""
    follows: tuple[Follows, ...] = ()
    database: str = ""
    drop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Described:
    """A table and what is to be said about how it came to be.

    Parameters
    ----------
    table
        The table.
    left_out
        Columns of the catalogues that it does not have, with the reason.
    notes
        What else a reader should know.
    """

    table: Table
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def renamed(self) -> Mapping[str, str]:
        """Names in the database by those in the catalogue, where they differ."""
        return {each.source: each.name for each in self.table.columns if each.source != each.name}


def describe(catalogues: Sequence[Catalogue], wish: Wish) -> Described:
    """Describe the table that one or more files hold.

    Floating-point numbers, text and what a file says can be missing are nullable; whole numbers and flags of FITS are
    not, nor is a director's key.

    Raises
    ------
    Wrong
        ``schemas_differ``: the files are not of one table. ``no_column``: a column named is not there. ``bad_name``,
        ``bad_table``, ``table_too_large``: MariaDB or Qserv would not take it (`limits.check`).
    """
    found = agreed(catalogues, wish.drop)
    sources = [each.name for each in found.columns]
    named = dict(zip(sources, database_names(sources)))
    out, notes = list(found.left_out), list(found.notes)
    columns = []
    for each in found.columns:
        kind = kind_of(each.type, each.length, fixed=each.fixed)
        if kind is None:
            out.append(LeftOut(each.name, f"{each.type} has no MySQL type that holds it"))
            continue
        if kind.note:
            notes.append(f"{each.name}: {kind.note}")
        told = {key: value.decode() for key, value in (each.field.metadata or {}).items()}
        unit, doc = _unit(told.get(UNIT, ""), told.get(DESCRIPTION, ""))
        columns.append(
            Column(named[each.name], each.name, kind.datatype, kind.mysql, kind.length, each.nullable, unit, doc)
        )
    table = _table(columns, found, wish)
    notes += _reserved(table)
    limits.check(table, wish.database, character_bytes=1 if found.ascii else 4)
    return Described(table, tuple(out), tuple(notes))


def _table(columns: Sequence[Column], found: Agreed, wish: Wish) -> Table:
    afw = found.form.startswith("afw")
    sources = {each.source for each in columns}

    def resolved(asked: str, usual: str, what: str) -> str:
        if not asked and afw and usual in sources:
            asked = usual
        if not asked:
            return ""
        for each in columns:
            if asked in (each.source, each.name):
                return each.name
        reasons = [each.why for each in found.left_out if each.column == asked]
        text = f"{found.path} has no column {asked} for the {what} of table {wish.name}"
        raise Wrong("no_column", "; ".join([text, *reasons]), "look at its columns by describe without it")

    director = wish.role is Role.DIRECTOR
    key = resolved(wish.key, KEY if wish.role is not Role.REGULAR else "", "key")
    ra = resolved(wish.ra, RA if director else "", "right ascension")
    dec = resolved(wish.dec, DEC if director else "", "declination")
    _check_position([each for each in columns if each.name in (ra, dec)], wish.name)
    follows = tuple(replace(each, key=resolved(each.key, "", f"key of {each.director}")) for each in wish.follows)
    whole = [replace(each, nullable=False) if director and each.name == key else each for each in columns]
    for each in whole:
        if director and each.name == key and each.datatype in ("float", "double"):
            text = f"the key {key} of director {wish.name} is {each.mysql}, which is not exact"
            raise Wrong("bad_table", text, "take a whole number or text for the key")
    return Table(wish.name, wish.role, tuple(whole), key, ra, dec, follows, found.description)


def _check_position(columns: Sequence[Column], table: str) -> None:
    for each in columns:
        if each.datatype not in ("float", "double") and each.mysql != "DOUBLE":
            text = f"column {each.source} of table {table} is {each.mysql}, and no position"
            raise Wrong("bad_table", text, "name columns with degrees")
        if each.unit == "rad":
            text = f"column {each.source} of table {table} is in radians"
            raise Wrong("bad_table", text, f"take the column with degrees, such as {each.source}_deg")


def _unit(unit: str, doc: str) -> tuple[str, str]:
    """Unit and description: a unit that felis would not take is said in words."""
    if not unit or _known(unit):
        return unit, doc
    return "", f"{doc} [{unit}]".strip()


def _known(unit: str) -> bool:
    import warnings

    from astropy import units

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of units that are out of use
        try:
            units.Unit(unit)
        except (ValueError, TypeError):
            return False
    return True


def _reserved(table: Table) -> list[str]:
    """Names that SQL has for itself: they can be columns, and are to be written in backticks."""
    from sqlalchemy.dialects.mysql.reserved_words import RESERVED_WORDS_MARIADB

    words = [each.name for each in table.columns if each.name.lower() in RESERVED_WORDS_MARIADB]
    return [f"words of SQL, to be written in backticks in queries: {', '.join(words)}"] if words else []
