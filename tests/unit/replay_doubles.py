"""A publisher without a broker, and visits made by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from stream.alert import Header
from stream.clock import ManualClock
from stream.errors import SkyburstError
from stream.transport.announcements import Announcement, decode_announcement
from stream.transport.publisher import OnDelivery
from stream.visit import Outgoing, Visit, alert_headers


@dataclass
class Sent:
    """One record as it was sent, and when (monotonic seconds)."""

    topic: str
    value: bytes
    key: bytes | None
    headers: tuple[Header, ...]
    timestamp_ms: int | None
    partition: int | None
    at: float
    told: OnDelivery | None


@dataclass
class FakePublisher:
    """Acknowledges at the next poll; waiting moves the clock. `refuse` gives the error for a record, or None."""

    clock: ManualClock = field(default_factory=ManualClock)
    refuse: Callable[[Sent], SkyburstError | None] = lambda sent: None
    sent: list[Sent] = field(default_factory=list)
    waiting: list[Sent] = field(default_factory=list)
    silent: bool = False
    closed: bool = False
    stuck: bool = False
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: Sequence[Header] = (),
        timestamp_ms: int | None = None,
        partition: int | None = None,
        on_delivery: OnDelivery | None = None,
    ) -> None:
        assert value is not None
        record = Sent(topic, value, key, tuple(headers), timestamp_ms, partition, self.clock.monotonic(), on_delivery)
        self.sent.append(record)
        self.waiting.append(record)

    def busy(self) -> bool:
        return self.stuck

    def poll(self, timeout_s: float = 0.0) -> None:
        self.clock.advance(timeout_s)
        if not self.silent:
            self._tell()

    def flush(self, timeout_s: float) -> int:
        self.poll(timeout_s)
        return len(self.waiting)

    def close(self) -> None:
        self.closed = True
        self._tell()

    def _tell(self) -> None:
        waiting, self.waiting = self.waiting, []
        for record in waiting:
            error = self.refuse(record)
            lane = (record.topic, record.partition or 0)
            offset = -1
            if error is None:
                offset = self.offsets.get(lane, 0)
                self.offsets[lane] = offset + 1
            if record.told is not None:
                record.told(error, lane[1], offset)

    def on(self, topic: str) -> list[Sent]:
        return [each for each in self.sent if each.topic == topic]

    def announced(self, topic: str = "visits") -> list[Announcement]:
        return [decode_announcement(each.value) for each in self.on(topic)]


def alert(visit: int, number: int, detector: int = 0, size: int = 10) -> Outgoing:
    value = b"%d/%d " % (visit, number)
    return Outgoing(None, value.ljust(size, b"."), alert_headers(visit, detector, visit * 1000 + number))


def visit_of(number: int, alerts: int, *, known: bool = True, detectors: Iterable[int] = (0,)) -> Visit:
    """A visit whose alerts go round its detectors."""
    among = tuple(detectors)
    counts = {each: len(range(place, alerts, len(among))) for place, each in enumerate(among)}
    made = (alert(number, which, among[which % len(among)]) for which in range(alerts))
    return Visit(number, 20260305, among, counts if known else None, 61104.25, made)
