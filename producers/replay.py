"""A replay: visits in, announcements and alerts out, at a pace, each message's delivery confirmed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from producers.acknowledged import Acknowledged
from producers.headroom import Headroom
from producers.pace import Flat, Pace
from producers.receipts import Unacknowledged, digest_of
from producers.roll import Roll
from producers.sources.files import NO_VISIT
from producers.watch import Tally, Unwatched, Watch
from stream.clock import Clock, SystemClock
from stream.errors import SkyburstError, Transient, Wrong
from stream.transport.announcements import Announcement, DetectorClosed, VisitOpened, encode_announcement
from stream.transport.publisher import Publisher
from stream.visit import Outgoing, Visit

TURN = 32
"""Messages between two looks at deliveries, where no wait gives occasion."""
SAVE_S = 1.0
GIVE_UP = 1000
"""Messages in a row that the broker did not acknowledge, after which a run ends."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is to do.

    Attributes
    ----------
    run
        Id of the run, unlike any other's.
    topic
        Where the alerts go.
    survey
        Name of the survey, for the announcements.
    visits_topic
        Where the announcements go; None: none are made.
    pace
        When alerts are due.
    finish_within_s
        Seconds that the last deliveries may take.
    """

    run: str
    topic: str
    survey: str | None = None
    visits_topic: str | None = None
    pace: Pace = field(default_factory=Flat)
    finish_within_s: float = 130.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run stands, or ended: `ended` is False while it goes on, `ended_by` what stopped it early."""

    tally: Tally
    failed: Mapping[int, Unacknowledged]
    ended_by: SkyburstError | KeyboardInterrupt | None
    ended: bool = True

    @property
    def complete(self) -> bool:
        """Whether the source came to its end and everything was acknowledged."""
        return self.ended_by is None and not self.failed and self.tally.unannounced == 0


class Replay:
    """One run.

    Parameters
    ----------
    done
        What an earlier try of this run had acknowledged: not sent again. Grows with what this one gets acknowledged.
    expected
        What that try reported as unacknowledged, by number: the source must still give the same message there.
    reannounce
        Announce also visits of which nothing is left to send: that try did not get all its announcements through.
    headroom
        Where given, holds back and chooses partitions.
    save
        Called about once a second and at the end, with what failed so far.
    stopping
        Asked between messages; once it is true the run ends as by a KeyboardInterrupt. A signal handler that raised
        could do so inside a delivery's callback, and what was just acknowledged would be sent again.
    """

    def __init__(
        self,
        publisher: Publisher,
        plan: Plan,
        *,
        done: Acknowledged | None = None,
        expected: Mapping[int, Unacknowledged] | None = None,
        reannounce: bool = False,
        headroom: Headroom | None = None,
        watch: Watch | None = None,
        save: Callable[[Outcome], None] | None = None,
        stopping: Callable[[], bool] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._publisher = publisher
        self._plan = plan
        self.done = Acknowledged() if done is None else done
        self._expected = expected or {}
        self._reannounce = reannounce
        self._headroom = headroom
        self._watch = watch or Unwatched()
        self._save = save or (lambda _: None)
        self._stopping = stopping or (lambda: False)
        self._clock = clock or SystemClock()
        self._tally = Tally()
        self._failed: dict[int, Unacknowledged] = {}
        self._in_a_row = 0
        self._saved_at = 0.0
        self._roll = Roll()

    def run(self, visits: Iterable[Visit]) -> Outcome:
        """Send all `visits`; returns also where it had to stop early, and then says why."""
        ended_by: SkyburstError | KeyboardInterrupt | None = None
        self._tally.begun = self._tally.ended = self._saved_at = self._clock.monotonic()
        try:
            for visit in visits:
                self._send_visit(visit)
            for closed in self._roll.left():
                self._announce(closed)
        except (SkyburstError, KeyboardInterrupt) as error:
            ended_by = error
        self._finish()
        outcome = Outcome(self._tally, self._failed, ended_by)
        try:
            self._save(outcome)
        except SkyburstError as error:
            outcome = replace(outcome, ended_by=ended_by or error)
        self._watch.done(self._tally)
        return outcome

    def _send_visit(self, visit: Visit) -> None:
        before = self._tally.taken
        index = self._tally.visits
        alerts_before = self._tally.sent
        opened = False
        for message in visit.alerts:
            number = self._tally.taken
            self._tally.taken += 1
            self._roll.count(visit, message)
            if self.done.before(number):
                self._tally.skipped += 1
                continue
            if not opened:
                opened = self._open(visit, index, alerts_before)
            position = self._tally.sent - alerts_before
            self._wait_until(self._plan.pace.due(index, position, visit.expected, alerts_before))
            self._send(number, message)
        if not opened and (self._reannounce or self._tally.taken == before):
            opened = self._open(visit, index, alerts_before)
        self._close(visit)
        if opened:
            self._watch.closed(visit, self._tally)

    def _open(self, visit: Visit, index: int, alerts_before: int) -> bool:
        opens = self._plan.pace.opens(index, alerts_before)
        self._wait_until(opens)
        late = 0.0 if opens is None else self._clock.monotonic() - self._tally.begun - opens
        self._tally.visits += 1
        if visit.visit != NO_VISIT and self._plan.survey is not None:
            stands_for = self._clock.now() - late
            self._announce(
                VisitOpened(
                    self._plan.survey,
                    visit.visit,
                    self._plan.run,
                    visit.night,
                    visit.detectors,
                    visit.end_of_readout,
                    stands_for,
                )
            )
            for detector, alerts in (visit.counts or {}).items():
                self._announce(DetectorClosed(self._plan.survey, visit.visit, detector, self._plan.run, alerts))
        self._watch.opened(visit, self._tally)
        return True

    def _close(self, visit: Visit) -> None:
        if self._plan.survey is not None:
            self._roll.close(visit, self._plan.survey, self._plan.run)

    def _announce(self, announcement: Announcement) -> None:
        if self._plan.visits_topic is None:
            return
        key = b"%d" % announcement.visit
        self._until_free()
        self._publisher.send(
            self._plan.visits_topic, encode_announcement(announcement), key, on_delivery=self._told_of_announcement
        )

    def _told_of_announcement(self, error: SkyburstError | None, partition: int, offset: int) -> None:
        if error is None:
            self._tally.announced += 1
        else:
            self._tally.unannounced += 1

    def _send(self, number: int, message: Outgoing) -> None:
        if self._stopping():
            raise KeyboardInterrupt
        earlier = self._expected.get(number)
        if earlier is not None and earlier.digest != digest_of(message):
            raise Wrong(
                "source_changed",
                f"message {number} is not the one that was not acknowledged",
                "give the source as it was, or send without --resume",
            )
        self._until_free()
        partition = self._room_for(len(message.value))
        self._publisher.send(
            self._plan.topic,
            message.value,
            message.key,
            message.headers,
            message.timestamp_ms,
            partition,
            partial(self._told, number, message, partition),
        )
        self._tally.sent += 1
        if self._tally.sent % TURN == 0:
            self._turn(0.0)

    def _told(
        self, number: int, message: Outgoing, lane: int | None, error: SkyburstError | None, partition: int, offset: int
    ) -> None:
        size = len(message.value)
        if error is None:
            self.done.add(number)
            self._tally.acknowledged += 1
            self._tally.nbytes += size
            self._in_a_row = 0
        else:
            self._failed[number] = Unacknowledged.of(number, message, error.code, error.message)
            self._tally.unacknowledged += 1
            self._in_a_row += 1
        if self._headroom is not None and lane is not None:
            if error is None:
                self._headroom.delivered(lane, offset, size)
            else:
                self._headroom.failed(lane, size)

    def _room_for(self, size: int) -> int | None:
        if self._headroom is None:
            return None
        while (partition := self._headroom.take(size)) is None:
            self._turn(0.02)
        return partition

    def _until_free(self) -> None:
        while self._publisher.busy():
            self._turn(0.05)

    def _wait_until(self, due: float | None) -> None:
        if due is None:
            return
        while (left := self._tally.begun + due - self._clock.monotonic()) > 0:
            self._turn(min(left, 0.1))

    def _turn(self, wait_s: float) -> None:
        self._publisher.poll(wait_s)
        now = self._tally.ended = self._clock.monotonic()
        self._watch.turned(self._tally)
        if now - self._saved_at >= SAVE_S:
            self._saved_at = now
            self._save(Outcome(self._tally, self._failed, None, ended=False))
        if self._stopping():
            raise KeyboardInterrupt
        if self._in_a_row >= GIVE_UP:
            last = next(reversed(self._failed.values()))
            raise Transient(
                "not_acknowledged",
                f"{self._in_a_row} messages in a row were not acknowledged: {last.reason}",
                "see to the broker, then send the rest with --resume",
            )

    def _finish(self) -> None:
        limit = self._clock.monotonic() + self._plan.finish_within_s
        try:
            while self._publisher.flush(0.1) and self._clock.monotonic() < limit:
                self._tally.ended = self._clock.monotonic()
                self._watch.turned(self._tally)
        except KeyboardInterrupt:
            pass
        self._tally.ended = self._clock.monotonic()
        self._publisher.close()
