"""The pulse goes on whatever waits: liveness, the reasons against readiness, the series of the lag, the heartbeat."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from consumers.ingest import pulse as rules
from consumers.ingest import run
from consumers.ingest.pulse import STALLED_S, Pulse
from stream import metrics
from stream.clock import ManualClock
from stream.config import IngestSettings
from stream.web.health import Health


class Beating:
    """A pulse whose poller and pipeline say what the test wants."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.health = Health(self.clock)
        self.health.set("starting", None)
        self.since = self.clock.monotonic()
        self.poller: Any = SimpleNamespace(unplaced=frozenset(), away=None, lags=dict)
        engine: Any = None
        self.pulse = Pulse(engine, "me", self.health, self.poller, lambda: self.clock.ticks - self.since, 5.0)

    def reasons(self) -> set[str]:
        self.pulse.look()
        return {reason.code for reason in self.health.reasons()}


def test_a_message_that_is_long_in_flight_costs_readiness_and_not_life() -> None:
    one = Beating()
    assert one.reasons() == set()
    one.clock.advance(STALLED_S)
    assert one.reasons() == {"stalled"}
    one.clock.advance(1000)
    assert one.reasons() == {"stalled"} and one.health.alive()
    one.since = one.clock.ticks
    assert one.reasons() == set() and one.health.ready()


def test_partitions_without_a_place_cost_readiness() -> None:
    one = Beating()
    one.poller.unplaced = frozenset({("t", 3)})
    assert one.reasons() == {"unplaced"} and "t[3]" in one.health.reasons()[0].text
    one.poller.unplaced = frozenset()
    assert one.reasons() == set()


def test_the_lag_of_what_was_revoked_is_told_no_more() -> None:
    one = Beating()
    topic = "lag-of-pulse"
    one.poller.lags = lambda: {(topic, 0): 4, (topic, 1): 5}
    one.reasons()
    one.poller.lags = lambda: {(topic, 1): 6}
    one.reasons()
    assert [metrics.LAG.value(topic=topic, partition=part) for part in "01"] == [None, 6.0]


async def test_a_database_that_gives_neither_answer_nor_error_to_a_heartbeat_costs_readiness(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = Beating()
    frozen = asyncio.Event()

    async def heartbeat(*_: object) -> None:
        await frozen.wait()

    monkeypatch.setattr(rules, "heartbeat", heartbeat)
    monkeypatch.setattr(rules, "BEAT_S", 0.01)
    await one.pulse.beat_once()
    assert one.reasons() == {"heartbeat"}
    frozen.set()
    await one.pulse.beat_once()
    assert one.reasons() == set()


async def test_a_start_that_waits_for_long_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    world: Any = SimpleNamespace(clock=clock)
    daemon = run.Ingest(world, IngestSettings(metrics_port=0))

    async def waiting(*_: object) -> None:
        clock.advance(1000)
        assert not daemon.health.alive()
        await asyncio.sleep(rules.TURN_S * 1.5)
        assert daemon.health.alive() and not daemon.health.ready()
        raise InterruptedError

    monkeypatch.setattr(run, "build", waiting)
    with pytest.raises(InterruptedError):
        await daemon.run()
