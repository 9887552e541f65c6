"""A published database of the double as one that a query can name: all chunks of all workers in a table each.

What Qserv's own frontend does for a query, MariaDB does here by MERGE tables: their rows are those of the chunk tables.
"""

from __future__ import annotations

import re
from collections import defaultdict

from stream.errors import Wrong
from stream.local import LocalMariadb

_WORKERS = "q[0-9a-f]{{8}}_worker[0-9]+_{}"


def gather(mariadb: LocalMariadb, database: str) -> str:
    """Make, or make anew, the tables of `database` to be asked; the URL of it for ``release query``.

    Raises
    ------
    Wrong
        ``unknown_database``: the double has no published database of that name.
    """
    held = _held(mariadb, database)
    if not held:
        raise Wrong("unknown_database", f"the double has no database {database} with tables", "publish one first")
    mariadb.drop_database(database)
    mariadb.create_database(database)
    for name, parts in held.items():
        mariadb.execute(f"CREATE TABLE `{name}` LIKE {parts[0]}", database=database)
        mariadb.execute(f"ALTER TABLE `{name}` ENGINE=MERGE UNION=({', '.join(parts)})", database=database)
    return mariadb.url(database)


def _held(mariadb: LocalMariadb, database: str) -> dict[str, list[str]]:
    """The tables that hold rows, by the name of the table that they are parts of."""
    if not re.fullmatch(r"\w+", database):
        return {}
    found = mariadb.execute(
        "SELECT table_schema, table_name FROM information_schema.tables"  # noqa: S608 - a word
        f" WHERE table_schema REGEXP '^{_WORKERS.format(database.lower())}$' AND engine = 'MyISAM'"
        " AND table_name NOT REGEXP 'FullOverlap_[0-9]+$' AND create_options NOT LIKE '%partitioned%' ORDER BY 1, 2"
    )
    parts: dict[str, list[str]] = defaultdict(list)
    whole: dict[str, str] = {}
    for schema, name in found:
        head, _, chunk = name.rpartition("_")
        if head and chunk.isdigit():
            parts[head].append(f"`{schema}`.`{name}`")
        else:
            # A regular table is whole at every worker, and a partitioned one has an empty prototype there.
            whole.setdefault(name, f"`{schema}`.`{name}`")
    return {name: [table] for name, table in whole.items() if name not in parts} | parts
