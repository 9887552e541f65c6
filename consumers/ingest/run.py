"""Running the daemon: the stages as one task group, drained when it is told to stop."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

from consumers.ingest.announcements import Announcements
from consumers.ingest.build import Parts, World, build
from consumers.ingest.poller import Poller
from consumers.ingest.pulse import TURN_S, Pulse
from consumers.ingest.supervisor import READY, STOPPING, Supervisor
from consumers.ingest.yielding import yield_to_others
from stream.clock import Deadline
from stream.collecting import collect_from_here
from stream.config import IngestSettings
from stream.log import Log
from stream.web.health import Health
from stream.web.server import serving

_log = Log("consumers.ingest")

LAST_COMMIT_S = 5.0
"""Seconds past the drain's deadline that are left to the commit under way. Then its outcome is the next start's to find
in the ledger, and nothing of this daemon is sealed."""

LEAVE_S = 15.0
"""Seconds that the polling thread may take to leave the group: it may wait for a database that does not answer."""

FINISH_S = 20.0
"""Seconds that sealing may take at the end, where the database or the disk does not answer."""


class Ingest:
    """One daemon, from its first assignment to its end.

    Parameters
    ----------
    world
        Broker, stores, schemas and survey.
    settings
        The daemon's settings.
    """

    def __init__(self, world: World, settings: IngestSettings) -> None:
        self._world = world
        self._settings = settings
        self._supervisor = Supervisor.of_environment()
        self._stop = asyncio.Event()
        self._error: BaseException | None = None
        self.health = Health(world.clock)
        self.port = 0

    def stop(self) -> None:
        """Drain and end."""
        self._stop.set()

    async def run(self) -> int:
        """Run until stopped, or until idle where the settings say so.

        Returns
        -------
        int
            0, or 1 where a partition was held or something in flight could not be committed in time.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        settings = self._settings
        async with serving(self.health, host=settings.metrics_host, port=settings.metrics_port) as server:
            self.port = server.port
            with ThreadPoolExecutor(settings.compress_threads, "compress", yield_to_others) as pool:
                async with _turning(self.health):
                    parts = await build(self._world, settings, self.health, pool, self._stop.is_set)
                collect_from_here()
                _log.info("started", daemon=parts.daemon.id, topics=list(self._world.topics), port=self.port)
                self._supervisor.tell(READY)
                drained, held = await self._turn(parts)
                await _finish(parts)
        _log.info("stopped", drained=drained, held=held)
        return 0 if drained and not held else 1

    async def _turn(self, parts: Parts) -> tuple[bool, int]:
        """Run until stopped and drained; gives whether all was committed, and how many partitions were held."""
        pipeline = parts.pipeline
        readers: list[Poller | Announcements] = [parts.poller]
        if parts.announcements is not None:
            readers.append(parts.announcements)
        threads = [_thread(each.run, asyncio.get_running_loop(), self._failed) for each in readers]
        try:
            async with asyncio.TaskGroup() as group:
                stages = [
                    group.create_task(stage(), name=name)
                    for name, stage in (
                        ("gather", pipeline.gather),
                        ("prepare", pipeline.prepare),
                        ("finish", pipeline.finish),
                        ("write", pipeline.write),
                        ("commit", pipeline.commit),
                        ("returning", parts.returning.run),
                        ("retry", parts.upkeep.retry),
                    )
                ]
                pulse = _pulse(parts, self._supervisor)
                beats = [group.create_task(beat(), name="pulse") for beat in (pulse.turn, pulse.beat)]
                upkeep = group.create_task(parts.upkeep.run(), name="upkeep")
                await self._until_stopped(parts)
                self.health.set("draining", "the daemon is stopping")
                self._supervisor.tell(STOPPING)
                parts.poller.quiet(True)
                drained = await self._drain(parts)
                # Before the group is left: what is not ours any more is not held here either.
                held = len(parts.outcome.holds)
                for reader, thread in zip(readers, threads, strict=True):
                    reader.stop()
                    # Announcements are read again if need be: a database that does not answer holds nobody up for them.
                    await asyncio.to_thread(thread.join, LEAVE_S if reader is parts.poller else LAST_COMMIT_S)
                    if thread.is_alive():
                        _log.warning("reader_left", thread=thread.name)
                for stage in stages:
                    stage.cancel()
                parts.upkeep.end()
                if not (await asyncio.wait([upkeep], timeout=LAST_COMMIT_S))[0]:
                    upkeep.cancel()
                for beat in beats:
                    beat.cancel()
        finally:
            for reader in readers:
                reader.stop()
        return drained, held

    def _failed(self, error: BaseException) -> None:
        """The polling thread ended with an error: so does the daemon."""
        self._error = error
        self._stop.set()

    async def _until_stopped(self, parts: Parts) -> None:
        idle_s, clock = self._settings.until_idle_s, self._world.clock
        since: float | None = None
        while not self._stop.is_set():
            await _wait(self._stop, 0.05 if idle_s is not None else 1.0)
            quiet = parts.outcome.joined and parts.poller.at_end and parts.pipeline.idle
            quiet = quiet and (parts.announcements is None or parts.announcements.at_end)
            since = (since or clock.monotonic()) if quiet else None
            if idle_s is not None and since is not None and clock.monotonic() - since >= idle_s:
                return
        if self._error is not None:
            raise self._error

    async def _drain(self, parts: Parts) -> bool:
        """Commit what is in flight, as far as the deadline allows; a COMMIT that was sent is always waited for."""
        deadline = Deadline.after(self._world.clock, self._settings.drain_deadline_s)
        task = asyncio.ensure_future(parts.pipeline.drained())
        done, _ = await asyncio.wait([task], timeout=deadline.left())
        if not done:
            task.cancel()
            parts.pipeline.abandon()
            _log.warning("drain_deadline", code="drain_deadline", inflight_bytes=parts.upkeep.window.taken)
            last = Deadline.after(self._world.clock, LAST_COMMIT_S)
            while (parts.pipeline.busy or parts.committer.segments.writing.locked()) and not last.passed:
                await asyncio.sleep(0.02)
        return bool(done)


@asynccontextmanager
async def _turning(health: Health) -> AsyncIterator[None]:
    """Say that the loop turns while the start waits for the database or the kernel: there is no pulse yet."""

    async def turn() -> None:
        while True:
            health.turned()
            await asyncio.sleep(TURN_S)

    task = asyncio.create_task(turn())
    try:
        yield
    finally:
        task.cancel()


def _pulse(parts: Parts, supervisor: Supervisor) -> Pulse:
    upkeep, outcome = parts.upkeep, parts.outcome
    oldest = parts.pipeline.oldest
    return Pulse(upkeep.engine, parts.daemon.id, outcome.health, parts.poller, oldest, upkeep.heartbeat_s, supervisor)


async def _finish(parts: Parts) -> None:
    """Seal what is open, as far as the time allows: what stays open is sealed by others once it is abandoned."""
    try:
        async with asyncio.timeout(FINISH_S):
            await parts.upkeep.finish()
    except TimeoutError:
        _log.warning("left_open", seconds=FINISH_S)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    waiter = asyncio.ensure_future(event.wait())
    await asyncio.wait([waiter], timeout=seconds)
    waiter.cancel()


def _thread(
    body: Callable[[], None], loop: asyncio.AbstractEventLoop, failed: Callable[[BaseException], None]
) -> threading.Thread:
    def run() -> None:
        try:
            body()
        except BaseException as error:
            with suppress(RuntimeError):  # The daemon has ended by another's error, and its loop with it.
                loop.call_soon_threadsafe(failed, error)

    thread = threading.Thread(target=run, name="poller", daemon=True)
    thread.start()
    return thread
