"""Partitions that wait for the world or an operator, each with its exact range; the others go on."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from stream import metrics
from stream.clock import Clock
from stream.log import Log
from stream.transport.source import Partition
from stream.web.health import Health

_log = Log("consumers.ingest.holds")


def adopting(part: Partition) -> str:
    """What ends the hold of a partition whose ledger lies ahead of its log."""
    return f"`skyburst ledger adopt {part[0]} --ahead {part[1]}` goes on"


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a partition waits.

    Attributes
    ----------
    code, text
        Stable slug and words.
    missing
        The offsets [start, end) that the log does not have, where that is the trouble.
    since
        Monotonic seconds.
    tried
        Monotonic seconds at which it was last found to be so.
    retry_s
        Seconds after which it is tried again by itself; None where an operator must act.
    stream
        Number of the stream in which nothing ends the hold, whatever the log says later: an operator must begin a new
        one. None where trying again may end it.
    """

    code: str
    text: str
    missing: tuple[int, int] | None
    since: float
    tried: float
    retry_s: float | None
    stream: int | None = None


class Holds:
    """The held partitions of one daemon. Threads may call every method."""

    def __init__(self, clock: Clock, health: Health) -> None:
        self._clock = clock
        self._health = health
        self._held: dict[Partition, Hold] = {}
        self._trial: set[Partition] = set()
        self._barred: dict[Partition, Hold] = {}
        self._codes: set[str] = set()
        self._lock = threading.Lock()

    def __contains__(self, part: Partition) -> bool:
        return part in self._held and part not in self._trial

    def __len__(self) -> int:
        return len(self._held)

    def hold(
        self,
        part: Partition,
        code: str,
        text: str,
        *,
        missing: tuple[int, int] | None = None,
        retry_s: float | None = None,
        longest_s: float = 0.0,
        stream: int | None = None,
    ) -> Hold:
        """Hold `part`; a hold of the same code keeps its beginning. With `stream`, `bar` holds it again there.

        With `longest_s` it is tried again less and less often, every so many seconds in the end.
        """
        with self._lock:
            before = self._held.get(part)
            self._trial.discard(part)
            now = self._clock.monotonic()
            since = before.since if before and before.code == code else now
            if retry_s is not None:
                retry_s = max(retry_s, min(longest_s, (now - since) / 3))
            held = self._held[part] = Hold(code, text, missing, since, now, retry_s, stream)
            if stream is not None:
                self._barred[part] = held
        if before is None or before.code != code:
            where = {"topic": part[0], "partition": part[1], "missing": missing, "message": text}
            _log.error("partition_held", code=code, **where)
        self._say()
        return held

    def bar(self, part: Partition, stream: int) -> None:
        """Hold `part` again where it was held in this very `stream` for good; in a new one that is over."""
        with self._lock:
            before = self._barred.get(part)
            if before is not None and before.stream != stream:
                del self._barred[part]
        if before is not None and before.stream == stream:
            self.hold(part, before.code, before.text, missing=before.missing, retry_s=before.retry_s, stream=stream)

    def release(self, part: Partition) -> None:
        """Hold `part` no more."""
        with self._lock:
            gone = self._held.pop(part, None)
            self._trial.discard(part)
        if gone is not None:
            _log.info("partition_released", code=gone.code, topic=part[0], partition=part[1])
        self._say()

    def passed(self, part: Partition) -> None:
        """A commit of `part` stands: what held it is over."""
        if part in self._trial:
            self.release(part)

    def try_again(self) -> list[Partition]:
        """Partitions whose time has come; they count as not held until they are held again."""
        now = self._clock.monotonic()
        with self._lock:
            due = [
                part
                for part, hold in self._held.items()
                if hold.retry_s is not None and now - hold.tried >= hold.retry_s and part not in self._trial
            ]
            self._trial.update(due)
        return due

    def items(self) -> list[tuple[Partition, Hold]]:
        """All of them."""
        with self._lock:
            return sorted(self._held.items())

    def _say(self) -> None:
        held = self.items()
        self._codes |= {hold.code for _, hold in held}
        for code in self._codes:
            metrics.HELD_PARTITIONS.set(sum(h.code == code for _, h in held), code=code)
        text = "; ".join(
            f"{topic}[{number}] {hold.code}{f' {list(hold.missing)}' if hold.missing else ''}: {hold.text}"
            for (topic, number), hold in held
        )
        self._health.set("partition_held", text or None)
