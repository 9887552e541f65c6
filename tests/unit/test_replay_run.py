"""What a replay sends, when, and what it says of it."""

from __future__ import annotations

from itertools import chain

import pytest
from replay_doubles import FakePublisher, Sent, alert, visit_of

from producers.acknowledged import Acknowledged
from producers.headroom import Headroom
from producers.pace import Flat, Pace, Sky, Steady, parse_pace
from producers.receipts import Unacknowledged
from producers.replay import GIVE_UP, Outcome, Plan, Replay
from stream.errors import SkyburstError, Transient, Wrong
from stream.transport.announcements import DetectorClosed, VisitOpened
from stream.visit import Visit

AWAY = Transient("broker_away", "the broker is away")


def plan(pace: Pace | None = None, survey: str | None = "lsst") -> Plan:
    return Plan("run-1", "alerts", survey, "visits", pace or Flat(), finish_within_s=1.0)


def times(sent: list[Sent]) -> list[float]:
    return [each.at for each in sent]


def test_sky_pace_opens_a_visit_each_interval_and_spreads_its_alerts_over_the_burst() -> None:
    publisher = FakePublisher()
    replay = Replay(publisher, plan(Sky(39.0, 5.0)), clock=publisher.clock)
    replay.run([visit_of(1, 10), visit_of(2, 5)])
    assert times(publisher.on("alerts")) == pytest.approx([0.5 * n for n in range(10)] + [39.0 + n for n in range(5)])
    opened = [each for each in publisher.announced() if isinstance(each, VisitOpened)]
    assert [each.standsForNow for each in opened] == pytest.approx([0.0, 39.0])
    assert [each.endOfReadout for each in opened] == [61104.25, 61104.25]


@pytest.mark.parametrize("early", [True, False])
def test_a_run_that_cannot_be_noted_ends_with_that_and_what_it_did(early: bool) -> None:
    publisher = FakePublisher()
    full = Wrong("output", "the run cannot be noted")

    def save(outcome: Outcome) -> None:
        if early or outcome.ended:
            raise full

    outcome = Replay(publisher, plan(Steady(4.0)), save=save, clock=publisher.clock).run([visit_of(1, 20)])
    assert outcome.ended_by is full and not outcome.complete
    assert (outcome.tally.sent < 20) is early and outcome.tally.acknowledged == outcome.tally.sent


def test_a_publisher_that_sends_again_keeps_nobody_from_stopping_the_run() -> None:
    publisher = FakePublisher(stuck=True)
    noted: list[Outcome] = []
    clock = publisher.clock
    replay = Replay(publisher, plan(), save=noted.append, stopping=lambda: clock.monotonic() > 3.0, clock=clock)
    outcome = replay.run([visit_of(1, 5)])
    assert isinstance(outcome.ended_by, KeyboardInterrupt)
    assert publisher.sent == [] and len(noted) > 2, "and it is noted meanwhile"


def test_steady_pace_sends_so_many_a_second_across_visits() -> None:
    publisher = FakePublisher()
    Replay(publisher, plan(Steady(4.0)), clock=publisher.clock).run([visit_of(1, 6), visit_of(2, 2)])
    assert times(publisher.on("alerts")) == pytest.approx([0.25 * n for n in range(8)])


def test_a_late_visit_stands_for_the_instant_of_its_schedule() -> None:
    publisher = FakePublisher()

    def slow() -> Visit:
        publisher.clock.advance(100.0)
        return visit_of(2, 1)

    Replay(publisher, plan(Sky(39.0, 5.0)), clock=publisher.clock).run(
        each() for each in (lambda: visit_of(1, 1), slow)
    )
    opened = [each for each in publisher.announced() if isinstance(each, VisitOpened)]
    assert opened[1].standsForNow == pytest.approx(39.0)


def test_known_counts_are_announced_before_the_alerts() -> None:
    publisher = FakePublisher()
    Replay(publisher, plan(), clock=publisher.clock).run([visit_of(1, 5, detectors=(3, 7, 9))])
    assert [each.topic for each in publisher.sent] == ["visits"] * 4 + ["alerts"] * 5
    assert publisher.announced()[0] == VisitOpened("lsst", 1, "run-1", 20260305, (3, 7, 9), 61104.25, 0.0)
    assert publisher.announced()[1:] == [
        DetectorClosed("lsst", 1, 3, "run-1", 2),
        DetectorClosed("lsst", 1, 7, "run-1", 2),
        DetectorClosed("lsst", 1, 9, "run-1", 1),
    ]
    assert {each.key for each in publisher.on("visits")} == {b"1"}


def test_unknown_counts_are_announced_after_the_last_visit_and_count_ids_once() -> None:
    publisher = FakePublisher()
    twice = Visit(1, 20260305, (0, 4), None, None, iter([alert(1, 0), alert(1, 0), alert(1, 1)]))
    again = Visit(1, 20260305, (), None, None, iter([alert(1, 2)]))
    Replay(publisher, plan(), clock=publisher.clock).run([twice, visit_of(2, 1, known=False), again])
    closed = [each for each in publisher.announced() if isinstance(each, DetectorClosed)]
    assert {(each.visit, each.detector): each.alerts for each in closed} == {(1, 0): 3, (1, 4): 0, (2, 0): 1}
    assert publisher.sent[-1].topic == "visits"


def test_a_visit_without_alerts_is_announced() -> None:
    publisher = FakePublisher()
    outcome = Replay(publisher, plan(), clock=publisher.clock).run([visit_of(5, 0)])
    assert [type(each) for each in publisher.announced()] == [VisitOpened, DetectorClosed]
    assert outcome.complete


@pytest.mark.parametrize("survey", [None, "lsst"])
def test_alerts_of_no_known_visit_are_sent_and_not_announced(survey: str | None) -> None:
    publisher = FakePublisher()
    alerts = iter([alert(0, 0), alert(0, 1)])
    Replay(publisher, plan(survey=survey), clock=publisher.clock).run([Visit(-1, -1, (), None, None, alerts)])
    assert len(publisher.on("alerts")) == 2
    if survey is None:
        assert publisher.announced() == []


def test_what_was_not_acknowledged_is_named_and_the_rest_goes_on() -> None:
    publisher = FakePublisher(refuse=lambda sent: AWAY if sent.value.startswith(b"1/3 ") else None)
    replay = Replay(publisher, plan(), clock=publisher.clock)
    outcome = replay.run([visit_of(1, 6)])
    assert not outcome.complete
    assert (outcome.tally.sent, outcome.tally.acknowledged, outcome.tally.unacknowledged) == (6, 5, 1)
    assert replay.done.ranges() == [(0, 3), (4, 6)]
    (failed,) = outcome.failed.values()
    assert (failed.number, failed.code, failed.headers["diaSourceId"]) == (3, "broker_away", "1003")


def test_a_resumed_run_sends_only_the_rest_and_announces_only_its_visits() -> None:
    first = FakePublisher(refuse=lambda sent: AWAY if sent.value.startswith(b"2/1 ") else None)
    replay = Replay(first, plan(), clock=first.clock)
    before = replay.run([visit_of(1, 3), visit_of(2, 3), visit_of(3, 3)])
    second = FakePublisher()
    again = Replay(second, plan(), done=Acknowledged(replay.done.ranges()), expected=before.failed, clock=second.clock)
    outcome = again.run([visit_of(1, 3), visit_of(2, 3), visit_of(3, 3)])
    assert [each.value for each in second.on("alerts")] == [alert(2, 1).value]
    assert {each.visit for each in second.announced()} == {2}
    assert outcome.complete
    assert (outcome.tally.skipped, again.done.ranges()) == (8, [(0, 9)])


def test_a_resumed_run_announces_all_again_where_announcements_were_lost() -> None:
    second = FakePublisher()
    Replay(second, plan(), done=Acknowledged([(0, 6)]), reannounce=True, clock=second.clock).run(
        [visit_of(1, 3), visit_of(2, 3)]
    )
    assert second.on("alerts") == []
    assert {each.visit for each in second.announced() if isinstance(each, VisitOpened)} == {1, 2}


def test_a_source_that_changed_is_refused() -> None:
    publisher = FakePublisher()
    other = Unacknowledged.of(0, alert(9, 9), "broker_away", "")
    outcome = Replay(publisher, plan(), expected={0: other}, clock=publisher.clock).run([visit_of(1, 3)])
    assert isinstance(outcome.ended_by, Wrong)
    assert outcome.ended_by.code == "source_changed"
    assert publisher.on("alerts") == []


def test_it_gives_up_when_nothing_is_acknowledged_any_more() -> None:
    publisher = FakePublisher(refuse=lambda sent: AWAY if sent.topic == "alerts" else None)
    outcome = Replay(publisher, plan(), clock=publisher.clock).run([visit_of(1, 3 * GIVE_UP)])
    assert isinstance(outcome.ended_by, Transient)
    assert outcome.ended_by.code == "not_acknowledged"
    assert GIVE_UP <= outcome.tally.sent < 2 * GIVE_UP


def test_records_still_queued_at_the_end_count_as_not_acknowledged() -> None:
    publisher = FakePublisher(silent=True, refuse=lambda sent: AWAY)
    saved: list[Outcome] = []
    outcome = Replay(publisher, plan(), save=saved.append, clock=publisher.clock).run([visit_of(1, 3)])
    assert publisher.closed
    assert outcome.tally.unacknowledged == 3
    assert outcome.tally.unannounced == 2
    assert saved[-1] is outcome


def test_an_interrupt_is_an_end_with_a_receipt() -> None:
    publisher = FakePublisher()

    def interrupted() -> Visit:
        raise KeyboardInterrupt

    saved: list[Outcome] = []
    replay = Replay(publisher, plan(), save=saved.append, clock=publisher.clock)
    outcome = replay.run(each() for each in (lambda: visit_of(1, 3), interrupted))
    assert isinstance(outcome.ended_by, KeyboardInterrupt)
    assert replay.done.ranges() == [(0, 3)]
    assert saved[-1].ended


def test_it_stops_between_two_messages_when_told_to() -> None:
    publisher = FakePublisher()
    replay = Replay(publisher, plan(), stopping=lambda: len(publisher.on("alerts")) == 5, clock=publisher.clock)
    outcome = replay.run([visit_of(1, 100)])
    assert isinstance(outcome.ended_by, KeyboardInterrupt)
    assert replay.done.ranges() == [(0, 5)]
    assert len(publisher.on("alerts")) == 5


def test_the_receipt_is_saved_every_second_while_it_goes_on() -> None:
    publisher = FakePublisher()
    saved: list[bool] = []
    replay = Replay(publisher, plan(Steady(2.0)), save=lambda o: saved.append(o.ended), clock=publisher.clock)
    replay.run([visit_of(1, 20)])
    assert saved[-1] is True
    assert 8 <= saved.count(False) <= 10


def test_no_partition_has_more_unread_than_the_limit_unless_one_message_is_larger() -> None:
    publisher = FakePublisher()
    read = {0: 0, 1: 0}
    worst = 0

    def gate(partition: int) -> int:
        nonlocal worst
        lanes = [publisher.offsets.get(("alerts", lane), 0) - read[lane] for lane in (0, 1)]
        worst = max(worst, *lanes)
        read[partition] = publisher.offsets.get(("alerts", partition), 0)
        return read[partition]

    alerts = chain((alert(1, n, size=100) for n in range(40)), [alert(1, 40, size=1000)], [alert(1, 41, size=100)])
    headroom = Headroom(350, 2, gate)
    replay = Replay(publisher, plan(), headroom=headroom, clock=publisher.clock)
    outcome = replay.run([Visit(1, 20260305, (0,), {0: 42}, None, alerts)])
    assert outcome.tally.acknowledged == 42
    assert worst <= 3
    assert {each.partition for each in publisher.on("alerts")} == {0, 1}


def test_headroom_waits_for_the_reader_and_frees_what_failed() -> None:
    place = 0
    headroom = Headroom(100, 1, lambda partition: place)
    assert headroom.take(60) == 0
    headroom.delivered(0, 0, 60)
    assert headroom.take(60) is None
    place = 1
    assert headroom.take(60) == 0
    assert headroom.take(60) is None
    headroom.failed(0, 60)
    assert headroom.take(60) == 0


@pytest.mark.parametrize(("text", "pace"), [("sky", Sky(39.0, 5.0)), ("max", Flat()), ("260", Steady(260.0))])
def test_paces_are_named_as_documented(text: str, pace: Pace) -> None:
    assert parse_pace(text) == pace


@pytest.mark.parametrize("text", ["", "fast", "0", "-3", "nan", "inf"])
def test_other_paces_are_wrong_use(text: str) -> None:
    with pytest.raises(Wrong):
        parse_pace(text)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf")])
def test_seconds_that_never_pass_are_wrong_use(seconds: float) -> None:
    for given in ((seconds, 5.0), (39.0, seconds)):
        with pytest.raises(Wrong):
            parse_pace("sky", *given)


def test_errors_of_the_publisher_end_the_run_with_its_receipt() -> None:
    publisher = FakePublisher()
    dead = SkyburstError("publisher_failed", "no more")

    def send(*args: object, **kwargs: object) -> None:
        raise dead

    publisher.send = send  # type: ignore[method-assign]
    saved: list[Outcome] = []
    outcome = Replay(publisher, plan(), save=saved.append, clock=publisher.clock).run([visit_of(1, 3)])
    assert outcome.ended_by is dead
    assert saved[-1] is outcome
