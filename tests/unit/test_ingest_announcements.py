"""The reader of announcements against a scripted source: trouble passes, and what no table holds is stepped over."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from doubles.scripted_source import ScriptedSource, Step, records
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.ingest.announcements import RETRY_S, Announcements
from stream.alert import Records
from stream.clock import ManualClock
from stream.commit.identity import Daemon, named_survey
from stream.errors import Fatal
from stream.tables.engine import open_engine
from stream.tables.migrate import migrate, renew_instance
from stream.tables.model import table
from stream.transport.announcements import Announcement, DetectorClosed, VisitOpened, encode_announcement

A, B = ("visits", 0), ("visits", 1)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    one = open_engine(f"sqlite:///{tmp_path}/l1.db")
    await migrate(one, 20260101, 20261231)
    yield one
    await one.dispose()


class Reading:
    """A reader, its source, and what it said at the steps."""

    def __init__(self, engine: AsyncEngine, instance: str) -> None:
        self.source, self.clock = ScriptedSource(), ManualClock()
        loop = asyncio.get_running_loop()
        self.reader = Announcements(self.source, "visits", engine, instance, self.clock, loop)
        self.source.done = self.reader.stop
        self.at_end: list[bool] = []

    @classmethod
    async def of(cls, engine: AsyncEngine) -> Reading:
        return cls(engine, (await Daemon.start(engine)).instance)

    async def run(self, *steps: Step) -> None:
        self.source.steps = list(steps)
        await asyncio.to_thread(self.reader.run)

    def note(self) -> None:
        self.at_end.append(self.reader.at_end)


def said(offset: int, *told: Announcement, partition: int = 0) -> list[Records]:
    return [
        records("visits", (partition, offset + k), value=encode_announcement(one)) for k, one in enumerate(told)
    ]  # fmt: skip


async def stored(engine: AsyncEngine, name: str) -> list[sa.Row[tuple[object, ...]]]:
    async with engine.connect() as connection:
        return list(await connection.execute(sa.select(table(name))))


async def test_a_partition_that_was_in_trouble_is_read_again_and_holds_up_neither_the_other_nor_the_end(
    engine: AsyncEngine,
) -> None:
    one = await Reading.of(engine)
    source, clock = one.source, one.clock

    def later() -> None:
        source.at_end = {B: 0}
        clock.advance(RETRY_S)

    await one.run(
        lambda: source.give(A, B),
        lambda: source.stop(A, "bad_batch"),
        lambda: source.at_end.update({B: 0}),
        one.note,  # A is in trouble
        later,
        one.note,  # A has just been placed again
        lambda: source.stop(A, "bad_batch"),
        later,
        lambda: said(0, DetectorClosed("lsst", 1, 2, "a", 3)),
        one.note,  # A is read
        lambda: source.at_end.update({A: 1}),
        one.note,
    )
    assert one.at_end == [True, True, False, True]
    assert source.sought == [(A, 0), (A, 0)]
    assert [(row.visit, row.alerts) for row in await stored(engine, "detector_closed")] == [(1, 3)]


async def test_a_partition_that_its_topic_has_no_more_holds_up_neither_the_others_nor_the_polls(
    engine: AsyncEngine,
) -> None:
    """A topic made again with fewer: only polls bring the news that the group took B away."""
    one = await Reading.of(engine)
    source = one.source

    def again() -> None:
        source.absent.add(B)
        source.stop(A, "topic_recreated")
        source.stop(B, "topic_recreated")

    asyncio.get_running_loop().call_later(15, one.reader.stop)
    await one.run(
        lambda: source.give(A, B),
        again,
        lambda: one.clock.advance(RETRY_S),
        lambda: said(0, DetectorClosed("lsst", 1, 2, "a", 3)),
        lambda: source.take_away(B),
        lambda: one.clock.advance(RETRY_S),
    )
    assert [row.visit for row in await stored(engine, "detector_closed")] == [1]
    assert source.sought == [(A, 0)]


async def test_what_no_table_can_hold_is_stepped_over_and_what_is_not_finite_is_none(engine: AsyncEngine) -> None:
    one = await Reading.of(engine)
    nan = VisitOpened("lsst", 5, "a", 20260305, (1,), math.nan, math.inf)
    wrong = (
        VisitOpened("lsst", 6, "r" * 65, 20260305),
        VisitOpened("s" * 65, 7, "a", 20260305),
        DetectorClosed("lsst", 8, 32768, "a", 3),
    )
    await one.run(lambda: one.source.give(A), lambda: said(0, *wrong, nan))
    rows = await stored(engine, "visits")
    assert [(row.visit, row.endOfReadout, row.standsForNow) for row in rows] == [(5, None, None)]
    assert await stored(engine, "detector_closed") == []
    assert [row.next for row in await stored(engine, "ledger")] == [4]


async def test_what_came_in_front_of_a_trouble_is_stored_however_often_it_comes_back(engine: AsyncEngine) -> None:
    one = await Reading.of(engine)

    def bad() -> list[Records]:
        one.source.stop(A, "bad_batch")
        return said(0, DetectorClosed("lsst", 1, 2, "a", 3))

    await one.run(lambda: one.source.give(A), bad, lambda: one.clock.advance(RETRY_S), bad)
    assert [row.visit for row in await stored(engine, "detector_closed")] == [1]
    assert [row.next for row in await stored(engine, "ledger")] == [1]
    assert one.source.sought == [(A, 1)]


async def test_a_reader_ends_where_another_process_has_taken_its_instance(engine: AsyncEngine) -> None:
    one = await Reading.of(engine)

    def taken() -> None:
        raise Fatal("instance_taken", "fenced")

    with pytest.raises(Fatal, match="fenced"):
        await one.run(lambda: one.source.give(A), taken, lambda: None)


async def renewed(engine: AsyncEngine) -> None:
    """Another database stands where the reader began, as after a rebuild."""
    async with engine.begin() as connection:
        await renew_instance(connection)


async def test_a_reader_ends_where_another_database_stands_and_puts_nothing_into_it(engine: AsyncEngine) -> None:
    one = await Reading.of(engine)
    await renewed(engine)
    with pytest.raises(Fatal) as caught:
        await one.run(lambda: one.source.give(A))
    assert caught.value.code == "level1_instance"
    assert [await stored(engine, name) for name in ("streams", "ledger")] == [[], []]


@pytest.mark.parametrize("survey", ["lsst", "one that has no number yet"])
async def test_a_reader_ends_where_the_database_is_replaced_while_it_reads(engine: AsyncEngine, survey: str) -> None:
    one = await Reading.of(engine)
    await named_survey(engine, "lsst", one.reader.instance)
    loop = asyncio.get_running_loop()

    def replaced() -> list[Records]:
        asyncio.run_coroutine_threadsafe(renewed(engine), loop).result()
        return said(0, DetectorClosed(survey, 1, 2, "a", 3))

    with pytest.raises(Fatal) as caught:
        await one.run(lambda: one.source.give(A), replaced)
    assert caught.value.code == "level1_instance"
    assert [row.name for row in await stored(engine, "surveys")] == ["lsst"]
    assert await stored(engine, "detector_closed") == []
    assert [row.next for row in await stored(engine, "ledger")] == [0]
