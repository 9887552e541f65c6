"""docs/reference/level1-tables.md, made from the model: ``python -m stream.tables.reference`` prints it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy.dialects import mysql

from stream.tables.model import model, table, version

_HEAD = """# Level-1: the tables

Made from `schemas/level1.yaml` by `python -m stream.tables.reference`; a test holds that the two say the same.
Version of the tables: **{version}**. Types are MariaDB's; SQLite has the same columns. Floating columns are DOUBLE;
NaN and infinities are NULL. Text is compared byte by byte. All indexes of `level1` begin with the survey; on MariaDB
it is partitioned by night, 30 nights each.
"""


def reference() -> str:
    """The page as Markdown."""
    parts = [_HEAD.format(version=version())]
    for entry in model()["tables"]:
        parts.append("\n".join(_table(entry)))
    return "\n".join(parts) + "\n"


def _table(entry: Mapping[str, Any]) -> Iterator[str]:
    yield f"## `{entry['name']}`\n\n{entry['description']}\n"
    yield f"Primary key: {_columns(entry['primaryKey'])}.\n"
    yield "| column | type | unit | what it is |\n|---|---|---|---|"
    made = table(entry["name"]).columns
    for column in entry["columns"]:
        null = "" if column.get("nullable") is False else ", null"
        kind = made[column["name"]].type.compile(mysql.dialect())
        yield f"| {column['name']} | {kind}{null} | {column.get('ivoa:unit', '')} | {column['description']} |"
    keys = [*entry.get("constraints", ()), *entry.get("indexes", ())]
    if keys:
        yield "\n| key | columns | what for |\n|---|---|---|"
    for key in keys:
        unique = "unique " if key.get("@type") == "Unique" else ""
        yield f"| {key['name']} | {unique}{_columns(key['columns'])} | {key['description']} |"
    yield ""


def _columns(ids: str | list[str]) -> str:
    return ", ".join(one.split(".")[1] for one in ([ids] if isinstance(ids, str) else ids))


if __name__ == "__main__":
    sys.stdout.write(reference())
