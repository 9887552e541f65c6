"""Retries: Transient alone, with waits that grow, end at a stop or a deadline, and never cut a try short."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random

import pytest

from stream.clock import Deadline, ManualClock
from stream.errors import Fenced, Poison, SkyburstError, Transient
from stream.retry import Backoff, Waiting, retrying
from stream.retry import pause as real_pause


@dataclass
class Paused:
    clock: ManualClock = field(default_factory=ManualClock)
    waits: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float, stop: asyncio.Event | None) -> bool:
        self.waits.append(seconds)
        self.clock.advance(seconds)
        return stop is not None and stop.is_set()


class Work:
    def __init__(self, *errors: SkyburstError) -> None:
        self.errors, self.tries = list(errors), 0

    async def __call__(self) -> str:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def away() -> Transient:
    return Transient("database_away", "no answer")


async def test_transient_is_tried_again_and_said_each_time() -> None:
    said: list[Waiting] = []
    work, paused = Work(away(), away()), Paused()
    assert await retrying(work, random=Random(1), pause=paused, on_wait=said.append) == "done"
    assert work.tries == 3 and [each.tries for each in said] == [1, 2]
    assert [each.wait_s for each in said] == paused.waits


@pytest.mark.parametrize("error", [Poison("truncated", "x"), Fenced("ledger", "x")])
async def test_any_other_error_passes_at_once(error: SkyburstError) -> None:
    work, paused = Work(error), Paused()
    with pytest.raises(type(error)):
        await retrying(work, random=Random(1), pause=paused)
    assert work.tries == 1 and paused.waits == []


def test_waits_grow_to_the_longest_and_keep_their_jitter() -> None:
    backoff = Backoff(first_s=0.1, factor=2.0, longest_s=1.0, jitter=0.5)
    whole = [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0]
    waits = backoff.waits(Random(7))
    assert all(0.5 * w <= next(waits) <= w for w in whole)
    assert len({round(next(backoff.waits(Random(seed))), 6) for seed in range(20)}) > 10


async def test_a_deadline_before_the_next_try_ends_it() -> None:
    paused = Paused()
    work = Work(*(away() for _ in range(100)))
    with pytest.raises(Transient):
        await retrying(work, random=Random(1), pause=paused, deadline=Deadline.after(paused.clock, 3.0))
    assert 0 < sum(paused.waits) < 3.0


async def test_a_stop_before_or_while_waiting_ends_it() -> None:
    stop = asyncio.Event()

    async def stopping(seconds: float, given: asyncio.Event | None) -> bool:
        stop.set()
        return True

    work = Work(away(), away())
    with pytest.raises(Transient):
        await retrying(work, random=Random(1), stop=stop, pause=stopping)
    with pytest.raises(Transient):
        await retrying(work, random=Random(1), stop=stop, pause=Paused())
    assert work.tries == 2


async def test_a_stop_never_cuts_a_try_short() -> None:
    stop, entered, leave = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> str:
        entered.set()
        await leave.wait()
        return "whole"

    task = asyncio.create_task(retrying(work, random=Random(1), stop=stop))
    await entered.wait()
    stop.set()
    leave.set()
    assert await task == "whole"


async def test_the_real_pause_ends_when_stopped() -> None:
    stop = asyncio.Event()
    waiting = asyncio.create_task(real_pause(3600.0, stop))
    stop.set()
    assert await asyncio.wait_for(waiting, 5.0)
    assert not await real_pause(0.001, asyncio.Event())
    assert not await real_pause(0.0, None)
