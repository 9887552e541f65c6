"""When a daemon looks for segments whose owner is gone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from consumers.ingest import upkeep as rules
from consumers.ingest.upkeep import Upkeep
from stream.clock import ManualClock
from stream.web.health import Health

ABANDONED_S = 60.0


class Turning:
    """An upkeep whose database can be away, and the instants at which it looked for what was left behind."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock, self.away, self.frozen_s = ManualClock(), False, 0.0
        self.looks: list[float] = []
        self.sweeps, self.sweep_s = 0, 0.0
        allowance = SimpleNamespace(ask=self.ask)
        nothing: Any = None
        store: Any = SimpleNamespace(appends=True)
        segments: Any = _Segments()
        sweeper: Any = SimpleNamespace(sweep=self.sweep, orphans=0, foreign=0, set_back=False)
        outcome: Any = SimpleNamespace(allowance=allowance, allowed=lambda _: None, health=Health(self.clock))
        monkeypatch.setattr(rules, "left_behind", self.left_behind)
        self.upkeep = Upkeep(
            engine=nothing,
            store=store,
            segments=segments,
            sweeper=sweeper,
            outcome=outcome,
            window=nothing,
            last_partition=nothing,
            clock=self.clock,
            failpoints=nothing,
            survey=1,
            segment_bytes=1 << 30,
            heartbeat_s=5.0,
            abandoned_s=ABANDONED_S,
            reserve_bytes=0,
        )

    async def ask(self, *_: object) -> bool:
        self.clock.advance(self.frozen_s)
        if self.away:
            raise OperationalError("SELECT 1", {}, ConnectionRefusedError())
        return False

    async def left_behind(self, *_: object) -> list[object]:
        self.looks.append(self.clock.monotonic())
        return []

    async def sweep(self, _: object) -> list[str]:
        self.sweeps += 1
        self.clock.advance(self.sweep_s)
        return []

    async def turn(self) -> None:
        """What a turn of the upkeep does in this matter."""
        await self.upkeep._hear()
        await self.upkeep._try("left_behind", self.upkeep._left_behind)
        self.clock.advance(rules.TURN_S)


class _Segments:
    daemon = SimpleNamespace(id="mine")

    def __iter__(self) -> Any:
        return iter(())


@pytest.mark.parametrize("frozen", [False, True], ids=["refuses", "gives no answer"])
async def test_after_the_database_was_away_other_daemons_get_the_time_to_say_that_they_live(
    monkeypatch: pytest.MonkeyPatch, frozen: bool
) -> None:
    one = Turning(monkeypatch)
    await one.turn()
    assert len(one.looks) == 1
    if frozen:
        one.frozen_s = 2 * ABANDONED_S
        await one.turn()
    else:
        one.away = True
        for _ in range(int(2 * ABANDONED_S / rules.TURN_S)):
            await one.turn()
    one.away, one.frozen_s = False, 0.0
    back = one.clock.monotonic()
    while len(one.looks) < 2:
        await one.turn()
    assert one.looks[1] - back >= ABANDONED_S / 3 - 2 * rules.TURN_S


async def test_a_daemon_that_began_when_the_database_was_back_gives_the_others_this_time_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = Turning(monkeypatch)
    one.upkeep.give_time()
    while not one.looks:
        await one.turn()
    assert one.looks[0] - ManualClock().monotonic() >= ABANDONED_S / 3


async def test_what_is_left_behind_is_looked_for_three_times_in_the_time_after_which_it_counts_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = Turning(monkeypatch)
    while one.clock.monotonic() < 3 * ABANDONED_S:
        await one.turn()
    assert 9 <= len(one.looks) <= 10


async def test_a_sweep_that_lists_for_minutes_rests_nine_times_as_long_and_what_is_left_behind_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = Turning(monkeypatch)
    one.sweep_s = 120.0
    while one.clock.monotonic() < 3000.0:
        await one.turn()
    assert one.sweeps == 3 and len(one.looks) > 100


async def test_files_of_another_database_or_of_a_later_state_are_warned_of_while_they_are_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = Turning(monkeypatch)
    warned = []
    for files, set_back in ((0, False), (8, False), (8, True), (0, True)):
        one.upkeep.sweeper.foreign, one.upkeep.sweeper.set_back = files, set_back
        await one.upkeep._sweep()
        warned.append([warning.code for warning in one.upkeep.outcome.health.warnings()])
    assert warned == [[], ["foreign_files"], ["foreign_files", "set_back"], ["set_back"]]
    assert [record.msg for record in caplog.records] == ["foreign_files", "set_back"]
