"""The calls of one worker: contributions by reference and by value, their state, retries and cancelling."""
# ruff: noqa: S608 (words in an error, no statement)

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from urllib.parse import urlsplit

from consumers.release.double.contribution import Contribution, CsvDialect, Status
from consumers.release.double.core import INSTANCE, Core
from consumers.release.double.http import Call, Route
from consumers.release.double.loading import Loading, outcome, temporary_name
from consumers.release.double.model import Life, Table
from consumers.release.double.refusals import VERSION, Fields, Json, Refused, failed, invalid, json_type

NUM_RETRIES, MAX_RETRIES, MAX_WARNINGS = 1, 10, 64
JSON_DIALECT = CsvDialect(fields_enclosed_by='"')
BINARY = ("BINARY", "VARBINARY", "BLOB", "TINYBLOB", "MEDIUMBLOB", "LONGBLOB", "BIT")
DECODERS: dict[str, Callable[[object], bytes]] = {
    "hex": lambda value: bytes.fromhex(str(value)),
    "b64": lambda value: base64.b64decode(str(value)),
    "array": lambda value: bytes(value),  # type: ignore[call-overload]
}


class Worker:
    """A worker's ingest service.

    Parameters
    ----------
    name
        Its name.
    core, loading
        The double's inside.
    """

    def __init__(self, name: str, core: Core, loading: Loading) -> None:
        self.name, self._core, self._loading = name, core, loading
        self._rows = 0

    @property
    def routes(self) -> list[Route]:
        """What it can do."""
        return [
            Route("GET", "meta/version", self._version, versioned=False),
            Route("POST", "ingest/data", self._data, 35),
            Route("POST", "ingest/csv", self._csv, 38, form=True),
            Route("POST", "ingest/file", self._file, 16),
            Route("PUT", "ingest/file/{id}", self._retry_file, 16),
            Route("POST", "ingest/file-async", self._file_async, 16),
            Route("PUT", "ingest/file-async/{id}", self._retry_async, 16),
            Route("GET", "ingest/file-async/{id}", self._status, 13),
            Route("DELETE", "ingest/file-async/{id}", self._cancel, 13),
            Route("GET", "ingest/file-async/trans/{id}", self._status_of_transaction, 13),
            Route("DELETE", "ingest/file-async/trans/{id}", self._cancel_transaction, 13),
        ]

    async def _version(self, call: Call) -> Json:
        return {"kind": "replication-worker-ingest", "id": self.name, "instance_id": INSTANCE, "version": VERSION}

    async def _file(self, call: Call) -> Json:
        contribution = self._by_reference(call, is_async=False)
        await self._loading.now(contribution)
        return outcome(contribution, by_reference=True)

    async def _file_async(self, call: Call) -> Json:
        contribution = self._by_reference(call, is_async=True)
        told = contribution.described()
        self._loading.submit(contribution)
        return {"contrib": told}

    async def _csv(self, call: Call) -> Json:
        fields = call.fields
        new = self._new(fields, f"data-csv://{call.client}/{call.file_name}", is_async=False)
        new.dialect = CsvDialect.of(fields)
        self._create(new)
        if call.file is None:
            raise invalid("no file was found in the request")
        await self._loading.now(new, call.file)
        return outcome(new, by_reference=False)

    async def _data(self, call: Call) -> Json:
        rows = call.fields.array("rows")
        if not rows:
            raise Refused("a collection of rows in the request is empty")
        new = self._new(call.fields, f"data-json://{call.client}/", is_async=False)
        new.dialect = JSON_DIALECT
        self._create(new)
        table = self._core.memory.databases[new.database].tables[new.table]
        try:
            text = _lines(rows, table, call.fields.text("binary_encoding", "hex"))
        except Refused as no:
            new.status, new.error, new.start_time = Status.START_FAILED, no.error, self._core.now()
            new.tmp_file = temporary_name(new)
            self._core.memory.keep(new)
            raise
        self._rows += 1
        path = self._core.folder / f"{self.name}-rows-{self._rows}"
        await asyncio.to_thread(path.write_bytes, text)
        try:
            new.num_rows = len(rows)
            await self._loading.now(new, path)
        finally:
            path.unlink(missing_ok=True)
        if new.num_bytes:
            # Qserv counts its rows as they go to MySQL, the transaction's number and one byte a column included.
            new.num_bytes += len(rows) * (len(str(new.transaction_id)) + len(table.columns))
            self._core.memory.keep(new)
        return outcome(new, by_reference=False)

    async def _retry_file(self, call: Call) -> Json:
        contribution = self._again(call, is_async=False)
        await self._loading.now(contribution)
        return outcome(contribution, by_reference=True)

    async def _retry_async(self, call: Call) -> Json:
        contribution = self._again(call, is_async=True)
        told = contribution.described()
        self._loading.submit(contribution)
        return {"contrib": told}

    async def _status(self, call: Call) -> Json:
        return {"contrib": self._mine(call).described()}

    async def _status_of_transaction(self, call: Call) -> Json:
        return {"contribs": [each.described() for each in self._async_of(call)]}

    async def _cancel(self, call: Call) -> Json:
        contribution = self._mine(call)
        self._loading.cancel(contribution)
        return {"contrib": contribution.described()}

    async def _cancel_transaction(self, call: Call) -> Json:
        every = self._async_of(call)
        for each in every:
            self._loading.cancel(each)
        return {"contribs": [each.described() for each in every]}

    def _mine(self, call: Call) -> Contribution:
        number = _number(call)
        contribution = self._core.memory.contributions.get(number)
        if contribution is None or contribution.worker != self.name:
            raise failed(f"the contribution {number} is not known to worker '{self.name}'")
        return contribution

    def _async_of(self, call: Call) -> list[Contribution]:
        transaction = self._core.memory.transaction(_number(call))
        every = self._core.memory.contributions_of(transaction.id)
        return [each for each in every if each.worker == self.name and each.is_async]

    def _again(self, call: Call, *, is_async: bool) -> Contribution:
        contribution = self._mine(call)
        if contribution.status is not Status.READ_FAILED:
            raise failed(
                f"the contribution {contribution.id} is in the state {contribution.status}, no retry is allowed"
            )
        self._loading.note_failure(contribution)
        contribution.is_async, contribution.status = is_async, Status.IN_PROGRESS
        self._core.memory.keep(contribution)
        return contribution

    def _by_reference(self, call: Call, *, is_async: bool) -> Contribution:
        fields = call.fields
        new = self._new(fields, fields.text("url"), is_async=is_async)
        new.dialect = CsvDialect.of(fields)
        new.http_method = fields.text("http_method", "GET")
        new.http_data = fields.text("http_data", "")
        new.http_headers = fields.array("http_headers", [])
        new.max_retries = min(fields.whole("max_retries", NUM_RETRIES), MAX_RETRIES)
        if urlsplit(new.url).scheme not in ("file", "http", "https"):
            raise self._bad_scheme(new)
        self._create(new)
        return new

    def _new(self, fields: Fields, url: str, *, is_async: bool) -> Contribution:
        memory = self._core.memory
        number, chunk, overlap = (fields.unsigned(name) for name in ("transaction_id", "chunk", "overlap"))
        name = fields.text("table")
        transaction = memory.transaction(number)
        if name not in memory.database(transaction.database).tables:
            raise failed(
                f"DatabaseInfo::findTable no such table '{name}' found in the database '{transaction.database}'."
            )
        return Contribution(
            memory.next_id("contribution"),
            number,
            self.name,
            transaction.database,
            name,
            chunk,
            bool(overlap),
            url,
            is_async,
            charset_name=fields.text("charset_name", "latin1"),
            max_num_warnings=fields.whole("max_num_warnings", MAX_WARNINGS),
            create_time=self._core.now(),
        )

    def _create(self, new: Contribution) -> None:
        """Enter a contribution into the books, or enter that it could not be made."""
        try:
            new.dialect.check()
        except Refused as no:
            new.error, new.retry_allowed = no.error.partition("ex: ")[2], True
            new.status = Status.CREATE_FAILED
            self._core.memory.keep(new)
            raise
        if self._core.memory.transactions[new.transaction_id].state is not Life.STARTED:
            new.error, new.status = f"transactionId={new.transaction_id} is not active", Status.CREATE_FAILED
            self._core.memory.keep(new)
            raise Refused(new.error)
        self._core.memory.keep(new)

    def _bad_scheme(self, new: Contribution) -> Refused:
        """Qserv's own mistake: it enters the contribution before it looks at the URL, into a transaction it has not."""
        kind = "ASYNC" if new.is_async else "SYNC"
        return failed(
            f"Connection[{new.id}]::execute(_inTransaction=1)  mysql_real_query failed, query: 'INSERT INTO"
            f" `transaction_contrib` VALUES (NULL,4294967295,'','','',0,0,'','{kind}',0,0,0,0,{new.create_time},0,0,0,"
            "'CREATE_FAILED','',0,0,0,0,'INGEST-REQUEST  IngestRequest Url::_translate: invalid url"
            f" \\'{new.url}\\'',0)', error: Cannot add or update a child row: a foreign key constraint fails"
            " (`qservreplica`.`transaction_contrib`, CONSTRAINT `transaction_contrib_fk_1` FOREIGN KEY"
            " (`transaction_id`) REFERENCES `transaction` (`id`) ON DELETE CASCADE ON UPDATE CASCADE), errno: 1452"
        )


def _number(call: Call) -> int:
    try:
        return int(call.path["id"])
    except ValueError:
        raise invalid(f"{call.path['id']} is no number") from None


def _lines(rows: list[object], table: Table, encoding: str) -> bytes:
    """JSON rows as the service writes them: every value enclosed, floats with six decimals, nothing escaped."""
    if encoding not in DECODERS:
        raise invalid(f"unsupported binary encoding '{encoding}'")
    columns = table.columns[1:]
    binary = [column["type"].split("(")[0].split()[0].upper() in BINARY for column in columns]
    lines = []
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(columns):
            raise Refused("the row size in the request doesn't match the table schema")
        values = [_value(value, number, at, binary[at], encoding) for at, value in enumerate(row)]
        lines.append(b"\t".join(b'"' + value + b'"' for value in values) + b"\n")
    return b"".join(lines)


def _value(value: object, row: int, column: int, binary: bool, encoding: str) -> bytes:
    if binary:
        try:
            return DECODERS[encoding](value)
        except (ValueError, TypeError):
            raise Refused(f"failed to decode a value of a binary column at row {row} and column {column}") from None
    if isinstance(value, bool):
        return b"1" if value else b"0"
    if isinstance(value, int):
        return str(value).encode()
    if isinstance(value, float):
        return f"{value:f}".encode()
    if isinstance(value, str):
        return value.encode()
    raise Refused(
        f"unsupported type name '{json_type(value)}' found at row {row} and column {column}"
        " where the boolean, numeric or string type was expected"
    )
