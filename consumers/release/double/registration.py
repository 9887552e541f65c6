"""The controller's calls on databases and tables: register, list, configure, delete."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

import pymysql

from consumers.release.double.core import INSTANCE, Core
from consumers.release.double.http import Call, Route
from consumers.release.double.model import TRANSACTION_COLUMN, Database, Table
from consumers.release.double.refusals import VERSION, Fields, Json, Refused, dump, invalid
from consumers.release.double.worker import MAX_RETRIES, MAX_WARNINGS, NUM_RETRIES
from consumers.release.table import SUB_CHUNK

CONFIG = {
    **dict.fromkeys(("SSL_VERIFYHOST", "SSL_VERIFYPEER", "CURLOPT_HTTPPROXYTUNNEL", "ASYNC_PROC_LIMIT"), int),
    **dict.fromkeys(("PROXY_SSL_VERIFYHOST", "PROXY_SSL_VERIFYPEER", "CONNECTTIMEOUT", "TIMEOUT"), int),
    **dict.fromkeys(("LOW_SPEED_LIMIT", "LOW_SPEED_TIME"), int),
    **dict.fromkeys(("CAPATH", "CAINFO", "CAINFO_VAL", "CURLOPT_PROXY", "CURLOPT_NOPROXY"), str),
    **dict.fromkeys(("PROXY_CAPATH", "PROXY_CAINFO", "PROXY_CAINFO_VAL"), str),
}
"""What `PUT /ingest/config` takes, with the types."""
TOO_LONG = ("BLOB", "TEXT")
"""Types that a director may not have."""


class Registration:
    """Databases and tables.

    Parameters
    ----------
    core
        The double's inside.
    controller
        The controller's id.
    """

    def __init__(self, core: Core, controller: str) -> None:
        self._core, self._id = core, controller
        self._changing = asyncio.Lock()

    @property
    def routes(self) -> list[Route]:
        """What it can do."""
        return [
            Route("GET", "meta/version", self._version, versioned=False),
            Route("GET", "replication/config", self._system_config),
            Route("POST", "ingest/database", self._alone(self._add_database)),
            Route("GET", "ingest/database", self._databases),
            Route("DELETE", "ingest/database/{database}", self._alone(self._delete_database)),
            Route("PUT", "ingest/config", self._put_config, 14),
            Route("GET", "ingest/config", self._get_config, 14),
            Route("POST", "ingest/table", self._alone(self._add_table)),
            Route("GET", "ingest/table/{database}", self._tables),
            Route("DELETE", "ingest/table/{database}/{table}", self._alone(self._delete_table)),
        ]

    def _alone(self, change: Callable[[Call], Awaitable[Json]]) -> Callable[[Call], Awaitable[Json]]:
        """One change at a time: a database is known before all workers have it, and a table is made in all of them."""

        async def alone(call: Call) -> Json:
            async with self._changing:
                return await change(call)

        return alone

    async def _version(self, call: Call) -> Json:
        return {
            "kind": "replication-controller",
            "id": self._id,
            "instance_id": INSTANCE,
            "version": VERSION,
            "database_schema_version": 15,
        }

    async def _system_config(self, call: Call) -> Json:
        """What of the configuration a loader may want; Qserv has much more."""
        core = self._core
        databases = [database.described() for _, database in sorted(core.memory.databases.items())]
        cuts = {(each.family, each.stripes, each.sub_stripes) for each in core.memory.databases.values()}
        families = [
            {"name": name, "num_stripes": stripes, "num_sub_stripes": sub} for name, stripes, sub in sorted(cuts)
        ]
        loader = {
            "ingest-charset-name": "latin1",
            "ingest-max-retries": MAX_RETRIES,
            "ingest-num-retries": NUM_RETRIES,
            "loader-max-warnings": MAX_WARNINGS,
            "num-async-loader-processing-threads": 2,
            "num-http-loader-processing-threads": 2,
            "async-loader-auto-resume": 1,
        }
        workers = [
            {
                "name": name,
                "is-enabled": 1,
                "is-read-only": 0,
                "http-loader-host": {"addr": "127.0.0.1", "name": "localhost"},
                "http-loader-port": core.ports[name],
            }
            for name in core.workers
        ]
        general = {"controller": {"http-server-port": core.ports["controller"]}, "worker": loader}
        return {
            "config": {
                "general": general,
                "workers": workers,
                "databases": databases or None,
                "database_families": families or None,
                "czars": None,
            }
        }

    async def _add_database(self, call: Call) -> Json:
        fields, memory = call.fields, self._core.memory
        name = fields.text("database")
        new = Database(
            name,
            fields.whole("num_stripes"),
            fields.whole("num_sub_stripes"),
            fields.number("overlap"),
            bool(fields.whole("auto_build_secondary_index", 1)),
            self._core.now(),
        )
        if name in memory.databases:
            raise Refused(f"operation failed due to: CONFIG  addDatabase the database '{name}' already exists.")
        if new.stripes < 1 or new.sub_stripes < 1 or new.overlap < 0:
            raise invalid("'num_stripes' and 'num_sub_stripes' must be positive, 'overlap' not negative")
        memory.keep(new)
        await self._core.at_all_workers(lambda tables: tables.create_database(name))
        return {"database": new.described()}

    async def _databases(self, call: Call) -> Json:
        fields = call.fields
        family, every, published = fields.text("family", ""), fields.whole("all", 1), fields.whole("published", 0)
        found = [each for _, each in sorted(self._core.memory.databases.items())]
        if family:
            found = [each for each in found if each.family == family]
        elif not every:
            found = [each for each in found if each.is_published == bool(published)]
        return {
            "databases": [
                {"name": each.name, "family": each.family, "is_published": int(each.is_published)} for each in found
            ]
        }

    async def _delete_database(self, call: Call) -> Json:
        database = self._core.memory.database(call.path["database"])
        if database.is_published and not call.admin:
            raise Refused("deleting published databases requires administrator's privileges.")
        self._core.memory.forget(database.name)
        await self._core.at_all_workers(lambda tables: tables.drop_database(database.name))
        for table in database.directors:
            await self._core.run(self._core.index.drop, database.name, table)
        return {}

    async def _put_config(self, call: Call) -> Json:
        database = self._core.memory.database(call.fields.text("database"))
        for name, kind in CONFIG.items():
            if name in call.fields:
                database.config[name] = call.fields.whole(name) if kind is int else call.fields.text(name)
        self._core.memory.keep(database)
        return {}

    async def _get_config(self, call: Call) -> Json:
        database = self._core.memory.database(call.query.get("database") or call.fields.text("database"))
        return {"config": {"database": database.name, **database.config}}

    async def _tables(self, call: Call) -> Json:
        database = self._core.memory.database(call.path["database"])
        ordered = sorted(database.tables.values(), key=lambda table: (not table.is_partitioned, table.name))
        return {"tables": [{"name": each.name, "is_partitioned": int(each.is_partitioned)} for each in ordered]}

    async def _add_table(self, call: Call) -> Json:
        database = self._core.memory.database(call.fields.text("database"))
        new = _table(call.fields, self._core.now())
        if database.is_published:
            raise Refused("the database is already published")
        if new.name in database.tables:
            raise Refused("table already exists")
        _check_columns(new)
        _check_roles(database, new)
        try:
            await self._core.at_all_workers(lambda tables: tables.create_table(database.name, new))
        except pymysql.MySQLError as error:
            raise Refused(f"failed to create table '{new.name}': {error.args[1]}, errno: {error.args[0]}") from None
        database.tables[new.name] = new
        self._core.memory.keep(database)
        return {"database": database.described()}

    async def _delete_table(self, call: Call) -> Json:
        database = self._core.memory.database(call.path["database"])
        table = database.tables.get(call.path["table"])
        if table is None:
            raise Refused(f"no such table '{call.path['table']}' found in the database '{database.name}'")
        if database.is_published and not call.admin:
            raise Refused("deleting tables of published databases requires administrator's privileges.")
        del database.tables[table.name]
        database.counters.pop(table.name, None)
        self._core.memory.keep(database)
        await self._core.at_all_workers(lambda tables: tables.drop_table(database, table))
        if table.is_director:
            await self._core.run(self._core.index.drop, database.name, table)
        return {}


def _table(fields: Fields, now: int) -> Table:
    columns = []
    for column in fields.array("schema"):
        part = Fields(column)
        columns.append({"name": part.text("name"), "type": part.text("type")})
    return Table(
        fields.text("table"),
        bool(fields.whole("is_partitioned")),
        [dict(TRANSACTION_COLUMN), *columns],
        director_table=fields.text("director_table", ""),
        director_key=fields.text("director_key", ""),
        director_table2=fields.text("director_table2", ""),
        director_key2=fields.text("director_key2", ""),
        flag=fields.text("flag", ""),
        ang_sep=fields.number("ang_sep", 0.0),
        unique_primary_key=bool(fields.whole("unique_primary_key", 1)),
        latitude_key=fields.text("latitude_key", ""),
        longitude_key=fields.text("longitude_key", ""),
        charset_name=fields.text("charset_name", "latin1"),
        collation_name=fields.text("collation_name", "latin1_general_ci"),
        create_time=now,
    )


def _check_columns(table: Table) -> None:
    for column in table.columns[1:]:
        if column["name"].lower() == TRANSACTION_COLUMN["name"]:
            raise Refused(f"reserved column '{column['name']}' is not allowed")
        kind = re.split(r"[\s(]", column["type"].strip(), maxsplit=1)[0].upper()
        if table.is_director and kind in TOO_LONG:
            raise Refused(
                f"the prohibited type '{kind}' detected in a definition of the column '{column['name']}'"
                " of the director table"
            )


def _check_roles(database: Database, table: Table) -> None:
    if not table.is_partitioned:
        return
    told = f"[database={database.name}] {dump(table.described(database.name))}"
    for name in (table.director_table, table.director_table2):
        of, _, director = name.rpartition(".")
        if name and (of not in ("", database.name) or director not in {each.name for each in database.directors}):
            raise invalid(
                f"DatabaseInfo::validate non-existing director table referenced database='{of}' table='{director}'"
                f" in the dependent table definition {told}"
            )
    wanted = {"directorKey": table.director_key, "directorKey2": table.director_key2}
    if table.is_director:
        wanted = {"directorKey": table.director_key, "subChunkIdColName": SUB_CHUNK}
    elif not table.is_match:
        wanted |= {"latitudeColName": table.latitude_key, "longitudeColName": table.longitude_key}
        wanted = {parameter: name for parameter, name in wanted.items() if name}
    for parameter, name in wanted.items():
        if table.column(name) is None:
            raise invalid(
                f"DatabaseInfo::validate no matching column '{name}' found in schema for parameter '{parameter}' {told}"
            )
