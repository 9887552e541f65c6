"""The director index: where each object is. Built by transaction while loading, or at once after publishing."""
# ruff: noqa: S608 (names cannot be parameters, and the server is the double's own)

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

import pymysql

from consumers.release.double.mariadb import Server
from consumers.release.double.model import Database, Table
from consumers.release.double.refusals import Json, failed
from consumers.release.double.tables import CANNOT_DROP_ALL, NO_SUCH_PARTITION, WorkerTables
from consumers.release.table import CHUNK, SUB_CHUNK

CZAR, INDEXES = "czar", "index"
ALREADY_EXISTS = 1050


class DirectorIndex:
    """The index tables, in a database of the front end.

    Parameters
    ----------
    server
        Where they are.
    folder
        For files under way; the server writes there.
    """

    def __init__(self, server: Server, folder: Path) -> None:
        self._server, self._folder = server, folder
        self._lock = threading.Lock()
        self.builds = 0

    @property
    def database(self) -> str:
        """The name in MariaDB of the database that has them."""
        return self._server.database(CZAR, INDEXES)

    def create_database(self) -> None:
        """Make the database."""
        self._server.execute(f"CREATE DATABASE IF NOT EXISTS `{self.database}`")

    def add_transaction(self, database: str, table: Table, transaction: int) -> None:
        """Make the index ready for rows of a transaction."""
        name, key = f"`{self.database}`.`{_name(database, table)}`", table.director_key
        partition = f"(PARTITION p{transaction} VALUES IN ({transaction}))"
        with self._lock:
            try:
                unique = "UNIQUE " if table.unique_primary_key else ""
                self._server.execute(
                    f"CREATE TABLE {name} (`qserv_trans_id` INT NOT NULL, {_columns(table)},"
                    f" {unique}KEY (`{key}`, `qserv_trans_id`)) ENGINE=InnoDB"
                    f" PARTITION BY LIST (`qserv_trans_id`) {partition}"
                )
            except pymysql.OperationalError as error:
                if error.args[0] != ALREADY_EXISTS:
                    raise
                self._server.execute(f"ALTER TABLE {name} ADD PARTITION IF NOT EXISTS {partition}")

    def drop_transaction(self, database: str, table: Table, transaction: int) -> None:
        """The rows of a transaction go."""
        name = f"`{self.database}`.`{_name(database, table)}`"
        try:
            self._server.execute(f"ALTER TABLE {name} DROP PARTITION p{transaction}")
        except pymysql.MySQLError as error:
            if error.args[0] == CANNOT_DROP_ALL:
                self._server.execute(f"ALTER TABLE {name} TRUNCATE PARTITION p{transaction}")
            elif error.args[0] != NO_SUCH_PARTITION:
                raise

    def fill(self, database: Database, table: Table, transaction: int, chunks: Mapping[str, Iterable[int]]) -> str:
        """Take in the rows of a transaction from the chunks of each worker; MariaDB's words where it refuses."""
        key = table.director_key
        with self._server.cursor() as cursor:
            for worker, numbers in chunks.items():
                source = self._server.database(worker, database.name)
                for chunk in numbers:
                    try:
                        cursor.execute(
                            f"INSERT INTO `{self.database}`.`{_name(database.name, table)}`"
                            f" SELECT `qserv_trans_id`, `{key}`, `{CHUNK}`, `{SUB_CHUNK}`"
                            f" FROM `{source}`.`{table.name}_{chunk}` PARTITION (p{transaction})"
                        )
                    except pymysql.MySQLError as error:
                        return str(error.args[1])
        return ""

    def build(
        self, database: Database, table: Table, workers: Mapping[str, WorkerTables], *, rebuild: bool, unique: bool
    ) -> Json:
        """Build the index of a director anew; what was refused, by worker and chunk."""
        if rebuild:
            self.drop(database.name, table)
        self._create_whole(database.name, table, unique)
        problems: Json = {}
        for worker, tables in workers.items():
            for chunk, name in tables.names(database.name, table):
                problem = self._load_chunk(database, table, worker, chunk, name)
                if problem:
                    problems.setdefault(worker, {})[str(chunk)] = problem
        return problems

    def drop(self, database: str, table: Table) -> None:
        """The index of a director goes."""
        self._server.execute(f"DROP TABLE IF EXISTS `{self.database}`.`{_name(database, table)}`")

    def rows(self, database: str, table: str) -> int:
        """How many entries the index of a director has."""
        return int(self._server.rows(f"SELECT COUNT(*) FROM `{self.database}`.`{database}__{table}`")[0][0])

    def _create_whole(self, database: str, table: Table, unique: bool) -> None:
        statement = (
            f"CREATE TABLE `{_name(database, table)}` ({_columns(table, ',')},"
            f"{'UNIQUE ' if unique else ''}KEY (`{table.director_key}`)) ENGINE=InnoDB"
        )
        with self._server.cursor() as cursor:
            cursor.execute(f"USE `{self.database}`")
            try:
                cursor.execute(statement)
            except pymysql.MySQLError as error:
                raise failed(
                    f"Connection[{cursor.connection.thread_id()}]::execute(_inTransaction=1)  mysql_real_query failed,"
                    f" query: '{statement}', error: {error.args[1]}, errno: {error.args[0]}"
                ) from None

    def _load_chunk(self, database: Database, table: Table, worker: str, chunk: int, name: str) -> str:
        """Bring a chunk's objects over in a file, as Qserv does; the first problem, empty where there is none."""
        self.builds += 1
        path = self._folder / f"index-{self.builds}-{name}"
        source = f"`{self._server.database(worker, database.name)}`.`{name}`"
        key, target = table.director_key, _name(database.name, table)
        form = "CHARACTER SET 'latin1' FIELDS TERMINATED BY '\\t' ESCAPED BY '\\\\' LINES TERMINATED BY '\\n'"
        with self._server.cursor() as cursor:
            try:
                cursor.execute(
                    f"SELECT `{key}`, `{CHUNK}`, `{SUB_CHUNK}` INTO OUTFILE '{path}' {form}"
                    f" FROM {source} ORDER BY `{key}`"
                )
                cursor.execute(f"USE `{self.database}`")
                cursor.execute(f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE `{target}` {form}")
                cursor.execute("SHOW WARNINGS")
                warnings = cursor.fetchall()
            finally:
                path.unlink(missing_ok=True)
        if not warnings:
            return ""
        return (
            f"JOB     {self.builds}  INDEX  IN_PROGRESS::NONE  _loadDataIntoTable failed to load data into the"
            " 'director' index table, ex: query: LOAD DATA LOCAL INFILE"
            f" '/qserv/data/ingest/{database.name}_{table.name}_{chunk}'"
            f" INTO TABLE `{target}` {form} failed with total number of problems: {len(warnings)},"
            f" first problem (Level,Code,Message) was: {','.join(map(str, warnings[0]))}"
        )


def _name(database: str, table: Table) -> str:
    return f"{database}__{table.name}"


def _columns(table: Table, between: str = ", ") -> str:
    key, sub_chunk = table.column(table.director_key), table.column(SUB_CHUNK)
    types = (key or {})["type"], "INT", (sub_chunk or {})["type"]
    return between.join(f"`{name}` {kind}" for name, kind in zip((table.director_key, CHUNK, SUB_CHUNK), types))
