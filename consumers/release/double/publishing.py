"""The controller's calls once rows are in: publish, indexes, row counters, scan rating, unpublish."""

from __future__ import annotations

from collections.abc import Iterable
from operator import methodcaller

import pymysql

from consumers.release.double.core import Core
from consumers.release.double.http import Call, Route
from consumers.release.double.model import Database, Table
from consumers.release.double.refusals import Fields, Json, Refused, invalid
from consumers.release.double.tables import WorkerTables

DUPLICATE_KEY, NO_KEY = 1061, 1091
SPECS = {"DEFAULT": "", "UNIQUE": "UNIQUE ", "FULLTEXT": "FULLTEXT ", "SPATIAL": "SPATIAL "}
SELECTORS = {"CHUNK_AND_OVERLAP": (True, False), "CHUNK": (False,), "OVERLAP": (True,)}
"""Whether main tables, overlaps or both are meant; overlaps come first in the answers."""


class Publishing:
    """Publishing and what comes after it.

    Parameters
    ----------
    core
        The double's inside.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    @property
    def routes(self) -> list[Route]:
        """What it can do."""
        return [
            Route("PUT", "ingest/database/{database}", self._publish),
            Route("PUT", "replication/config/database/{database}", self._unpublish),
            Route("POST", "ingest/index/secondary", self._director_index, 22),
            Route("POST", "replication/sql/index", self._create_index),
            Route("GET", "replication/sql/index/{database}/{table}", self._get_index, 17),
            Route("DELETE", "replication/sql/index", self._drop_index),
            Route("POST", "ingest/table-stats", self._scan),
            Route("GET", "ingest/table-stats/{database}/{table}", self._counters),
            Route("DELETE", "ingest/table-stats/{database}/{table}", self._delete_counters),
            Route("PUT", "replication/qserv/css/shared-scan/{database}/{table}", self._rate),
            Route("GET", "replication/qserv/css/shared-scan", self._ratings),
        ]

    async def _publish(self, call: Call) -> Json:
        core, database = self._core, self._core.memory.database(call.path["database"])
        if database.is_published:
            raise Refused("the database is already published")
        if any(transaction.open for transaction in core.memory.of(database.name)):
            raise Refused("database has uncommitted transactions")
        if not database.chunks:
            raise Refused("the database doesn't have any chunks")
        # The flag is set before the work is done, so that a call that hangs or is lost leaves it behind.
        database.is_published, database.publish_time, database.dummies = True, core.now(), True
        for table in database.tables.values():
            if not table.is_published:
                table.is_published, table.publish_time = True, database.publish_time
        core.memory.keep(database)
        await core.at_all_workers(lambda tables: tables.publish(database))
        await core.troubles.publish_hangs()
        return {"database": database.described()}

    async def finish_publishing(self) -> None:
        """After a restart: what was being published is brought to its end."""
        for database in self._core.memory.databases.values():
            if database.is_published:
                await self._core.at_all_workers(methodcaller("publish", database))

    async def _unpublish(self, call: Call) -> Json:
        database = self._core.memory.database(call.path["database"])
        if not call.admin:
            raise Refused("administrator's privileges are required to (un-)publish databases.")
        database.is_published = False
        self._core.memory.keep(database)
        return {"config": {"databases": {database.name: database.described()}}}

    async def _director_index(self, call: Call) -> Json:
        fields = call.fields
        database = self._core.memory.database(fields.text("database"))
        name = fields.text("director_table")
        table = database.tables.get(name)
        if "local" in fields:
            call.warnings.append("Option 'local' is obsolete as of the version 20 of the API.")
        if table is None or not table.is_director:
            raise Refused(f"table '{name}' is not configured as a director table in database '{database.name}'")
        if not table.is_published:
            raise Refused(f" the director table '{name}' of the database '{database.name}' is not published.")
        unique = bool(fields.whole("unique_primary_key", int(table.unique_primary_key)))
        rebuild = bool(fields.whole("rebuild", 0))
        problems = await self._core.run(
            lambda: self._core.index.build(database, table, self._core.workers, rebuild=rebuild, unique=unique)
        )
        if problems:
            raise Refused("index creation failed", problems)
        return {}

    async def _create_index(self, call: Call) -> Json:
        fields = call.fields
        database, table = self._published(fields)
        name, spec, overlap = fields.text("index"), fields.text("spec"), bool(fields.whole("overlap", 0))
        comment, again = fields.text("comment", ""), bool(fields.whole("ignore_duplicate_key", 1))
        if spec not in SPECS:
            raise invalid(f"HTTP-PROCESSOR ::_createIndexes  unsupported index specification '{spec}'.")
        columns = ", ".join(_index_column(Fields(column), table) for column in fields.array("columns"))
        said = pymysql.converters.escape_string(comment)
        statement = f"CREATE {SPECS[spec]}INDEX `{name}` ON {{}} ({columns}) COMMENT '{said}'"
        ignore = (DUPLICATE_KEY,) if again else ()
        await self._at_each("index creation failed", database, table, overlap, statement, ignore)
        return {}

    async def _drop_index(self, call: Call) -> Json:
        fields = call.fields
        database, table = self._published(fields)
        statement = f"DROP INDEX `{fields.text('index')}` ON {{}}"
        overlap = bool(fields.whole("overlap", 0))
        await self._at_each("index deletion failed", database, table, overlap, statement, ())
        return {}

    async def _at_each(
        self, no: str, database: Database, table: Table, overlap: bool, statement: str, ignore: Iterable[int]
    ) -> None:
        """Run a statement on every table that holds rows; refused with what failed, by worker and table."""

        def work(tables: WorkerTables) -> Json:
            problems = {}
            place = tables.server.database(tables.worker, database.name)
            for _, name in tables.names(database.name, table, overlap=overlap):
                try:
                    tables.server.execute(statement.format(f"`{place}`.`{name}`"))
                except pymysql.MySQLError as error:
                    if error.args[0] not in ignore:
                        problems[name] = f"{error.args[1]}, errno: {error.args[0]}"
            return problems

        problems = {worker: found for worker, found in (await self._core.at_all_workers(work)).items() if found}
        if problems:
            raise Refused(no, problems)

    async def _get_index(self, call: Call) -> Json:
        database = self._core.memory.database(call.path["database"])
        table, overlap = _known(database, call.path["table"]), call.flag("overlap")
        found = await self._core.at_all_workers(lambda tables: _indexes(tables, database, table, overlap))
        total = sum(count for count, _ in found.values())
        told: dict[str, Json] = {}
        for _, indexes in found.values():
            for index in indexes:
                known = told.setdefault(index["name"], index | {"num_replicas": 0, "num_replicas_total": total})
                known["num_replicas"] += 1
        for index in told.values():
            index["status"] = "COMPLETE" if index["num_replicas"] == total else "INCOMPLETE"
        status = {"database": database.name, "table": table.name, "overlap": int(overlap)}
        return {"status": status | {"indexes": list(told.values())}}

    def _published(self, fields: Fields) -> tuple[Database, Table]:
        database = self._core.memory.database(fields.text("database"))
        table = _known(database, fields.text("table"))
        if not table.is_published:
            raise Refused("table is not published")
        return database, table

    async def _scan(self, call: Call) -> Json:
        fields, memory = call.fields, self._core.memory
        database = memory.database(fields.text("database"))
        table = _known(database, fields.text("table"))
        overlaps = _selected(fields)
        policy = fields.text("row_counters_state_update_policy", "DISABLED")
        if database.counters.get(table.name) and not fields.whole("force_rescan", 0):
            return {}
        entries = await self._counted(database, table, overlaps)
        if policy != "DISABLED":
            kept = [each for each in database.counters.get(table.name, []) if bool(each["is_overlap"]) not in overlaps]
            database.counters[table.name] = sorted(kept + entries, key=lambda each: -each["is_overlap"])
            memory.keep(database)
        return {}

    async def _counted(self, database: Database, table: Table, overlaps: tuple[bool, ...]) -> list[Json]:
        """Rows by overlap, chunk and transaction; an empty table has one entry of no rows."""
        found = await self._core.at_all_workers(lambda tables: tables.rows(database.name, [table]))
        rows: dict[tuple[bool, int], dict[int, int]] = {}
        for each in (each for every in found.values() for each in every):
            rows.setdefault((each.overlap, each.chunk), {})[each.transaction] = each.rows
        transactions = [each.id for each in self._core.memory.of(database.name)]
        none = transactions[0] if len(transactions) == 1 else 0
        chunks = sorted(database.chunks) if table.is_partitioned else [0]
        now, entries = self._core.now(), []
        for overlap in overlaps if table.is_partitioned else (False,):
            for chunk in chunks:
                for number, count in sorted(rows.get((overlap, chunk), {none: 0}).items()):
                    entries.append(
                        {
                            "chunk": chunk,
                            "is_overlap": int(overlap),
                            "num_rows": count,
                            "transaction_id": number,
                            "update_time": now,
                        }
                    )
        return entries

    async def _counters(self, call: Call) -> Json:
        database = self._core.memory.database(call.path["database"])
        table = _known(database, call.path["table"])
        return {"database": database.name, "table": table.name, "entries": database.counters.get(table.name, [])}

    async def _delete_counters(self, call: Call) -> Json:
        database = self._core.memory.database(call.path["database"])
        table, overlaps = _known(database, call.path["table"]), _selected(call.fields)
        if not call.fields.whole("qserv_only", 0):
            kept = [each for each in database.counters.get(table.name, []) if bool(each["is_overlap"]) not in overlaps]
            database.counters[table.name] = kept
            self._core.memory.keep(database)
        return {}

    async def _rate(self, call: Call) -> Json:
        database = self._core.memory.database(call.path["database"])
        table = _known(database, call.path["table"])
        table.scan_rating = call.fields.whole("scanRating")
        self._core.memory.keep(database)
        return await self._ratings(call)

    async def _ratings(self, call: Call) -> Json:
        told: Json = {}
        for database in self._core.memory.databases.values():
            tables = {table.name: {"scanRating": table.scan_rating} for table in database.partitioned}
            if database.publish_time:
                told.setdefault(database.family, {})[database.name] = tables
        return {"css": {"shared_scan": told}}


def _known(database: Database, name: str) -> Table:
    table = database.tables.get(name)
    if table is None:
        raise Refused(f"no such table '{name}' found in the database '{database.name}'")
    return table


def _selected(fields: Fields) -> tuple[bool, ...]:
    selector = fields.text("overlap_selector", "CHUNK_AND_OVERLAP")
    if selector not in SELECTORS:
        raise invalid(f"unsupported overlap selector '{selector}'")
    return SELECTORS[selector]


def _index_column(column: Fields, table: Table) -> str:
    name, length = column.text("column"), column.whole("length", 0)
    if table.column(name) is None:
        text = f"HTTP-PROCESSOR ::_createIndexes  requested column '{name}' has not been found in the table schema."
        raise invalid(text)
    order = "ASC" if column.whole("ascending", 1) else "DESC"
    return f"`{name}`{f'({length})' if length else ''} {order}"


def _indexes(tables: WorkerTables, database: Database, table: Table, overlap: bool) -> tuple[int, list[Json]]:
    """How many tables a worker has, and their indexes, one by one."""
    names = {name for _, name in tables.names(database.name, table, overlap=overlap)}
    rows = tables.server.rows(
        "SELECT table_name, index_name, seq_in_index, column_name, collation, sub_part, index_type, non_unique,"
        " index_comment FROM information_schema.statistics WHERE table_schema = %s ORDER BY 1, 2, 3",
        (tables.server.database(tables.worker, database.name),),
    )
    found: dict[tuple[str, str], Json] = {}
    for name, index, seq, column, order, part, kind, shared, comment in rows:
        if name not in names:
            continue
        one = found.setdefault(
            (name, index), {"name": index, "type": kind, "unique": int(not shared), "comment": comment, "columns": []}
        )
        way = {"A": "ASC", "D": "DESC"}.get(order, "NOT_SORTED")
        one["columns"].append({"name": column, "seq": int(seq), "sub_part": int(part or 0), "collation": way})
    return len(names), list(found.values())
