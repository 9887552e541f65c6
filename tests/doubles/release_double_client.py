"""A plain caller of the double: says what it is told to say, and hands the answer back, whatever it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

from consumers.release.double import QservDouble

Answer = dict[str, Any]

COLUMNS = [
    {"name": "id", "type": "BIGINT NOT NULL"},
    {"name": "x", "type": "DOUBLE"},
    {"name": "ra", "type": "DOUBLE"},
    {"name": "decl", "type": "DOUBLE"},
    {"name": "chunkId", "type": "INT NOT NULL"},
    {"name": "subChunkId", "type": "INT NOT NULL"},
]
CHUNKS = (9630, 9631, 9632, 9633)
"""Chunks of 85 stripes."""


class Service(Protocol):
    """A double, or a live Qserv."""

    auth_key: str
    admin_auth_key: str

    @property
    def url(self) -> str:
        """The controller's."""
        ...


@dataclass(frozen=True, slots=True)
class There:
    """A service in another process."""

    url: str
    auth_key: str
    admin_auth_key: str = ""


class Caller:
    """Calls of the API, by name; each answer is handed back as it came.

    Attributes
    ----------
    workers
        URLs of the workers, as the controller told them.
    """

    def __init__(self, service: Service, http: httpx.AsyncClient) -> None:
        self.service, self.http = service, http
        self.workers: dict[str, str] = {}

    @property
    def double(self) -> QservDouble:
        """The service, where it is a double in this process."""
        assert isinstance(self.service, QservDouble)
        return self.service

    def url_of(self, service: str) -> str:
        """The URL of the controller or of a worker."""
        if service == "controller":
            return self.service.url
        return self.workers[service] if service in self.workers else self.double.url_of(service)

    async def ask(self, method: str, service: str, path: str, query: Answer | None = None, **body: Any) -> Answer:
        """One request with the key and the version."""
        url = f"{self.url_of(service)}/{path}"
        if method != "GET" and "admin_auth_key" not in body:
            body = {"auth_key": self.service.auth_key} | body
        told = {name: str(value) for name, value in ({"version": 55} | (query or {})).items()}
        answer = await self.http.request(method, url, params=told, json=body)
        assert answer.status_code == 200
        found: Answer = answer.json()
        return found

    async def database(
        self, name: str = "dr1", *, auto_build: bool = False, tables: Sequence[str] = ("Object",)
    ) -> None:
        """A database with directors, registered."""
        told = await self.ask(
            "POST",
            "controller",
            "ingest/database",
            database=name,
            num_stripes=85,
            num_sub_stripes=12,
            overlap=0.01667,
            auto_build_secondary_index=int(auto_build),
        )
        assert told["success"], told
        for table in tables:
            assert (await self.table(name, table))["success"]

    async def table(self, database: str, table: str, **more: Any) -> Answer:
        """A director, or what `more` makes of it."""
        asked = {
            "is_partitioned": 1,
            "schema": COLUMNS,
            "director_key": "id",
            "longitude_key": "ra",
            "latitude_key": "decl",
        }
        return await self.ask("POST", "controller", "ingest/table", database=database, table=table, **asked | more)

    async def begin(self, database: str = "dr1", **more: Any) -> int:
        """A transaction's number."""
        told = await self.ask("POST", "controller", "ingest/trans", database=database, **more)
        assert told["success"], told
        return int(told["databases"][database]["transactions"][0]["id"])

    async def end(self, transaction: int, *, abort: bool = False) -> Answer:
        """Commit or abort."""
        return await self.ask("PUT", "controller", f"ingest/trans/{transaction}", {"abort": int(abort)})

    async def state(self, transaction: int, **query: Any) -> Answer:
        """A transaction as it is described."""
        told = await self.ask("GET", "controller", f"ingest/trans/{transaction}", {"contrib": 1, **query})
        (database,) = told["databases"].values()
        found: Answer = database["transactions"][0]
        return found

    async def place(self, transaction: int, *chunks: int) -> dict[int, str]:
        """Which worker has each chunk."""
        told = await self.ask("POST", "controller", "ingest/chunks", transaction_id=transaction, chunks=list(chunks))
        assert told["success"], told
        for each in told["locations"]:
            self.workers[each["worker"]] = f"http://{each['http_host']}:{each['http_port']}"
        return {each["chunk"]: each["worker"] for each in told["locations"]}

    async def load(self, worker: str, transaction: int, path: Path | str, *, wait: bool = True, **more: Any) -> Answer:
        """A contribution by reference."""
        asked: Answer = {"table": "Object", "chunk": CHUNKS[0], "overlap": 0, "fields_terminated_by": ","}
        url = path.as_uri() if isinstance(path, Path) else path
        call = "ingest/file" if wait else "ingest/file-async"
        return await self.ask("POST", worker, call, transaction_id=transaction, url=url, **asked | more)

    async def send(self, worker: str, transaction: int, content: str, **more: Any) -> Answer:
        """A contribution by value."""
        asked: Answer = {"table": "Object", "chunk": CHUNKS[0], "overlap": 0, "fields_terminated_by": ","}
        form = {"auth_key": self.service.auth_key, "transaction_id": transaction} | asked | more
        answer = await self.http.post(
            f"{self.url_of(worker)}/ingest/csv",
            params={"version": "55"},
            data={name: str(value) for name, value in form.items()},
            files={"rows": ("rows.csv", content.encode(), "text/csv")},
        )
        found: Answer = answer.json()
        return found

    async def status(self, worker: str, contribution: int) -> Answer:
        """An asynchronous contribution as its worker tells of it."""
        told = await self.ask("GET", worker, f"ingest/file-async/{contribution}")
        found: Answer = told["contrib"]
        return found


@asynccontextmanager
async def calling(service: Service) -> AsyncIterator[Caller]:
    """A caller of a double. Not of aiohttp, which says a PUT again by itself when its connection breaks."""
    async with httpx.AsyncClient(timeout=600.0) as http:
        yield Caller(service, http)


def rows(count: int, *, first: int = 0, chunk: int = CHUNKS[0]) -> str:
    """Rows that the columns take."""
    return "".join(f"{first + each},1.5,1.25,2.5,{chunk},3\n" for each in range(count))


def rows_file(folder: Path, count: int, *, first: int = 0, chunk: int = CHUNKS[0], name: str = "rows.txt") -> Path:
    """A file of rows that the columns take."""
    path = folder / name
    path.write_text(rows(count, first=first, chunk=chunk))
    return path
