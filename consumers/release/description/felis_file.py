"""The felis file of a release: a `Database` as YAML and back, exactly.

What felis has no word for is said in felis' own words, so that its tools read the file. A director has a
``primaryKey``, the two columns of its position have the UCDs ``pos.eq.ra;meta.main`` and ``pos.eq.dec;meta.main``,
and it has no foreign key; a child has one to a director's key, a match table two, a regular table none. The ``@id`` of
a column is ``#Table.<name in the catalogue>`` where that is not its name. ``mysql:datatype`` stands where felis' map is
not meant.

Importing felis takes 1.8 s. A file that was written here was validated then and begins with the digest of what
follows; only a file that has no such line, or was changed since, is validated when it is read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from consumers.release.description.types import mysql_type
from consumers.release.table import Column, Database, Follows, Role, Table
from stream.errors import Wrong

UCD_RA, UCD_DEC = "pos.eq.ra;meta.main", "pos.eq.dec;meta.main"
_CONTEXT = {"id_generation": True, "dereference_resources": True}
_MARK = b"# Written by skyburst and validated by felis; SHA-256 of what follows: "


def read(path: Path) -> Database:
    """The database that a felis file describes.

    Raises
    ------
    Wrong
        ``no_file``: it cannot be read. ``bad_felis``: it is not valid felis, or a table has more than two foreign keys
        to directors. ``bad_table``: a table cannot be as it is described.
    """
    return _database(_entries(path))


def write(database: Database, path: Path) -> None:
    """Write the felis file of a database, durable, at once and whole.

    Raises
    ------
    Wrong
        ``bad_felis``: felis does not take it. ``bad_table``: felis has no words for it: a regular table with a
        position, or a table that follows what is no director of the database.
    """
    entries = to_felis(database)
    _validated(entries, path)
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(entries, Dumper=dumper, sort_keys=False, allow_unicode=True, width=120)
    body = text.encode()
    new = path.with_name(path.name + ".new")
    with new.open("wb") as file:
        file.write(_MARK + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def to_felis(database: Database) -> dict[str, Any]:
    """The database in felis' vocabulary, as `write` puts it into the file."""
    entries: dict[str, Any] = {"name": database.name}
    if database.description:
        entries["description"] = database.description
    entries["tables"] = [_table_entry(table, database) for table in database.tables]
    return entries


def _table_entry(table: Table, database: Database) -> dict[str, Any]:
    if table.role is Role.REGULAR and (table.ra or table.dec):
        advice = "a regular table is whole on every worker: leave its ra and dec out"
        raise Wrong("bad_table", f"regular table {table.name} has a position", advice)
    if table.ra and table.ra == table.dec:
        raise Wrong("bad_table", f"table {table.name} has {table.ra} as ra and as dec", "name two columns")
    entry: dict[str, Any] = {"name": table.name}
    if table.description:
        entry["description"] = table.description
    if table.key:
        entry["primaryKey"] = [_id(table, table.key)]
    entry["columns"] = [_column_entry(column, table) for column in table.columns]
    if table.follows:
        entry["constraints"] = [
            {
                "name": f"{table.name}_follows_{number}",
                "@type": "ForeignKey",
                "columns": [_id(table, each.key)],
                "referencedColumns": [_director_id(each, table, database)],
            }
            for number, each in enumerate(table.follows, 1)
        ]
    return entry


def _column_entry(column: Column, table: Table) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": column.name}
    if column.source != column.name:
        entry["@id"] = _id(table, column.name)
    entry["datatype"] = column.datatype
    if column.length is not None:
        entry["length"] = column.length
    if column.mysql != mysql_type(column.datatype, column.length):
        entry["mysql:datatype"] = column.mysql
    if not column.nullable:
        entry["nullable"] = False
    if column.unit:
        entry["ivoa:unit"] = column.unit
    ucd = {table.ra: UCD_RA, table.dec: UCD_DEC}.get(column.name)
    if ucd:
        entry["ivoa:ucd"] = ucd
    if column.description:
        entry["description"] = column.description
    return entry


def _id(table: Table, column: str) -> str:
    return f"#{table.name}.{table.column(column).source}"


def _director_id(follows: Follows, table: Table, database: Database) -> str:
    director = database.table(follows.director)
    if director.role is not Role.DIRECTOR:
        text = f"table {table.name} follows {director.name}, which is a {director.role} table"
        raise Wrong("bad_table", text, "name a director")
    return _id(director, director.key)


def _entries(path: Path) -> Mapping[str, Any]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise Wrong("no_file", f"{path} cannot be read: {error.strerror}", "check the path") from error
    mark, _, body = raw.partition(b"\n")
    try:
        loaded = yaml.load(raw, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 (both are safe)
    except yaml.YAMLError as error:
        raise Wrong("bad_felis", f"{path} is not YAML: {error}", "mend the file") from error
    if mark == _MARK + hashlib.sha256(body).hexdigest().encode():
        trusted: Mapping[str, Any] = loaded
        return trusted
    return _validated(loaded, path)


def _validated(entries: object, path: Path) -> Mapping[str, Any]:
    """What felis makes of the entries: checked, with an ``@id`` everywhere and columns of other files filled in."""
    from felis.datamodel import Schema
    from lsst.resources import ResourcePath
    from pydantic import ValidationError

    if not isinstance(entries, dict) or "name" not in entries:
        raise Wrong("bad_felis", f"{path} is not a felis file", "give a YAML file with a name and tables")
    context = _CONTEXT | {"resource_path": ResourcePath(str(path), forceDirectory=False)}
    try:
        schema: Any = Schema.model_validate(_copied(entries), context=context)
    except ValidationError as error:
        told = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        more = f" and {len(told) - 3} more" if len(told) > 3 else ""
        raise Wrong("bad_felis", f"felis does not take {path}: {'; '.join(told[:3])}{more}", "mend it") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Wrong("bad_felis", f"felis does not take {path}: {error}", "mend the file") from error
    dumped: Mapping[str, Any] = schema.model_dump(by_alias=True, exclude_none=True)
    return dumped


def _copied(entries: Any) -> Any:
    """A copy of YAML's lists and maps: felis writes into what it is given."""
    if isinstance(entries, dict):
        return {key: _copied(value) for key, value in entries.items()}
    return [_copied(each) for each in entries] if isinstance(entries, list) else entries


def _database(entries: Mapping[str, Any]) -> Database:
    directors = _directors(entries)
    tables = tuple(_table(entry, directors) for entry in entries.get("tables", ()))
    return Database(entries["name"], tables, entries.get("description", ""))


def _directors(entries: Mapping[str, Any]) -> Mapping[str, str]:
    """Names of directors by the ``@id`` of their keys."""
    found = {}
    for entry in entries.get("tables", ()):
        key = _only(entry.get("primaryKey"))
        ucds = {_ucd(column) for column in entry.get("columns", ())}
        if key and {UCD_RA, UCD_DEC} <= ucds and not _foreign_keys(entry):
            found[key] = entry["name"]
    return found


def _table(entry: Mapping[str, Any], directors: Mapping[str, str]) -> Table:
    name = entry["name"]
    columns = {_column_id(each, name): each for each in entry.get("columns", ())}
    named = {each: columns[each]["name"] for each in columns}
    follows = tuple(
        Follows(directors[to], named[own])
        for each in _foreign_keys(entry)
        if (own := _only(each["columns"])) and (to := _only(each["referencedColumns"])) in directors
    )
    if len(follows) > 2:
        text = f"table {name} has foreign keys to {len(follows)} directors"
        raise Wrong("bad_felis", text, "leave those of one director, or of two in a match table")
    key = _only(entry.get("primaryKey"))
    positions = {_ucd(each): each["name"] for each in columns.values()}
    role = (Role.DIRECTOR if key in directors else Role.REGULAR, Role.CHILD, Role.MATCH)[len(follows)]
    placed = role is not Role.REGULAR
    return Table(
        name=name,
        role=role,
        columns=tuple(_column(each, own, name) for own, each in columns.items()),
        key=named.get(key, ""),
        ra=positions.get(UCD_RA, "") if placed else "",
        dec=positions.get(UCD_DEC, "") if placed else "",
        follows=follows,
        description=entry.get("description", ""),
    )


def _column(entry: Mapping[str, Any], own: str, table: str) -> Column:
    datatype, length = str(entry["datatype"]), entry.get("length")
    start = f"#{table}."
    return Column(
        name=entry["name"],
        source=own.removeprefix(start) if own.startswith(start) else entry["name"],
        datatype=datatype,
        mysql=entry.get("mysql:datatype") or mysql_type(datatype, length, entry.get("precision")),
        length=length,
        nullable=entry.get("nullable", True),
        unit=entry.get("ivoa:unit") or entry.get("fits:tunit", ""),
        description=entry.get("description", ""),
    )


def _column_id(entry: Mapping[str, Any], table: str) -> str:
    return str(entry.get("@id") or f"#{table}.{entry['name']}")


def _foreign_keys(entry: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [each for each in entry.get("constraints", ()) if each["@type"] == "ForeignKey"]


def _ucd(column: Mapping[str, Any]) -> str:
    return str(column.get("ivoa:ucd", "")).replace(" ", "").lower()


def _only(ids: str | Sequence[str] | None) -> str:
    """The one id; empty where there is none or where there are several."""
    if isinstance(ids, str):
        return ids
    return ids[0] if ids and len(ids) == 1 else ""
