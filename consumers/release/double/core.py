"""What the parts of the double share: memory, workers, time, threads and troubles."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from consumers.release.double.director_index import DirectorIndex
from consumers.release.double.journal import Memory
from consumers.release.double.tables import WorkerTables
from consumers.release.double.troubles import Troubles
from stream.clock import Clock

Result = TypeVar("Result")

INSTANCE = "qserv_proj"
LOADER_THREADS = 2
"""Threads with which a worker reads and loads contributions, of each kind: by value and asked to wait, asynchronous."""


@dataclass(slots=True)
class Core:
    """The double's inside.

    All of it but the threads that MariaDB keeps waiting runs in one event loop, and only there is `memory` changed.

    Attributes
    ----------
    memory
        Databases, transactions, contributions.
    workers
        Their tables, by name.
    index
        The director indexes.
    ports
        HTTP port by service.
    folder
        For files under way.
    """

    memory: Memory
    workers: dict[str, WorkerTables]
    index: DirectorIndex
    troubles: Troubles
    clock: Clock
    executor: ThreadPoolExecutor
    folder: Path
    ports: dict[str, int]

    def now(self) -> int:
        """Milliseconds since 1970."""
        return int(self.clock.now() * 1000)

    async def run(self, work: Callable[..., Result], *arguments: object) -> Result:
        """What waits for MariaDB or the disk, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self.executor, work, *arguments)

    async def at_all_workers(self, work: Callable[[WorkerTables], Result]) -> dict[str, Result]:
        """The same at each worker, at once."""
        results = await asyncio.gather(*(self.run(work, tables) for tables in self.workers.values()))
        return dict(zip(self.workers, results, strict=True))
