"""Partitions whose brokers do not answer: the others are polled meanwhile, and those that come back are read soon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from doubles.scripted_source import ScriptedSource
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.ingest.build import Keeper
from consumers.ingest.holds import Holds
from consumers.ingest.places import LOG_S, Places
from consumers.ingest.poller import LAG_PART_S, LAG_S, LONGEST_RETRY_S, POLL_S, Poller
from consumers.ingest.silent import PATIENT_EACH, PATIENT_S, SHORT_S, Silent
from consumers.ingest.window import Window
from stream.alert import Records
from stream.clock import Deadline, ManualClock
from stream.commit.identity import Daemon
from stream.tables.engine import open_engine
from stream.tables.migrate import migrate
from stream.transport.source import Partition, Source
from stream.web.health import Health

PARTS = [("t", number) for number in range(6)]


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    one = open_engine(f"sqlite:///{tmp_path}/l1.db")
    await migrate(one, 20260101, 20261231)
    yield one
    await one.dispose()


@dataclass(slots=True)
class Timed(ScriptedSource):
    """A source whose polls and silences take their time on a clock that is moved by hand.

    Attributes
    ----------
    polled
        When each poll began.
    asked
        What was asked for without an answer, and how long it was waited for.
    came
        What was placed after its assignment, and when.
    until, back
        When to call `done`, and when the silent ones come back.
    """

    clock: ManualClock = field(default_factory=ManualClock)
    polled: list[float] = field(default_factory=list)
    asked: list[tuple[Partition, float]] = field(default_factory=list)
    came: list[tuple[float, Partition]] = field(default_factory=list)
    until: float = 60.0
    back: float = 40.0

    def poll(self, max_records: int, timeout_s: float, max_bytes: int = 0) -> list[Records]:
        self.polled.append(self.clock.ticks)
        if not self.owned:
            self.give(*PARTS)
        self.clock.advance(POLL_S)
        if self.clock.ticks >= self.back:
            self.silent.clear()
        if self.clock.ticks >= self.until:
            self.done()
        return []

    def watermarks(self, topic: str, partition: int, timeout_s: float = 5.0) -> tuple[int, int]:
        if (topic, partition) in self.silent:
            self.asked.append(((topic, partition), timeout_s))
            self.clock.advance(timeout_s)
        return ScriptedSource.watermarks(self, topic, partition, timeout_s)

    def seek(self, topic: str, partition: int, offset: int) -> None:
        self.came.append((self.clock.ticks, (topic, partition)))
        ScriptedSource.seek(self, topic, partition, offset)


class AllFromStart:
    """A keeper that has a place for everything."""

    def places(self, source: Source, parts: Sequence[Partition]) -> Mapping[Partition, int]:
        return dict.fromkeys(parts, 0)

    def dropped(self) -> None:
        raise AssertionError("nothing is dropped here")


@pytest.mark.parametrize("silent", [3, 5])
async def test_new_partitions_without_a_leader_leave_nine_tenths_of_the_time_to_the_others(
    engine: AsyncEngine, silent: int
) -> None:
    source = Timed(silent=set(PARTS[:silent]))
    clock = source.clock
    places = Places(
        asyncio.get_running_loop(),
        engine,
        (await Daemon.start(engine)).instance,
        Holds(clock, Health(clock)),
        tell=lambda _: None,
        start="earliest",
        numbers={},
        streams={},
        begins={},
        clock=clock,
    )
    keeper = Keeper(places, lambda: None)
    poller = Poller(source, ["t"], Window(1 << 20, lambda _: None), keeper, lambda _: None, clock, revoke_s=0.0)
    source.done = poller.stop
    await asyncio.to_thread(poller.run)
    assert sorted(source.placed) == PARTS
    assert sorted(part for _, part in source.came) == PARTS[:silent]
    assert max(at for at, _ in source.came) < source.back + LONGEST_RETRY_S + 1
    assert source.polled[1] <= LOG_S + silent * SHORT_S + 2 * POLL_S, "the first round"
    during = [at for at in source.polled[1:] if at < source.back]
    assert max(b - a for a, b in pairwise(during)) <= PATIENT_S + 2 * POLL_S
    assert len(during) * POLL_S >= 0.88 * (source.back - during[0])


def test_lag_is_asked_of_one_silent_partition_a_round_and_shortly() -> None:
    source = Timed(silent=set(PARTS[:2]), bounds=dict.fromkeys(PARTS, (0, 9)), until=4 * LAG_S)
    keeper, window = AllFromStart(), Window(1 << 20, lambda _: None)
    poller = Poller(source, ["t"], window, keeper, lambda _: None, source.clock, revoke_s=0.0)
    source.done = poller.stop
    poller.run()
    first = [(PARTS[0], LAG_PART_S), (PARTS[1], SHORT_S)]
    assert source.asked == [*first, (PARTS[0], SHORT_S), (PARTS[1], SHORT_S)]
    assert poller.lags() == dict.fromkeys(PARTS[2:], 9)


def test_silent_partitions_are_asked_in_turn_shortly_and_now_and_then_with_patience() -> None:
    source, silent = Timed(silent=set(PARTS[:2])), Silent(1.5)

    def ask() -> list[tuple[Partition, float]]:
        source.asked.clear()
        told, missed = silent.ask(source, PARTS[:3], Deadline.after(source.clock, 5.0))
        assert told == {PARTS[2]: (0, 0)} and missed.keys() == {part for part, _ in source.asked}
        return list(source.asked)

    assert ask() == [(PARTS[0], 1.5), (PARTS[1], SHORT_S)]
    rounds = [ask() for _ in range(2 * PATIENT_EACH)]
    assert [part for ((part, _),) in rounds] == PARTS[:2] * PATIENT_EACH
    assert [seconds for ((_, seconds),) in rounds] == [SHORT_S] * 2 * (PATIENT_EACH - 1) + [PATIENT_S] * 2
    source.silent.clear()
    told, _ = silent.ask(source, PARTS, Deadline.after(source.clock, 5.0))
    assert sorted(told) == PARTS


def test_a_round_ends_with_its_deadline_and_goes_on_with_those_that_were_not_asked() -> None:
    source, silent = Timed(silent=set(PARTS)), Silent(1.0)
    for _ in range(3):
        silent.ask(source, PARTS, Deadline.after(source.clock, 1.1))
    assert [part for part, _ in source.asked] == [*PARTS]
    silent.forget(PARTS)
    source.asked.clear()
    silent.ask(source, PARTS[:1], Deadline.after(source.clock, 1.1))
    assert source.asked == [(PARTS[0], 1.0)]
