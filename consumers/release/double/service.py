"""The double itself: a controller and workers on 127.0.0.1, their tables in a real MariaDB."""

from __future__ import annotations

import asyncio
import secrets
import threading
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from consumers.release.double.core import LOADER_THREADS, Core
from consumers.release.double.director_index import DirectorIndex
from consumers.release.double.http import Keys, Route, Service
from consumers.release.double.journal import Memory
from consumers.release.double.loading import Loading
from consumers.release.double.mariadb import OWN_OPTIONS, Place, Server
from consumers.release.double.publishing import Publishing
from consumers.release.double.registration import Registration
from consumers.release.double.tables import Rows, WorkerTables
from consumers.release.double.transactions import Transactions
from consumers.release.double.troubles import Troubles
from consumers.release.double.worker import Worker
from stream.clock import Clock, SystemClock
from stream.local import LocalMariadb
from stream.local.ports import LOOPBACK, free_ports

CONTROLLER = "controller"
Result = TypeVar("Result")


class QservDouble:
    """A double of Qserv's ingest service (API v55), for tests and for trying out.

    It answers as the live service was recorded to, and loads with LOAD DATA into MyISAM tables of a real MariaDB, so
    that refusals and warnings are MariaDB's own and what a worker would hold can be counted. Make it by `start`, or
    by `in_thread` where there is no event loop.

    Parameters
    ----------
    folder
        Its journal and files under way.
    place
        The MariaDB; its files must be on this machine.
    workers
        Names of the workers.
    auth_key, admin_auth_key
        What callers must show.
    ports
        HTTP ports of the controller and of each worker.
    clock
        Time as it tells it.

    Attributes
    ----------
    troubles
        What can be made to go wrong.
    """

    def __init__(
        self,
        folder: Path,
        place: Place,
        workers: Sequence[str],
        *,
        auth_key: str,
        admin_auth_key: str,
        ports: Sequence[int],
        clock: Clock,
    ) -> None:
        self.folder, self.place, self.workers = folder.absolute(), place, tuple(workers)
        self.auth_key, self.admin_auth_key = auth_key, admin_auth_key
        self.troubles = Troubles()
        self._clock = clock
        self._ports = dict(zip((CONTROLLER, *workers), ports, strict=True))
        self._prefix = _prefix(self.folder)
        self._server = Server(place, self._prefix)
        self._runners: dict[str, web.AppRunner] = {}
        self._parts: tuple[Core, Loading] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        folder: Path,
        *,
        mariadb: LocalMariadb | str | None = None,
        workers: int = 2,
        auth_key: str | None = None,
        admin_auth_key: str | None = None,
        ports: Sequence[int] | None = None,
        clock: Clock | None = None,
        keep: bool = False,
    ) -> AsyncIterator[QservDouble]:
        """A double that serves in this event loop until the block ends.

        Parameters
        ----------
        folder
            Its journal and files under way; what a double that was killed left there is taken up again. MariaDB's
            process must be able to read and write it.
        mariadb
            A private server that runs, or the URL of one (``mysql://user:password@host:port/``); None starts one
            in the folder.
        workers
            How many.
        auth_key, admin_auth_key
            Drawn where None.
        ports
            Of the controller and of each worker; free ones where None.
        clock
            Time as it tells it; the machine's where None.
        keep
            Whether databases and journal stay for the next double in the folder.
        """
        folder.mkdir(parents=True, exist_ok=True)
        own = None
        if mariadb is None:
            own = LocalMariadb(folder / "mariadb", options=OWN_OPTIONS)
            await asyncio.to_thread(own.start)
        try:
            double = cls(
                folder,
                Place.of(own or mariadb or ""),
                [f"worker{number + 1}" for number in range(workers)],
                auth_key=auth_key or secrets.token_hex(8),
                admin_auth_key=admin_auth_key or secrets.token_hex(8),
                ports=ports or free_ports(workers + 1),
                clock=clock or SystemClock(),
            )
            await double.open()
            try:
                yield double
            finally:
                await double.close()
                if not keep:
                    await asyncio.to_thread(double.forget)
        finally:
            if own is not None:
                await asyncio.to_thread(own.stop)

    @classmethod
    @contextmanager
    def in_thread(
        cls,
        folder: Path,
        *,
        mariadb: LocalMariadb | str | None = None,
        workers: int = 2,
        auth_key: str | None = None,
        admin_auth_key: str | None = None,
    ) -> Iterator[QservDouble]:
        """As `start`, in a thread with an event loop of its own; `call` runs the double's coroutines there."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="qserv-double", daemon=True)
        thread.start()
        serving = cls.start(folder, mariadb=mariadb, workers=workers, auth_key=auth_key, admin_auth_key=admin_auth_key)
        try:
            double = asyncio.run_coroutine_threadsafe(serving.__aenter__(), loop).result()
            try:
                yield double
            finally:
                asyncio.run_coroutine_threadsafe(serving.__aexit__(None, None, None), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    @property
    def url(self) -> str:
        """The controller's."""
        return self.url_of(CONTROLLER)

    def url_of(self, service: str) -> str:
        """The URL of ``controller``, ``worker1``, …"""
        return f"http://{LOOPBACK}:{self._ports[service]}"

    @property
    def memory(self) -> Memory:
        """What the service knows, to look at."""
        return self._inside[0].memory

    def call(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine of the double in its own event loop, from another thread."""
        if self._loop is None:
            raise RuntimeError("the double does not run")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    # What the workers hold

    def rows(self, database: str) -> list[Rows]:
        """Every table that has rows, in order of worker, table, chunk, overlap and transaction: counted in MariaDB."""
        known = self.memory.databases[database]
        tables = list(known.tables.values())
        return sorted(each for worker in self._inside[0].workers.values() for each in worker.rows(database, tables))

    def count(
        self,
        database: str,
        table: str,
        *,
        chunk: int | None = None,
        overlap: bool = False,
        transaction: int | None = None,
        worker: str | None = None,
    ) -> int:
        """How many rows of a table the workers hold: of all chunks, transactions and workers, or of one."""
        return sum(
            each.rows
            for each in self.rows(database)
            if (each.table, each.overlap) == (table, overlap)
            and chunk in (None, each.chunk)
            and transaction in (None, each.transaction)
            and worker in (None, each.worker)
        )

    def index_rows(self, database: str, table: str) -> int:
        """How many entries the index of a director has."""
        return self._inside[0].index.rows(database, table)

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a statement in MariaDB; `database_of` names the databases."""
        return self._server.rows(statement)

    def database_of(self, worker: str, database: str) -> str:
        """The name in MariaDB of a worker's database; its tables are ``Object_7480``, ``ObjectFullOverlap_7480``."""
        return self._server.database(worker, database)

    # Life and death

    async def open(self) -> None:
        """Serve; what the journal says is taken up."""
        self._loop = asyncio.get_running_loop()
        self._server = Server(self.place, self._prefix)
        memory = Memory(self.folder)
        files = self.folder / "files"
        files.mkdir(exist_ok=True)
        # MariaDB may run as another user, who is to read and write here.
        files.chmod(0o777)
        threads = ThreadPoolExecutor(2 * LOADER_THREADS * len(self.workers) + 4, thread_name_prefix="qserv-double")
        tables = {name: WorkerTables(name, self._server) for name in self.workers}
        index = DirectorIndex(self._server, files)
        core = Core(memory, tables, index, self.troubles, self._clock, threads, files, self._ports)
        loading = Loading(core)
        self._parts = core, loading
        await core.run(index.create_database)
        transactions, publishing = Transactions(core, loading), Publishing(core)
        await transactions.finish_endings()
        await publishing.finish_publishing()
        loading.resume()
        registration = Registration(core, str(uuid.uuid5(uuid.NAMESPACE_URL, self.url)))
        await self._serve(CONTROLLER, [*registration.routes, *transactions.routes, *publishing.routes])
        for name in self.workers:
            await self._serve(name, Worker(name, core, loading).routes)

    async def close(self) -> None:
        """Serve no more; journal and databases stay."""
        for runner in self._runners.values():
            await runner.cleanup()
        self._runners.clear()
        await self._end()
        self._server.close()

    async def crash(self) -> None:
        """Die as by SIGKILL: connections break, work under way is cut off, only MariaDB and the journal stay.

        `open` brings it back on the same ports.
        """
        core, _ = self._inside
        core.memory.close()
        for runner in self._runners.values():
            for site in list(runner.sites):
                await site.stop()
            _break(runner)
        await asyncio.to_thread(self._server.abandon)
        await self._end()
        for runner in self._runners.values():
            await runner.cleanup()
        self._runners.clear()
        self._server.close()

    async def refuse(self, service: str) -> None:
        """Take no more connections as ``worker1``, …, and break those that are; its work goes on."""
        for site in list(self._runners[service].sites):
            await site.stop()
        _break(self._runners[service])

    async def accept(self, service: str) -> None:
        """Take connections again."""
        await web.TCPSite(self._runners[service], LOOPBACK, self._ports[service], reuse_address=True).start()

    def forget(self) -> None:
        """Drop what the double has in MariaDB, and its journal; it must be closed."""
        server = Server(self.place, self._prefix)
        for name in server.databases():
            server.execute(f"DROP DATABASE `{name}`")
        server.close()
        for path in (*(self.folder / "files").glob("*"), *self.folder.glob("*.jsonl")):
            path.unlink()

    @property
    def _inside(self) -> tuple[Core, Loading]:
        if self._parts is None:
            raise RuntimeError("the double does not run")
        return self._parts

    async def _serve(self, name: str, routes: Sequence[Route]) -> None:
        keys = Keys(self.auth_key, self.admin_auth_key)
        service = Service(name, routes, keys, self.troubles, self._inside[0].folder)
        runner = web.AppRunner(service.app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._runners[name] = runner
        await self.accept(name)

    async def _end(self) -> None:
        core, loading = self._inside
        await loading.close()
        await asyncio.to_thread(core.executor.shutdown)
        core.memory.close()


def _prefix(folder: Path) -> str:
    """The same for the same folder, and short, since a database's name has 64 characters at most."""
    return f"q{uuid.uuid5(uuid.NAMESPACE_URL, str(folder)).hex[:8]}_"


def _break(runner: web.AppRunner) -> None:
    server = runner.server
    for connection in list(server.connections) if server is not None else []:
        transport = connection.transport
        if transport is not None:
            transport.abort()
