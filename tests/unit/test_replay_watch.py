"""How a replay shows itself: plain lines, or a bar where there is a terminal."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

from replay_doubles import FakePublisher, visit_of

from producers.pace import Steady
from producers.replay import Plan, Replay
from producers.watch import Bar, Lines, watch_for
from stream.clock import ManualClock
from stream.errors import Transient

AWAY = Transient("broker_away", "the broker is away")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_name_each_visit_and_the_rate_every_few_seconds() -> None:
    publisher = FakePublisher()
    said: list[str] = []
    watch = Lines(said.append, publisher.clock, every_s=5.0)
    plan = Plan("r", "alerts", "lsst", "visits", Steady(2.0))
    Replay(publisher, plan, watch=watch, clock=publisher.clock).run([visit_of(7, 30), visit_of(8, 0)])
    assert said[0] == "visit 7 of night 20260305, 30 alerts"
    rates = [line for line in said if line.endswith("2/s")]
    assert rates[:2] == ["  sent 10, acknowledged 10, 2/s", "  sent 20, acknowledged 20, 2/s"]
    assert said[-2] == "visit 8 of night 20260305, 0 alerts"


def test_what_is_not_acknowledged_stands_out() -> None:
    publisher = FakePublisher(refuse=lambda sent: AWAY if sent.topic == "alerts" else None)
    said: list[str] = []
    plan = Plan("r", "alerts", "lsst", "visits", Steady(2.0))
    watch = Lines(said.append, publisher.clock)
    Replay(publisher, plan, watch=watch, clock=publisher.clock).run([visit_of(7, 30)])
    assert "NOT ACKNOWLEDGED 29" in said[-1]


def test_a_terminal_gets_a_bar_and_a_file_gets_lines() -> None:
    clock = ManualClock()
    assert isinstance(watch_for(io.StringIO(), clock), Lines)
    terminal = Terminal()
    watch = watch_for(terminal, clock)
    assert isinstance(watch, Bar)
    publisher = FakePublisher()
    Replay(publisher, Plan("r", "alerts", "lsst", "visits"), watch=watch, clock=publisher.clock).run([visit_of(7, 64)])
    assert "visit 7 of night 20260305" in terminal.getvalue()
    assert "64/64" in terminal.getvalue()


def test_everything_is_sent_though_nobody_can_be_told() -> None:
    full = Path("/dev/full").open("w")  # noqa: SIM115 - closing it fails, too
    for nobody in (None, full):
        publisher = FakePublisher()
        watch = watch_for(nobody, publisher.clock)
        outcome = Replay(publisher, Plan("r", "alerts"), watch=watch, clock=publisher.clock).run([visit_of(7, 64)])
        assert outcome.complete and outcome.tally.acknowledged == 64
    with suppress(OSError):
        full.close()
