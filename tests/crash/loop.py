"""The random loop: two daemons on one group, killed and frozen at named failpoints and at random, while both servers
are killed and restarted and a producer sends."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from random import Random

from crash.daemons import Daemon, Daemons
from crash.servers import Field

from stream.commit.failpoints import NAMES
from stream.local.process import wait_until

SLOTS = ("left", "right")
FREEZE_S = (1.7, 2.8)
"""Seconds that a daemon is frozen: its session is 1.5 s."""

FIRES_WITHIN_S = 9.0
HURRIED = {"batch_age_s": "0.01"}
"""Batches come faster than they are committed, so that some are written ahead."""

WORKS_S = (0.3, 2.5)
"""Seconds that a daemon works before it is killed or frozen at random."""

_AT_SHUTDOWN = ("before_seal", "after_seal_files", "after_seal_row")
_NEEDS_ORPHAN = ("after_sweep_row",)
_NEEDS_DEAD = ("after_takeover_copy", "after_takeover_row")
_NEEDS_REPEAT = ("after_refused",)
_ONCE = (*_NEEDS_REPEAT, *_AT_SHUTDOWN, *_NEEDS_ORPHAN, *_NEEDS_DEAD)


@dataclass(frozen=True, slots=True)
class Blow:
    """One blow for a daemon: kill or freeze it, at a failpoint or (None) at random."""

    action: str
    failpoint: str | None


@dataclass(slots=True)
class Tally:
    """What was done."""

    kills: int = 0
    freezes: int = 0
    database_restarts: int = 0
    broker_restarts: int = 0
    fired: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.freezes} freezes ({sum(self.fired.values())} of them at failpoints), "
            f"{self.database_restarts} restarts of the database, {self.broker_restarts} of the broker; "
            f"did not fire when armed: {len(self.missed)}"
        )


def blows(chance: Random, kills: int, freezes: int) -> list[Blow]:
    """Blows in random order, two thirds of them at failpoints: every failpoint comes before any comes again."""
    dealt = []
    kill, stop = _names(chance, NAMES), _names(chance, [n for n in NAMES if n not in _AT_SHUTDOWN])
    for k in range(freezes):
        dealt.append(Blow("stop", next(stop) if k % 3 < 2 else None))
    frozen = {blow.failpoint for blow in dealt}
    least = [name for name in NAMES if name not in frozen][:kills]
    dealt += [Blow("kill", name) for name in least]
    for k in range(kills - len(least)):
        dealt.append(Blow("kill", next(kill) if k % 2 else None))
    chance.shuffle(dealt)
    return dealt


def _names(chance: Random, names: Sequence[str]) -> Iterator[str]:
    order = list(names)
    chance.shuffle(order)
    return cycle(order)


class Loop:
    """Deals blows to two daemons at a time, each in a thread of its own, until none is left."""

    def __init__(self, field: Field, daemons: Daemons, chance: Random, dealt: list[Blow]) -> None:
        self.tally = Tally()
        self._field = field
        self._daemons = daemons
        self._chance = chance
        self._left = deque(dealt)
        self._lock = threading.Lock()
        self._own = threading.local()
        self._failed = threading.Event()
        self._errors: list[BaseException] = []

    def run(self, database_restarts: int, broker_restarts: int, every_s: float) -> None:
        """Deal all blows; restart the servers meanwhile, one every `every_s` seconds."""
        servers = self._field.servers
        restarts: list[Callable[[float], None]] = [servers.restart_mariadb] * database_restarts
        restarts += [servers.restart_kafka] * broker_restarts
        self._chance.shuffle(restarts)
        with ThreadPoolExecutor(len(SLOTS) + 1) as pool:
            works = [partial(self._slot, slot) for slot in SLOTS] + [partial(self._restart, restarts, every_s)]
            seeds = [self._chance.getrandbits(64) for _ in works]
            for work, seed in zip(works, seeds, strict=True):
                pool.submit(self._guarded, work, seed)
        if self._errors:
            raise self._errors[0]

    def _guarded(self, work: Callable[[], None], seed: int) -> None:
        self._own.chance = Random(seed)
        try:
            work()
        except BaseException as error:
            self._errors.append(error)
            self._failed.set()

    def _restart(self, restarts: list[Callable[[float], None]], every_s: float) -> None:
        for restart in restarts:
            if self._failed.wait(every_s * self._draw(0.6, 1.0)):
                return
            restart(self._draw(0.1, 1.0))
            with self._lock:
                if restart == self._field.servers.restart_mariadb:
                    self.tally.database_restarts += 1
                else:
                    self.tally.broker_restarts += 1

    def _slot(self, slot: str) -> None:
        daemon: Daemon | None = None
        while not self._failed.is_set() and (blow := self._next()) is not None:
            if blow.failpoint is None:
                daemon = daemon if daemon is not None and daemon.alive else self._daemons.start(slot, **HURRIED).up()
                time.sleep(self._draw(*WORKS_S))
                daemon = self._deal(daemon, blow.action)
            else:
                if daemon is not None and daemon.alive:
                    if blow.failpoint in _NEEDS_DEAD:
                        self._deal(daemon, "kill")
                    else:
                        self._retire(daemon)
                daemon = self._armed(slot, blow.action, blow.failpoint)
        if daemon is not None and daemon.alive:
            self._retire(daemon)

    def _armed(self, slot: str, action: str, failpoint: str) -> Daemon | None:
        """Start a daemon with a failpoint armed, and wait until it fires; where it does not, kill it and try later."""
        if failpoint in _NEEDS_ORPHAN:
            self._orphan()
        count = 1 if failpoint in _ONCE else 1 + int(self._draw(0.0, 4.0))
        daemon = self._daemons.start(slot, failpoints=f"{failpoint}={action}@{count}", **HURRIED).up()
        if failpoint in _AT_SHUTDOWN:
            daemon.joined()
            time.sleep(self._draw(*WORKS_S))
            daemon.terminate()
        if not wait_until(lambda: daemon.stopped or not daemon.alive or self._failed.is_set(), FIRES_WITHIN_S):
            self._missed(Blow(action, failpoint))
            return self._deal(daemon, "kill")
        if self._failed.is_set():
            return None
        if not daemon.fired(failpoint):
            assert failpoint in _AT_SHUTDOWN and daemon.code == 0, f"{failpoint}: exit {daemon.code}\n{daemon.last()}"
            self._missed(Blow(action, failpoint))
            return None
        with self._lock:
            self.tally.fired[failpoint] += 1
        if action == "stop":
            return self._thawed(daemon)
        self._killed()
        return None

    def _missed(self, blow: Blow) -> None:
        """Try it again, at most twice as often as there are failpoints."""
        with self._lock:
            self.tally.missed.append(str(blow.failpoint))
            if len(self.tally.missed) <= 2 * len(NAMES):
                self._left.append(blow)

    def _deal(self, daemon: Daemon, action: str) -> Daemon | None:
        assert daemon.alive, f"ended by itself, exit {daemon.code}:\n{daemon.last()}"
        if action == "stop":
            daemon.freeze()
            return self._thawed(daemon)
        daemon.kill()
        self._killed()
        return None

    def _killed(self) -> None:
        with self._lock:
            self.tally.kills += 1

    def _thawed(self, daemon: Daemon) -> Daemon:
        time.sleep(self._draw(*FREEZE_S))
        daemon.thaw()
        with self._lock:
            self.tally.freezes += 1
        return daemon

    def _retire(self, daemon: Daemon) -> None:
        """End a daemon that is in the way of the next: by a signal that lets it drain, so that both are tried."""
        assert daemon.drain() in (0, 1), f"exit {daemon.code}:\n{daemon.last()}"

    def _orphan(self) -> None:
        """A file without a row, as a daemon leaves that is killed before its first transaction."""
        night = next(iter(sorted(self._field.alertdb.glob("2*"))), self._field.alertdb / "20260305")
        night.mkdir(exist_ok=True)
        (night / f"{secrets.randbits(62) + 1}-{secrets.token_hex(8)}.avro").write_bytes(b"Obj\x01")

    def _next(self) -> Blow | None:
        with self._lock:
            return self._left.popleft() if self._left else None

    def _draw(self, low: float, high: float) -> float:
        # Each thread has a source of its own, so that a seed gives each the same again.
        drawn: float = self._own.chance.uniform(low, high)
        return drawn
