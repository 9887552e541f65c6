"""A worker's HTTP loader: contributions by reference and by value (Qserv API v55, 1.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from consumers.release.service.answers import Contribution
from consumers.release.service.dialect import LoadDialect
from consumers.release.service.wire import Wire


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be loaded, and where to.

    Parameters
    ----------
    transaction
        Super-transaction.
    table, chunk, overlap
        Where to; chunk 0 of a regular table.
    dialect
        How its fields are written.
    max_retries
        How often the worker itself reads again what it could not read; None for what the worker is set to.
    """

    transaction: int
    table: str
    chunk: int
    overlap: bool
    dialect: LoadDialect
    max_retries: int | None = None

    def fields(self) -> dict[str, Any]:
        """As a JSON body has it."""
        retries = {} if self.max_retries is None else {"max_retries": self.max_retries}
        return {
            "transaction_id": self.transaction,
            "table": self.table,
            "chunk": self.chunk,
            "overlap": int(self.overlap),
            **self.dialect.fields(),
            **retries,
        }


class Worker:
    """One worker, at the place that an answer with locations named."""

    def __init__(self, wire: Wire, url: str) -> None:
        self._wire = wire
        self.url = url

    async def submit(self, source: Source, url: str) -> Contribution:
        """Have the worker load `url` (``file``, ``http`` or ``https``) by and by."""
        body = source.fields() | {"url": url}
        answer = await self._wire.tell("POST", self.url, "ingest/file-async", body)
        return Contribution.of(answer["contrib"])

    async def load(self, source: Source, url: str) -> Contribution:
        """Have the worker load `url`, and wait."""
        body = source.fields() | {"url": url}
        long_s = self._wire.timeouts.long_s
        answer = await self._wire.tell("POST", self.url, "ingest/file", body, answer_s=long_s)
        return Contribution.of(answer["contrib"])

    async def send(self, source: Source, name: str, file: BinaryIO, size: int) -> Contribution:
        """Load the `size` bytes of `file`, and wait."""
        fields: Mapping[str, str] = {field: str(value) for field, value in source.fields().items()}
        answer = await self._wire.send(self.url, "ingest/csv", fields, name, file, size)
        return Contribution.of(answer["contrib"])

    async def retry(self, contribution: int) -> Contribution:
        """Have it read again what it could not read, by and by; only of READ_FAILED."""
        answer = await self._wire.tell("PUT", self.url, f"ingest/file-async/{contribution}", {})
        return Contribution.of(answer["contrib"])

    async def retry_now(self, contribution: int) -> Contribution:
        """Have it read again what it could not read, and wait; only of READ_FAILED."""
        long_s = self._wire.timeouts.long_s
        answer = await self._wire.tell("PUT", self.url, f"ingest/file/{contribution}", {}, answer_s=long_s)
        return Contribution.of(answer["contrib"])

    async def contribution(self, contribution: int) -> Contribution:
        """How far an asynchronous one is."""
        answer = await self._wire.ask(self.url, f"ingest/file-async/{contribution}")
        return Contribution.of(answer["contrib"])

    async def contributions(self, transaction: int) -> Sequence[Contribution]:
        """The asynchronous ones of a transaction at this worker."""
        answer = await self._wire.ask(self.url, f"ingest/file-async/trans/{transaction}")
        return [Contribution.of(each) for each in answer["contribs"]]
