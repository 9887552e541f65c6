"""What the workers hold: MyISAM tables, one for each chunk and overlap, cut into partitions by transaction.

An abort drops the transaction's partition, and publishing takes the partitions away, as Qserv does.
"""
# ruff: noqa: S608 (names cannot be parameters, and the server is the double's own)

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pymysql

from consumers.release.double.contribution import CsvDialect
from consumers.release.double.mariadb import Server
from consumers.release.double.model import DUMMY_CHUNK, Database, Table
from consumers.release.double.refusals import Json

CANNOT_DROP_ALL, NO_SUCH_PARTITION, SAME_PARTITION, NOT_PARTITIONED = 1508, 1507, 1517, 1505


class LoadRefused(Exception):
    """MariaDB did not take a file: its number and words."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(number, message)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What MariaDB says of a file that it took."""

    rows: int
    num_warnings: int
    warnings: list[Json]


@dataclass(frozen=True, slots=True, order=True)
class Rows:
    """How many rows of a transaction a table of a worker holds; `chunk` is 0 and `overlap` false of a regular table."""

    worker: str
    table: str
    chunk: int
    overlap: bool
    transaction: int
    rows: int


def chunk_table(table: Table, chunk: int, overlap: bool) -> str:
    """The name of the table that has a chunk's rows."""
    if not table.is_partitioned:
        return table.name
    return f"{table.name}{'FullOverlap' if overlap else ''}_{chunk}"


def chunk_of(name: str, tables: Iterable[Table]) -> tuple[Table, int, bool] | None:
    """Table, chunk and overlap of a table that holds rows; None of a prototype."""
    for table in tables:
        if not table.is_partitioned:
            if name.lower() == table.name.lower():
                return table, 0, False
            continue
        for overlap in (False, True):
            head = chunk_table(table, 0, overlap)[:-1].lower()
            if name.lower().startswith(head) and name[len(head) :].isdigit():
                return table, int(name[len(head) :]), overlap
    return None


class WorkerTables:
    """The tables of one worker.

    Parameters
    ----------
    worker
        Its name.
    server
        Where they are.
    """

    def __init__(self, worker: str, server: Server) -> None:
        self.worker, self.server = worker, server
        self._ready: set[tuple[str, str, int]] = set()
        self._making = threading.Lock()

    def create_database(self, database: str) -> None:
        """An empty database."""
        self.server.execute(f"CREATE DATABASE IF NOT EXISTS `{self._name(database)}`")

    def drop_database(self, database: str) -> None:
        """The database goes with all it holds."""
        self.server.execute(f"DROP DATABASE IF EXISTS `{self._name(database)}`")
        self._ready = {key for key in self._ready if key[0] != database}

    def create_table(self, database: str, table: Table) -> None:
        """A regular table, or a partitioned one's prototype, which holds no rows."""
        self._create(database, table, table.name, 0)

    def drop_table(self, database: Database, table: Table) -> None:
        """A table goes, with those of all of its chunks."""
        names = [name for name in self._names(database.name) if self._belongs(name, table)]
        for name in names:
            self.server.execute(f"DROP TABLE IF EXISTS `{self._name(database.name)}`.`{name}`")
        self._ready = {key for key in self._ready if key[0] != database.name or key[1] not in names}

    def prepare(self, database: Database, chunk: int, transaction: int) -> None:
        """Make a chunk's tables ready for rows of a transaction: those of all partitioned tables not yet published."""
        for table in database.partitioned:
            if table.is_published:
                continue
            for overlap in (False, True):
                self._prepare(database.name, table, chunk_table(table, chunk, overlap), transaction)

    def prepare_regular(self, database: str, table: Table, transaction: int) -> None:
        """Make a regular table ready for rows of a transaction."""
        self._prepare(database, table, table.name, transaction)

    def load(
        self,
        database: str,
        table: Table,
        name: str,
        path: Path,
        dialect: CsvDialect,
        charset: str,
        transaction: int,
        most_warnings: int,
    ) -> Loaded:
        """LOAD DATA a file of this machine.

        Raises
        ------
        LoadRefused
            MariaDB did not take it.
        """
        columns = ", ".join(f"`{column['name']}`" for column in table.columns[1:])
        statement = (
            f"LOAD DATA INFILE '{pymysql.converters.escape_string(str(path))}'"
            f" INTO TABLE `{self._name(database)}`.`{name}` CHARACTER SET '{charset}'"
            f" {dialect.clause} ({columns}) SET `qserv_trans_id` = {transaction}"
        )
        with self.server.cursor() as cursor:
            try:
                rows = cursor.execute(statement)
            except pymysql.MySQLError as error:
                raise LoadRefused(
                    error.args[0], self.server.as_told(str(error.args[1]), self.worker, database)
                ) from None
            warned = cursor.warning_count
            if not warned:
                return Loaded(rows, 0, [])
            cursor.execute(f"SHOW WARNINGS LIMIT {most_warnings}")
            told = [
                {"level": level, "code": code, "message": self.server.as_told(text, self.worker, database)}
                for level, code, text in cursor.fetchall()
            ]
            return Loaded(rows, warned, told)

    def drop_transaction(self, database: Database, transaction: int) -> None:
        """The rows of a transaction go."""
        for name in self._names(database.name, partition=f"p{transaction}"):
            where = f"`{self._name(database.name)}`.`{name}`"
            try:
                self.server.execute(f"ALTER TABLE {where} DROP PARTITION p{transaction}")
            except pymysql.MySQLError as error:
                if error.args[0] != CANNOT_DROP_ALL:
                    raise
                self.server.execute(f"ALTER TABLE {where} TRUNCATE PARTITION p{transaction}")
        self._ready = {key for key in self._ready if (key[0], key[2]) != (database.name, transaction)}

    def publish(self, database: Database) -> None:
        """The dummy chunk's tables come, partitions go."""
        for table in database.partitioned:
            for overlap in (False, True):
                self._create(database.name, table, chunk_table(table, DUMMY_CHUNK, overlap), 0)
        for name in self._names(database.name, partition="p%"):
            self.server.execute(f"ALTER TABLE `{self._name(database.name)}`.`{name}` REMOVE PARTITIONING")
        self._ready = {key for key in self._ready if key[0] != database.name}

    def rows(self, database: str, tables: Sequence[Table]) -> list[Rows]:
        """Rows by table, chunk, overlap and transaction; empty tables have none."""
        found = []
        for name in self._names(database):
            known = chunk_of(name, tables)
            if known is None:
                continue
            table, chunk, overlap = known
            counted = self.server.rows(
                f"SELECT qserv_trans_id, COUNT(*) FROM `{self._name(database)}`.`{name}` GROUP BY 1 ORDER BY 1"
            )
            found += [Rows(self.worker, table.name, chunk, overlap, *each) for each in counted]
        return found

    def names(self, database: str, table: Table, *, overlap: bool = False) -> list[tuple[int, str]]:
        """Chunk and name of each of a table's tables that hold rows."""
        found = [(chunk_of(name, [table]), name) for name in self._names(database)]
        return sorted((known[1], name) for known, name in found if known and known[2] == overlap)

    def sizes(self, database: str) -> dict[str, tuple[int, int]]:
        """Bytes of data and of indexes by table's name, lower case."""
        rows = self.server.rows(
            "SELECT table_name, data_length, index_length FROM information_schema.tables WHERE table_schema = %s",
            (self._name(database),),
        )
        return {name.lower(): (int(data), int(index)) for name, data, index in rows}

    def _name(self, database: str) -> str:
        return self.server.database(self.worker, database)

    def _belongs(self, name: str, table: Table) -> bool:
        return name.lower() == table.name.lower() or chunk_of(name, [table]) is not None

    def _names(self, database: str, *, partition: str = "") -> list[str]:
        where = "table_schema = %s" + (" AND partition_name LIKE %s" if partition else "")
        rows = self.server.rows(
            f"SELECT DISTINCT table_name FROM information_schema.partitions WHERE {where} ORDER BY 1",
            (self._name(database), partition) if partition else (self._name(database),),
        )
        return [name for (name,) in rows]

    def _prepare(self, database: str, table: Table, name: str, transaction: int) -> None:
        key = database, name, transaction
        if key in self._ready:
            return
        with self._making:
            if key in self._ready:
                return
            if not self._create(database, table, name, transaction):
                try:
                    self.server.execute(
                        f"ALTER TABLE `{self._name(database)}`.`{name}` ADD PARTITION IF NOT EXISTS"
                        f" (PARTITION p{transaction} VALUES IN ({transaction}))"
                    )
                except pymysql.MySQLError as error:
                    raise LoadRefused(*error.args) from None
            self._ready.add(key)

    def _create(self, database: str, table: Table, name: str, transaction: int) -> bool:
        """Make a table with one partition; whether it was not there."""
        columns = ", ".join(f"`{column['name']}` {column['type']}" for column in table.columns)
        with self.server.cursor() as cursor:
            cursor.execute(
                f"CREATE TABLE IF NOT EXISTS `{self._name(database)}`.`{name}` ({columns}) ENGINE=MyISAM"
                f" DEFAULT CHARSET={table.charset_name} COLLATE={table.collation_name}"
                f" PARTITION BY LIST (qserv_trans_id) (PARTITION p{transaction} VALUES IN ({transaction}))"
            )
            return not cursor.warning_count
