"""``skyburst release describe``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from consumers.release.description import felis_file, given
from consumers.release.description.describe import Described, Wish, describe
from consumers.release.reading import CsvForm, csv_form, open_catalogue
from consumers.release.table import Database, Follows, Role
from stream.cli.options import json_option
from stream.cli.output import show, show_json
from stream.errors import Wrong

COLUMNS = ("column", "type", "null", "unit", "catalogue", "description")


@click.command("describe")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…")
@click.option("--table", default="", help="Name of the table; of a file that describes several, the one to take.")
@click.option(
    "--role",
    type=click.Choice([str(role) for role in Role]),
    help="What the table is to Qserv.  [default: child with one --director, match with two, else director]",
)
@click.option("--key", default="", help="The column that names a row; of an afw table id unless told.")
@click.option(
    "--ra", default="", help="Right ascension in degrees by which rows are placed; a child has its director's."
)
@click.option("--dec", default="", help="Declination in degrees by which rows are placed.")
@click.option("--director", "directors", multiple=True, help="The director that rows follow; twice for a match table.")
@click.option("--director-key", "keys", multiple=True, help="The column of this table that has the director's key.")
@click.option("--database", default="", help="Name of the release's database; needed where --into is new.")
@click.option("--into", type=click.Path(path_type=Path), help="The release's felis file, to which the table is added.")
@click.option("--drop", multiple=True, help="Pattern (*, ?) of columns to leave out; may be said more than once.")
@click.option("--replace", "replacing", is_flag=True, help="Take the place of a table of that name.")
@click.option("--hdu", type=click.IntRange(1), help="The HDU of FITS files that has the table.  [default: the first]")
@click.option(
    "--csv-delimiter",
    "delimiter",
    help="Between fields of CSV: tab, comma, or another character.  [default: a comma; a tab for .tsv]",
)
@click.option("--csv-columns", "names", help="Names of the columns of CSV without a first line of them, with commas.")
@click.option("--csv-quote", "quote", help="Around fields of CSV, or none.")
@click.option(
    "--csv-escape",
    "escape",
    help="Before a character of CSV that stands for itself: backslash, none, or another.  "
    "[default: backslash, and a note where it matters]",
)
@click.option(
    "--csv-null",
    "null",
    multiple=True,
    help="A spelling of NULL in any column of CSV; may be said more than once.  [default: \\N]",
)
@click.option(
    "--csv-sample", "sample", type=click.IntRange(1), help="Rows by which types of CSV are found out.  [default: all]"
)
@json_option
def command(
    files: tuple[Path, ...],
    table: str,
    role: str | None,
    key: str,
    ra: str,
    dec: str,
    directors: tuple[str, ...],
    keys: tuple[str, ...],
    database: str,
    into: Path | None,
    drop: tuple[str, ...],
    replacing: bool,
    hdu: int | None,
    delimiter: str | None,
    names: str | None,
    quote: str | None,
    escape: str | None,
    null: tuple[str, ...],
    sample: int | None,
    as_json: bool,
) -> None:
    """Describe a table of a release: columns, MySQL types, units, keys, and how it lies on the sky.

    FILE… are catalogues of one table (FITS of the science pipelines or of others, Parquet, CSV), or one description
    of it: a felis file, or JSON as Qserv's ingest API takes it. The table is printed, and added to the felis file
    --into.
    """
    release = felis_file.read(into) if into and into.exists() else None
    told = given.read(files[0]) if len(files) == 1 and given.is_given(files[0]) else None
    database = _database(database, into, release, told)
    wish = Wish(table, _role(role, directors), key, ra, dec, _follows(directors, keys), database, drop)
    if told:
        described = _given(told, wish, wish.role if role is not None or directors else None)
    else:
        csv = _csv_form(files[0], delimiter, names, quote, escape, null, sample)
        described = [_of_catalogues(files, wish, hdu, csv)]
    if into:
        for each in described:
            release = _added(release or Database(database, ()), each, replacing)
        if release:
            felis_file.write(release, into)
    _print(described, into, as_json)


def _database(asked: str, into: Path | None, release: Database | None, told: Database | None) -> str:
    """The database's name: as asked for, else the release's, else the one that the description has."""
    if release and asked and asked != release.name:
        text = f"{into} describes the database {release.name}, not {asked}"
        raise Wrong("no_database", text, "leave --database out, or write into another file")
    found = asked or (release.name if release else "") or (told.name if told else "")
    if into and not found:
        raise Wrong("no_database", f"{into} is new, and no database is named", "name it with --database")
    return found


def _role(role: str | None, directors: Sequence[str]) -> Role:
    if role is not None:
        return Role(role)
    return (Role.DIRECTOR, Role.CHILD, Role.MATCH)[min(len(directors), 2)]


def _follows(directors: Sequence[str], keys: Sequence[str]) -> tuple[Follows, ...]:
    if len(directors) != len(keys):
        text = f"--director is said {len(directors)} times, --director-key {len(keys)} times"
        raise Wrong("bad_table", text, "say with each director the column that has its key")
    return tuple(Follows(director, key) for director, key in zip(directors, keys))


def _csv_form(
    path: Path,
    delimiter: str | None,
    names: str | None,
    quote: str | None,
    escape: str | None,
    null: Sequence[str],
    sample: int | None,
) -> CsvForm:
    usual = csv_form(path)
    return CsvForm(
        delimiter=usual.delimiter if delimiter is None else _character(delimiter),
        quote=usual.quote if quote is None else _character(quote),
        escape=usual.escape if escape is None else _character(escape),
        names=tuple(name.strip() for name in names.split(",")) if names else (),
        nulls=tuple(null) or usual.nulls,
        sample=sample,
    )


def _character(word: str) -> str:
    found = {"tab": "\t", r"\t": "\t", "comma": ",", "backslash": "\\", "none": ""}.get(word, word)
    if len(found) > 1:
        raise click.BadParameter(f"{word!r} is not one character, tab, comma, backslash or none")
    return found


def _of_catalogues(files: Sequence[Path], wish: Wish, hdu: int | None, csv: CsvForm) -> Described:
    if not wish.name:
        raise Wrong("bad_name", "the table has no name", "name it with --table")
    return describe([open_catalogue(path, csv=csv, hdu=hdu) for path in files], wish)


def _given(told: Database, wish: Wish, role: Role | None) -> list[Described]:
    """The tables of a description: the one that is named, or all of them."""
    if wish.name:
        return [given.take(told.table(wish.name), wish, role, wish.database)]
    if len(told.tables) == 1:
        return [given.take(told.tables[0], wish, role, wish.database)]
    if role or wish.key or wish.ra or wish.dec or wish.drop:
        have = ", ".join(table.name for table in told.tables)
        raise Wrong("bad_table", f"several tables are described ({have})", "name one with --table")
    return [given.take(table, None, None, wish.database) for table in told.in_order()]


def _added(release: Database, described: Described, replacing: bool) -> Database:
    table = described.table
    there = [each for each in release.tables if each.name == table.name]
    if not there:
        return replace(release, tables=(*release.tables, table))
    if there[0] != table and not replacing:
        text = f"database {release.name} has a table {table.name}, and it is another"
        raise Wrong("table_exists", text, "give the table another name, or say --replace")
    return replace(release, tables=tuple(table if each.name == table.name else each for each in release.tables))


def _print(described: Sequence[Described], into: Path | None, as_json: bool) -> None:
    if as_json:
        show_json([_document(each) for each in described])
        return
    for each in described:
        table = each.table
        title = f"{table.name}: a {table.role} table of {len(table.columns)} columns"
        show(_rows(each), columns=COLUMNS, as_json=False, title=title)
        for name, value in _standing(each).items():
            click.echo(f"{table.name}: {name}: {value}", err=True)
    if into:
        click.echo(f"written: {into}", err=True)


def _rows(described: Described) -> list[dict[str, object]]:
    return [
        {
            "column": column.name,
            "type": column.mysql,
            "null": column.nullable,
            "unit": column.unit,
            "catalogue": column.source if column.source != column.name else "",
            "description": column.description,
        }
        for column in described.table.columns
    ]


def _standing(described: Described) -> dict[str, str]:
    """What is to be said of a table beside its columns, where there is something."""
    table = described.table
    placed = f"by ({table.ra}, {table.dec})" if table.ra else "by its director's id" if table.follows else ""
    told = {
        "key": table.key,
        "placed": placed,
        "follows": ", ".join(f"{each.director} by {each.key}" for each in table.follows),
        "left out": "; ".join(f"{each.column} ({each.why})" for each in described.left_out),
        "renamed": ", ".join(f"{old} to {new}" for old, new in described.renamed.items()),
        "notes": "; ".join(described.notes),
    }
    return {name: value for name, value in told.items() if value}


def _document(described: Described) -> dict[str, object]:
    table = described.table
    return {
        "table": table.name,
        "role": str(table.role),
        "key": table.key,
        "ra": table.ra,
        "dec": table.dec,
        "follows": [{"director": each.director, "key": each.key} for each in table.follows],
        "columns": _rows(described),
        "left_out": [{"column": each.column, "why": each.why} for each in described.left_out],
        "renamed": dict(described.renamed),
        "notes": list(described.notes),
    }
