"""A contribution's way: wait for its turn, read, make the tables, LOAD DATA, tell what came of it."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections import defaultdict, deque
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import aiohttp
import numpy as np
import pymysql

from consumers.release.double.contribution import Contribution, Status
from consumers.release.double.core import LOADER_THREADS, Core
from consumers.release.double.model import Life
from consumers.release.double.refusals import Refused
from consumers.release.double.tables import Loaded, LoadRefused, chunk_table

BLOCK = 2**18
NEWLINE, BACKSLASH = 10, 92
ESCAPED_NEWLINE = re.compile(rb"(?<!\\)(?:\\\\)*\\\n")
# What errno held when Qserv looked at it after a failure that was none of the system's.
LEFT_OVER_ERRNO = 11
NO_SUCH_TABLE = 1146
HTTP_FAILED = " error: 'HTTP response code said error (on HTTP error codes 400 or greater)', errnum: 22"
UNREACHABLE = " error: 'Couldn't connect to server', errnum: 7"


class ReadFailed(Exception):
    """The file of a contribution cannot be read."""

    def __init__(self, error: str, http: int = 0, system: int = 0) -> None:
        super().__init__(error)
        self.error, self.http, self.system = error, http, system


class Loading:
    """All contributions under way.

    Parameters
    ----------
    core
        The double's inside.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._waiting: dict[str, deque[Contribution]] = {name: deque() for name in core.workers}
        self._running: dict[str, list[Contribution]] = {name: [] for name in core.workers}
        self._slots = {name: asyncio.Semaphore(LOADER_THREADS) for name in core.workers}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loading: dict[int, int] = defaultdict(int)
        self._changed = asyncio.Condition()
        self._http: aiohttp.ClientSession | None = None
        self._numbers = 0
        self._closed = False

    async def close(self) -> None:
        """Drop what is under way."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.close()

    def resume(self) -> None:
        """After a restart: what waits goes on; what was being loaded has failed, since nobody knows how far it came."""
        for each in self._core.memory.contributions.values():
            if each.status is not Status.IN_PROGRESS:
                continue
            if each.is_async and not each.loading:
                self.submit(each)
            else:
                self._fail(each, Status.LOAD_FAILED, "the service was restarted while the file was being loaded")

    def submit(self, contribution: Contribution) -> None:
        """Put an asynchronous contribution at the end of its worker's queue."""
        self._waiting[contribution.worker].append(contribution)
        self._pump(contribution.worker)

    def cancel(self, contribution: Contribution) -> None:
        """A contribution that waits is cancelled; one that runs, or ended, is left alone."""
        waiting = self._waiting[contribution.worker]
        if contribution in waiting:
            waiting.remove(contribution)
            contribution.status = Status.CANCELLED
            self._core.memory.keep(contribution)

    async def now(self, contribution: Contribution, path: Path | None = None) -> None:
        """Process a contribution whose caller waits; `path` is the file of one by value."""
        async with self._slots[contribution.worker]:
            await self._process(contribution, path)

    async def quiet(self, transaction: int) -> None:
        """Wait until no file of a transaction is being loaded."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._loading[transaction])

    def _pump(self, worker: str) -> None:
        waiting, running = self._waiting[worker], self._running[worker]
        while waiting and len(running) < LOADER_THREADS:
            ready = next((each for each in waiting if self._allowed(each, running)), None)
            if ready is None:
                return
            waiting.remove(ready)
            running.append(ready)
            task = asyncio.create_task(self._process(ready, None))
            self._tasks.add(task)
            task.add_done_callback(partial(self._ended, ready))

    def _ended(self, contribution: Contribution, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._running[contribution.worker].remove(contribution)
        if not self._closed:
            task.result()
            self._pump(contribution.worker)

    def _allowed(self, contribution: Contribution, running: list[Contribution]) -> bool:
        database = self._core.memory.databases.get(contribution.database)
        limit = database.config.get("ASYNC_PROC_LIMIT", 0) if database else 0
        return not limit or sum(each.database == contribution.database for each in running) < limit

    async def _process(self, contribution: Contribution, path: Path | None) -> None:
        memory, transaction = self._core.memory, contribution.transaction_id
        if not self._starts(contribution):
            return
        self._loading[transaction] += 1
        try:
            await self._core.troubles.delay(self._core.clock)
            read = await self._read(contribution, path)
            if read is not None:
                contribution.loading = True
                memory.keep(contribution)
                await self._load(contribution, read)
                if read.parent == self._core.folder and read != path:
                    read.unlink(missing_ok=True)
        finally:
            async with self._changed:
                self._loading[transaction] -= 1
                self._changed.notify_all()

    def _starts(self, contribution: Contribution) -> bool:
        contribution.start_time = self._core.now()
        contribution.status = Status.IN_PROGRESS
        contribution.error, contribution.http_error, contribution.system_error = "", 0, 0
        contribution.retry_allowed = False
        memory = self._core.memory
        transaction = memory.transactions.get(contribution.transaction_id)
        if transaction is None or transaction.state is not Life.STARTED:
            self._fail(
                contribution,
                Status.START_FAILED,
                f"transactionId={contribution.transaction_id} is not active",
                system=0,
            )
            return False
        database = memory.databases[contribution.database]
        table = database.tables.get(contribution.table)
        if table is None or table.is_published:
            text = f"table '{contribution.table}' of the database '{database.name}' is already published"
            self._fail(contribution, Status.START_FAILED, text)
            return False
        if table.is_partitioned and database.chunks.get(contribution.chunk) != contribution.worker:
            self._fail(
                contribution,
                Status.START_FAILED,
                f"INGEST-FILE-SVC openFile chunk {contribution.chunk} of the UNPUBLISHED database '{database.name}'"
                f" is not allocated to worker '{contribution.worker}'",
            )
            return False
        return True

    async def _read(self, contribution: Contribution, given: Path | None) -> Path | None:
        """The file to load, its rows and bytes counted; None where it could not be read, as often as is allowed."""
        while True:
            contribution.tmp_file = temporary_name(contribution)
            try:
                if given is None and self._core.troubles.read_fails():
                    raise ReadFailed(HTTP_FAILED, http=404)
                path = given or await self._fetched(contribution)
                escaped = contribution.dialect.fields_escaped_by == "\\\\"
                contribution.num_bytes, rows = await self._core.run(measured, path, escaped)
                contribution.num_rows = contribution.num_rows or rows
            except ReadFailed as error:
                contribution.read_time = self._core.now()
                self._fail(
                    contribution, Status.READ_FAILED, error.error, http=error.http, system=error.system, again=True
                )
                if contribution.num_failed_retries >= contribution.max_retries:
                    return None
                self.note_failure(contribution)
                contribution.status, contribution.start_time = Status.IN_PROGRESS, self._core.now()
            else:
                contribution.read_time = self._core.now()
                contribution.error, contribution.http_error, contribution.system_error = "", 0, 0
                contribution.retry_allowed = False
                return path

    def note_failure(self, contribution: Contribution) -> None:
        """Put the failed attempt aside, before the next."""
        contribution.num_failed_retries += 1
        names = ("error", "http_error", "num_bytes", "num_rows", "read_time", "start_time", "system_error", "tmp_file")
        contribution.failed_retries.append({name: getattr(contribution, name) for name in names})

    async def _fetched(self, contribution: Contribution) -> Path:
        url = urlsplit(contribution.url)
        if url.scheme == "file":
            return Path(unquote(url.path))
        if self._http is None:
            self._http = aiohttp.ClientSession()
        self._numbers += 1
        path = self._core.folder / f"fetched-{self._numbers}"
        headers = dict(line.split(":", 1) for line in contribution.http_headers if ":" in line)
        data = contribution.http_data or None
        try:
            async with self._http.request(
                contribution.http_method, contribution.url, data=data, headers=headers
            ) as answer:
                if answer.status >= 400:
                    raise ReadFailed(HTTP_FAILED, http=answer.status)
                with path.open("wb") as file:
                    async for block in answer.content.iter_chunked(BLOCK):
                        await self._core.run(file.write, block)
        except aiohttp.ClientError:
            raise ReadFailed(UNREACHABLE) from None
        return path

    async def _load(self, contribution: Contribution, path: Path) -> None:
        try:
            loaded = await self._core.run(self._loaded, contribution, path)
        except (LoadRefused, pymysql.MySQLError) as error:
            number, message = (*error.args, "")[:2]
            text = (
                f"MySQL load failed, ex: Connection[{contribution.id}]::execute(_inTransaction=1)"
                f"  mysql_real_query failed, query: '{_statement(contribution)}', error: {message}, errno: {number}"
            )
            contribution.load_time = self._core.now()
            self._fail(contribution, Status.LOAD_FAILED, text)
            return
        contribution.num_rows_loaded = loaded.rows
        contribution.num_warnings, contribution.warnings = loaded.num_warnings, loaded.warnings
        contribution.load_time = self._core.now()
        contribution.status, contribution.loading = Status.FINISHED, False
        self._core.memory.keep(contribution)

    def _loaded(self, contribution: Contribution, path: Path) -> Loaded:
        database = self._core.memory.databases.get(contribution.database)
        table = database.tables.get(contribution.table) if database else None
        if database is None or table is None:
            raise LoadRefused(NO_SUCH_TABLE, f"Table '{contribution.database}.{contribution.table}' doesn't exist")
        tables = self._core.workers[contribution.worker]
        if table.is_partitioned:
            tables.prepare(database, contribution.chunk, contribution.transaction_id)
        else:
            tables.prepare_regular(database.name, table, contribution.transaction_id)
        return tables.load(
            database.name,
            table,
            chunk_table(table, contribution.chunk, contribution.overlap),
            path,
            contribution.dialect,
            contribution.charset_name,
            contribution.transaction_id,
            contribution.max_num_warnings,
        )

    def _fail(
        self,
        contribution: Contribution,
        status: Status,
        error: str,
        *,
        http: int = 0,
        system: int = LEFT_OVER_ERRNO,
        again: bool = False,
    ) -> None:
        contribution.status, contribution.error = status, error
        contribution.http_error, contribution.system_error = http, system
        contribution.retry_allowed, contribution.loading = again, False
        self._core.memory.keep(contribution)


def outcome(contribution: Contribution, *, by_reference: bool) -> dict[str, object]:
    """What the caller of a contribution that it waited for is told; refused where it did not finish."""
    if contribution.status is Status.FINISHED:
        return {"contrib": contribution.described(extensions=True, retries=True, warnings=True)}
    if contribution.error.startswith(("INGEST-FILE-SVC", "Csv::Parser")):
        raise Refused(f"invalid parameters of the request, ex: {contribution.error}")
    names = ("http_error", "system_error", "retry_allowed") if by_reference else ()
    raise Refused(contribution.error, {name: int(getattr(contribution, name)) for name in names})


def measured(path: Path, escaped: bool) -> tuple[int, int]:
    """Bytes and rows of a file; a newline after a backslash ends no row where backslashes escape.

    Raises
    ------
    ReadFailed
        It cannot be opened.
    """
    size, rows, last, odd = 0, 0, 0, False
    buffer = bytearray(BLOCK)
    try:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                block = np.frombuffer(buffer, np.uint8, count)
                is_end = block == NEWLINE
                if escaped and not odd and (last == BACKSLASH or buffer.find(BACKSLASH, 0, count) >= 0):
                    odd = (last == BACKSLASH and bool(is_end[0])) or bool(
                        np.any(is_end[1:] & (block[:-1] == BACKSLASH))
                    )
                size, rows, last = size + count, rows + int(np.count_nonzero(is_end)), int(block[-1])
    except OSError as error:
        text = f"failed to open the file '{path}', error: '{os.strerror(error.errno or 0)}', errno: {error.errno}"
        raise ReadFailed(text, system=error.errno or 0) from None
    opened = size > 0 and last != NEWLINE
    if escaped and odd:
        content = path.read_bytes()
        escapes = [found.end() for found in ESCAPED_NEWLINE.finditer(content)]
        rows -= len(escapes)
        opened = opened or escapes[-1:] == [size]
    return size, rows + opened


def temporary_name(contribution: Contribution) -> str:
    """What the file is called that a worker would have made of the contribution."""
    parts = "-".join(secrets.token_hex(2) for _ in range(4))
    place = f"{contribution.database}-{contribution.table}-{contribution.chunk}-{contribution.transaction_id}"
    return f"/data/{place}-{parts}.csv"


def _statement(contribution: Contribution) -> str:
    """The statement as Qserv's worker has it, which writes the transaction into the file instead."""
    table = contribution.table
    if contribution.chunk:
        table += f"{'FullOverlap' if contribution.overlap else ''}_{contribution.chunk}"
    return (
        f"LOAD DATA INFILE '{contribution.tmp_file}' INTO TABLE `{contribution.database}`.`{table}`"
        f" CHARACTER SET '{contribution.charset_name}' {contribution.dialect.clause}"
    )
