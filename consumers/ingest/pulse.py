"""The daemon's pulse: liveness, readiness and heartbeat, beside everything that can wait for a database or a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.ingest.poller import Poller
from consumers.ingest.supervisor import TURNS, Supervisor
from stream import metrics
from stream.commit.sealing import heartbeat
from stream.errors import Fatal, SkyburstError
from stream.log import Log
from stream.tables.trouble import translate
from stream.transport.source import Partition
from stream.web.health import Health

TURN_S = 0.5
STALLED_S = 10.0
"""Seconds in flight from which on a message costs readiness: a database that is frozen gives no error."""
BEAT_S = 10.0
"""Seconds that a heartbeat may take. It may be cut short: it is said again."""

_log = Log("consumers.ingest.pulse")


@dataclass(slots=True)
class Pulse:
    """Two loops that nothing holds up.

    Attributes
    ----------
    owner
        The daemon's id, whose segments the heartbeat keeps.
    oldest
        Age in seconds of the oldest message in flight.
    heartbeat_s
        Seconds between heartbeats.
    supervisor
        Told at each turn that the loop turns.
    """

    engine: AsyncEngine
    owner: str
    health: Health
    poller: Poller
    oldest: Callable[[], float]
    heartbeat_s: float
    supervisor: Supervisor = field(default_factory=Supervisor)
    _measured: set[Partition] = field(default_factory=set)

    async def turn(self) -> None:
        """Say that the loop turns, and what can be told without asking anybody."""
        metrics.READY.follow(lambda: float(self.health.ready()))
        metrics.LOOP_AGE.follow(self.health.age)
        while True:
            self.look()
            await asyncio.sleep(TURN_S)

    def look(self) -> None:
        """One turn."""
        self.health.turned()
        self.supervisor.tell(TURNS)
        oldest, unplaced = self.oldest(), sorted(self.poller.unplaced)
        stalled = f"a message has been in flight for {oldest:.0f} s" if oldest >= STALLED_S else None
        self.health.set("stalled", stalled)
        names = ", ".join(f"{topic}[{number}]" for topic, number in unplaced)
        self.health.set("unplaced", f"the place of {names} cannot be told yet" if unplaced else None)
        self.health.set("broker_away", self.poller.away)
        self._lags(self.poller.lags())

    def _lags(self, lags: dict[Partition, int]) -> None:
        for (topic, partition), lag in lags.items():
            metrics.LAG.set(lag, topic=topic, partition=str(partition))
        for topic, partition in self._measured - lags.keys():
            metrics.LAG.drop(topic=topic, partition=str(partition))
        self._measured = set(lags)

    async def beat(self) -> None:
        """Say to the other daemons that this one lives; what is in the way is waited for until the next time."""
        while True:
            await self.beat_once()
            await asyncio.sleep(self.heartbeat_s)

    async def beat_once(self) -> None:
        """One heartbeat; a database that does not answer it costs readiness, also while nothing is in flight."""
        try:
            async with asyncio.timeout(BEAT_S):
                await heartbeat(self.engine, self.owner)
        except (SQLAlchemyError, OSError, SkyburstError) as error:
            cause = translate(error)
            if isinstance(cause, Fatal):
                raise cause from error
            self.health.set("heartbeat", f"{cause.code}: {cause}")
            _log.warning("heartbeat_waits", error=cause)
        else:
            self.health.set("heartbeat", None)
