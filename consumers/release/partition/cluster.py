"""Workers: threads of this process, or those of a Dask cluster by its address.

On one machine threads are enough, one a core: what takes time runs without the interpreter's lock, so that processes
of their own would cost start-up and memory and bring nothing (docs/decisions/partition-speed).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol

from stream.errors import SkyburstError, Transient

_AHEAD = 2
_WAITING = 3
"""Threads beyond one a core, for calls that wait for the disk: with only one, a third of both cores still idled."""


class Workers(Protocol):
    """Runs plain functions on workers."""

    @property
    def count(self) -> int:
        """How many there are."""

    def each(
        self, function: Callable[..., Any], calls: Sequence[Sequence[Any]], *, most: int = 1, waits: bool = False
    ) -> Iterator[tuple[int, Any]]:
        """Call the function with each of the arguments; the number of the call and what it gave, as they end.

        The first that fails ends it: none is begun any more, those that run are waited for, and its error is raised.

        Parameters
        ----------
        most
            Calls that a worker of a cluster is handed at once, at most: Dask takes about as long for a task as for
            several. Towards the end it is fewer, so that all workers end together.
        waits
            Whether calls wait for the disk: some more run at a time then, on threads of this process.
        """


class Threads:
    """Workers that are threads of this process."""

    def __init__(self, count: int) -> None:
        self.count = count

    def each(
        self, function: Callable[..., Any], calls: Sequence[Sequence[Any]], *, most: int = 1, waits: bool = False
    ) -> Iterator[tuple[int, Any]]:
        """Call the function with each of the arguments, one at a time: a thread takes the next at once.

        What was done before a call failed is yielded before its error is raised.
        """
        pool = ThreadPoolExecutor(self.count + (_WAITING if waits else 0), "partition")
        done: SimpleQueue[tuple[int, Future[Any]]] = SimpleQueue()
        try:
            for number, arguments in enumerate(calls):
                future = pool.submit(function, *arguments)
                future.add_done_callback(lambda future, number=number: done.put((number, future)))  # type: ignore[misc]
            for _ in calls:
                number, ended = done.get()
                yield number, ended.result()
        finally:
            pool.shutdown(cancel_futures=True)


class Cluster:
    """Workers of a Dask cluster."""

    def __init__(self, client: Any, count: int) -> None:
        self._client = client
        self.count = count

    def each(
        self, function: Callable[..., Any], calls: Sequence[Sequence[Any]], *, most: int = 1, waits: bool = False
    ) -> Iterator[tuple[int, Any]]:
        """Call the function with each of the arguments, up to `most` at once."""
        from distributed import as_completed, wait

        begun = 0
        running: dict[Any, int] = {}
        done: Any = as_completed()  # type: ignore[no-untyped-call]

        def begin() -> None:
            nonlocal begun
            count = max(1, min(most, (len(calls) - begun) // (2 * _AHEAD * self.count)))
            if some := calls[begun : begun + count]:
                future = self._client.submit(_several, function, some, pure=False)
                running[future] = begun
                begun += len(some)
                done.add(future)

        try:
            for _ in range(_AHEAD * self.count):
                begin()
            for future in done:
                results = _result(future)
                first = running.pop(future)
                begin()
                yield from enumerate(results, first)
        finally:
            # Taking back what a worker has begun would leave it at work, unseen, when the folder is given free.
            if running:
                wait(list(running))  # type: ignore[no-untyped-call]


def _several(function: Callable[..., Any], calls: Sequence[Sequence[Any]]) -> list[Any]:
    return [function(*arguments) for arguments in calls]


def _result(future: Any) -> Any:
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError

    try:
        return future.result()
    except SkyburstError:
        raise
    except (KilledWorker, FutureCancelledError) as error:
        text = f"a worker of the cluster was lost ({error})"
        raise Transient("worker_lost", text, "see to its memory and its log, and run again: it goes on") from error


def _client(scheduler: str, patience_s: float) -> Any:
    """A client of the scheduler; Dask itself waits without end for the first word of what is none.

    What is none may also say something that Dask takes for the size of a message of exabytes: a `MemoryError`.
    """
    from distributed import Client

    made: Future[Any] = Future()

    def make() -> None:
        try:
            made.set_result(Client(scheduler, timeout=patience_s))  # type: ignore[no-untyped-call]
        except BaseException as error:  # whatever it is, it is the caller's
            made.set_exception(error)

    Thread(target=make, name="dask-client", daemon=True).start()
    try:
        return made.result(2 * patience_s)
    except TimeoutError as error:
        raise TimeoutError(str(error) or "what listens there does not answer as one") from error


@contextmanager
def open_workers(scheduler: str | None = None, count: int | None = None, patience_s: float = 10.0) -> Iterator[Workers]:
    """Workers to run functions on.

    Parameters
    ----------
    scheduler
        Address of a Dask scheduler, ``tcp://host:8786``; threads of this process where None.
    count
        How many threads; one a core where None.
    patience_s
        How long a scheduler is waited for.

    Raises
    ------
    Transient
        Code ``scheduler_unreachable``.
    """
    if scheduler is None:
        yield Threads(count or len(os.sched_getaffinity(0)))
        return
    # A task that fails raises its error here; Dask would print its traceback besides.
    logging.getLogger("distributed").setLevel(logging.ERROR)
    with ExitStack() as stack:
        try:
            client = stack.enter_context(_client(scheduler, patience_s))
        except (OSError, TimeoutError, ValueError, MemoryError) as error:
            text = f"no Dask scheduler answers at {scheduler} ({error})"
            raise Transient("scheduler_unreachable", text, "start it, or leave --scheduler out") from error
        threads = sum(client.nthreads().values())
        if not threads:
            text = f"the Dask scheduler at {scheduler} has no workers"
            raise Transient(
                "scheduler_unreachable", text, "start dask workers, which see the same files as this machine"
            )
        yield Cluster(client, threads)
