"""Many rows by one command: MariaDB's own bulk command, which aiomysql does not speak.

The statement is parsed once a connection, and rows travel as the numbers that they are: a row of Level-1 costs the
server 11 µs of CPU so, where it takes 20 for the same row as text.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import aiomysql
from pymysql.constants import CLIENT, COMMAND, CR, ER
from pymysql.err import MySQLError, OperationalError
from pymysql.protocol import MysqlPacket

from stream.log import Log

_COM_BULK = 0xFA
_SEND_TYPES = 128
_OFFERED_AT = 27
"""Where in a greeting, counted from behind the server's version, MariaDB tells what it offers beyond MySQL."""
_OURS_AT = 28
"""Where in our answer, counted from its beginning, a client tells which of that it will use."""
_ANSWER_HEAD = 32
_BULK = 1 << 2
"""``MARIADB_CLIENT_STMT_BULK_OPERATIONS``, in those 32 bits."""

_REFUSED = {ER.UNKNOWN_COM_ERROR, ER.UNSUPPORTED_PS, ER.MAX_PREPARED_STMT_COUNT_REACHED}
"""Errors of the command itself, which come before any row: of a server that may keep no more prepared statements, or of
what stands before it and passes a greeting on, but not all commands."""

_log = Log("stream.tables")


@dataclass(frozen=True, slots=True)
class Bulk:
    """An INSERT with all its rows.

    Attributes
    ----------
    sql
        With a question mark for each value of a row.
    types
        Two bytes a value: its type, and whether it is unsigned.
    rows
        For each value of each row: 0 and its bytes, or 1 for NULL.
    text
        Gives the same as statements without parameters, for a server (or what stands before it) that takes no bulk:
        CPU work.
    """

    sql: str
    types: bytes
    rows: bytes = field(repr=False)
    text: Callable[[], Iterable[str]]


class BulkConnection(aiomysql.Connection):  # type: ignore[misc]
    """aiomysql's connection, whose `query` takes a `Bulk`, too.

    Attributes
    ----------
    bulk
        Whether the server takes the command; `query` sends statements where it does not, and once it has refused it.
        None before its greeting.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.bulk: bool | None = None
        self._answering = False
        self._prepared: dict[str, int] = {}

    async def query(self, sql: str | Bulk, unbuffered: bool = False) -> Any:
        """Send a statement or a bulk, and read the answer."""
        if not isinstance(sql, Bulk):
            return await super().query(sql, unbuffered)
        if self.bulk:
            try:
                return await self._bulk(sql)
            except MySQLError as error:
                if error.args[0] == ER.UNKNOWN_STMT_HANDLER:
                    # The session that prepared it is gone, and with it the transaction and its locks.
                    self.close()
                    raise OperationalError(CR.CR_SERVER_LOST, f"the session was exchanged: {error}") from error
                if error.args[0] not in _REFUSED:
                    raise
                self.bulk = False
                _log.warning("bulk_refused", code="bulk_refused", detail=str(error))
        for statement in await asyncio.to_thread(lambda: tuple(sql.text())):
            await super().query(statement)
        return self._affected_rows

    async def _bulk(self, sql: Bulk) -> Any:
        number = self._prepared.get(sql.sql)
        if number is None:
            number = self._prepared[sql.sql] = await self._prepare(sql.sql)
        head = struct.pack("<IH", number, _SEND_TYPES)
        await self._execute_command(_COM_BULK, b"".join((head, sql.types, sql.rows)))
        await self._read_query_result()
        return self._affected_rows

    async def _prepare(self, sql: str) -> int:
        await self._execute_command(COMMAND.COM_STMT_PREPARE, sql)
        answer = (await self._read_packet()).get_all_data()
        number, _, values = struct.unpack_from("<IHH", answer, 1)
        for _ in range(values + bool(values)):  # what each value would be, and an end
            await self._read_packet()
        return int(number)

    async def _get_server_information(self) -> None:
        self.bulk = None
        self._prepared.clear()
        await super()._get_server_information()

    async def _read_packet(self, packet_type: type[MysqlPacket] = MysqlPacket) -> Any:
        packet = await super()._read_packet(packet_type)
        if self.bulk is None:
            self.bulk = _offers_bulk(packet.get_all_data())
        return packet

    async def _request_authentication(self) -> None:
        if self.bulk:
            # Without this bit a client is MariaDB's own kind, whose answer has 32 bits more.
            self.client_flag &= ~CLIENT.LONG_PASSWORD
        self._answering = bool(self.bulk)
        try:
            await super()._request_authentication()
        finally:
            self._answering = False

    def write_packet(self, payload: bytes) -> None:
        """Send a packet; in the answer to a greeting, what we use of what MariaDB offers is filled in."""
        head = payload[:_ANSWER_HEAD]
        if self._answering and len(head) == _ANSWER_HEAD and head.startswith(struct.pack("<I", self.client_flag)):
            payload = head[:_OURS_AT] + struct.pack("<I", _BULK) + payload[_ANSWER_HEAD:]
        super().write_packet(payload)


async def connect(**arguments: Any) -> BulkConnection:
    """Open a connection; arguments and errors are those of ``aiomysql.connect``."""
    connection = BulkConnection(**arguments)
    await connection._connect()
    return connection


def _offers_bulk(greeting: bytes) -> bool:
    behind = greeting[1:].partition(b"\0")[2]
    if len(behind) < _OFFERED_AT + 4:
        return False
    low = struct.unpack_from("<H", behind, 13)[0]
    offered = struct.unpack_from("<I", behind, _OFFERED_AT)[0]
    return not low & CLIENT.LONG_PASSWORD and bool(offered & _BULK)
