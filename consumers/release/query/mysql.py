"""Qserv's MySQL protocol (port 4040), or a plain MariaDB: rows come as the other end sends them, unbuffered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pymysql
from pymysql.constants import FIELD_TYPE, FLAG
from pymysql.cursors import SSCursor

from consumers.release.query.columns import Value, array, arrow_type, once_each
from consumers.release.query.frontend import ROWS, Address, untrusted
from stream.errors import Fatal, SkyburstError, Transient, Wrong

CONNECT_S = 10
BATCH_BYTES, PIECE = 16 << 20, 200
"""A batch ends at about so many bytes; rows are fetched in pieces of so many, and of fewer where they are wide."""
_BINARY = 63
"""The character set that says: bytes."""
_TEXT = {
    FIELD_TYPE.VARCHAR, FIELD_TYPE.VAR_STRING, FIELD_TYPE.STRING, FIELD_TYPE.TINY_BLOB, FIELD_TYPE.MEDIUM_BLOB,
    FIELD_TYPE.LONG_BLOB, FIELD_TYPE.BLOB,
}  # fmt: skip
_WORDS = {
    FIELD_TYPE.TINY: "TINYINT", FIELD_TYPE.SHORT: "SMALLINT", FIELD_TYPE.INT24: "MEDIUMINT", FIELD_TYPE.LONG: "INT",
    FIELD_TYPE.LONGLONG: "BIGINT", FIELD_TYPE.FLOAT: "FLOAT", FIELD_TYPE.DOUBLE: "DOUBLE", FIELD_TYPE.YEAR: "YEAR",
    FIELD_TYPE.DATE: "DATE", FIELD_TYPE.NEWDATE: "DATE", FIELD_TYPE.DATETIME: "DATETIME", FIELD_TYPE.TIME: "TIME",
    FIELD_TYPE.TIMESTAMP: "TIMESTAMP", FIELD_TYPE.BIT: "BIT", FIELD_TYPE.NULL: "NULL", FIELD_TYPE.GEOMETRY: "GEOMETRY",
    FIELD_TYPE.ENUM: "ENUM", FIELD_TYPE.SET: "SET", FIELD_TYPE.JSON: "JSON",
}  # fmt: skip
_RIGHTS = {1044, 1045, 1130, 1142, 1143, 1227, 1370, 1698}
_ABORTED = {1317, 1927, 1969, 3024}
_AWAY = {1040, 1053, 1079, 1129, 1152, 1158, 1159, 1160, 1161, 1203, *range(2000, 2060)}


class MysqlFrontend:
    """SQL over the MySQL protocol: a connection for each query, so that leaving an answer early ends its query.

    Parameters
    ----------
    address
        ``mysql``; ``ssl_ca``, ``ssl_cert`` and ``ssl_key`` for TLS.
    plain
        The other end is a plain MariaDB, without Qserv's functions.
    """

    def __init__(self, address: Address, *, plain: bool = False) -> None:
        self.functions = not plain
        self._address = address

    @contextmanager
    def stream(self, sql: str, *, rows: int = ROWS) -> Iterator[pa.RecordBatchReader]:
        """The answer to a query; see `Frontend`. Holds a batch in memory, never the whole answer."""
        answer = _Answer(_connect(self._address), self._address.shown)
        try:
            yield answer.ask(sql, rows)
        finally:
            answer.close()

    def close(self) -> None:
        """Nothing stays open between queries."""


class _Answer:
    """One query's rows on a connection of their own."""

    def __init__(self, connection: pymysql.Connection[Any], where: str) -> None:
        self._connection = connection
        self._cursor = connection.cursor(SSCursor)
        self._where = where
        self._open = True

    def ask(self, sql: str, rows: int) -> pa.RecordBatchReader:
        with _translated(self._where):
            self._cursor.execute(sql)
        # The description of the DB API has neither the character set nor whether a number has a sign.
        fields = getattr(self._cursor._result, "fields", None)
        if fields is None:
            raise Wrong("query_no_rows", "the statement gives no rows", "ask with SELECT or SHOW")
        names = once_each([each.name for each in fields])
        schema = pa.schema([pa.field(name, arrow_type(mysql_type(each))) for name, each in zip(names, fields)])
        return pa.RecordBatchReader.from_batches(schema, self._batches(schema, rows))

    def _batches(self, schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
        while True:
            if not self._open:
                raise Wrong("query_closed", "the answer was left before its end", "read it inside of its context")
            some = self._some(rows)
            if not some:
                return
            columns = [array(one.name, values, one.type) for one, values in zip(schema, zip(*some), strict=True)]
            del some
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    def _some(self, rows: int) -> list[tuple[Value, ...]]:
        """The next rows: as many as asked for, fewer where they are wide, none at the end."""
        some: list[tuple[Value, ...]] = []
        nbytes, wanted = 0, 1
        with _translated(self._where):
            while len(some) < rows and nbytes < BATCH_BYTES:
                piece = self._cursor.fetchmany(min(wanted, rows - len(some)))
                if not piece:
                    break
                some += piece
                # One row stands for its piece; 50 bytes are what Python has for a value beside its text.
                width = sum(50 + len(value or "") for value in piece[-1])
                nbytes += len(piece) * width
                wanted = max(1, min(PIECE, (BATCH_BYTES - nbytes) // width))
        return some

    def close(self) -> None:
        self._open = False
        result = self._cursor._result
        if result is not None:
            # PyMySQL would read the rest of the answer first, however long it is; a closed line ends it.
            result.unbuffered_active = False
            result.has_next = False
        self._connection.close()


def mysql_type(field: Any) -> str:
    """The MySQL type of a field of PyMySQL's, in the words of ``CREATE TABLE``."""
    code = field.type_code
    unsigned = " UNSIGNED" if field.flags & FLAG.UNSIGNED else ""
    if code in (FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL):
        digits = field.length - bool(field.scale) - (not unsigned)
        return f"DECIMAL({digits},{field.scale})"
    if field.flags & (FLAG.ENUM | FLAG.SET):
        return "ENUM" if field.flags & FLAG.ENUM else "SET"
    if code in _TEXT:
        return "BLOB" if field.charsetnr == _BINARY else "TEXT"
    return _WORDS.get(code, "TEXT") + unsigned


def _connect(address: Address) -> pymysql.Connection[Any]:
    with _translated(address.shown):
        return pymysql.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password,
            database=address.database or None,
            charset="utf8mb4",
            conv={},  # values stay text: Arrow reads a column of it faster than Python a value
            connect_timeout=CONNECT_S,
            autocommit=None,
            ssl=address.tls(),
        )


@contextmanager
def _translated(where: str) -> Iterator[None]:
    try:
        yield
    except pymysql.MySQLError as error:
        raise untrusted(error, where) or _trouble(error, where) from error
    except OSError as error:
        raise Transient("query_away", f"{where}: {error}") from error


def _trouble(error: pymysql.MySQLError, where: str) -> SkyburstError:
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    said = f"{number} {error.args[1]}" if len(error.args) > 1 else str(error)
    if number in _RIGHTS:
        return Fatal("query_rights", f"{where} refuses this user: {said}", "check user, password and database")
    if number in _ABORTED:
        return SkyburstError("query_aborted", f"{where} ended the query: {said}", "ask for less, or ask again")
    if number in _AWAY or isinstance(error, pymysql.InterfaceError):
        return Transient("query_away", f"{where} cannot be reached: {said}")
    return SkyburstError("query_failed", f"{where} refuses the query: {said}")
