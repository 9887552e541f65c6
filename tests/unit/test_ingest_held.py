"""Partitions that are held: what ends a hold, how often it is tried, and where reading starts again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from doubles.scripted_source import ScriptedSource
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.ingest import places as rules
from consumers.ingest.holds import Holds
from consumers.ingest.outcome import LONGEST_RETRY_S, RETRY_S, Outcome
from consumers.ingest.places import LATER, Places
from consumers.ingest.unknown import UnknownSchemas, Waits, asked
from stream.clock import ManualClock
from stream.codec.decoder import Decoder
from stream.codec.lookup import SchemaAway, SchemaUnknown
from stream.codec.schema import WriterSchema
from stream.commit import ledger
from stream.commit.identity import Daemon, next_generation
from stream.commit.waiting import Tell
from stream.errors import Fatal, Held, SkyburstError, Transient
from stream.tables.engine import open_engine
from stream.tables.migrate import migrate
from stream.transport.source import Partition, PartitionTrouble
from stream.web.health import Health

A, B, TOPIC = ("t", 0), ("t", 1), ("t", -1)
SCHEMA = WriterSchema.of('{"type": "record", "name": "r", "fields": [{"name": "a", "type": "int"}]}', 7)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    one = open_engine(f"sqlite:///{tmp_path}/l1.db")
    await migrate(one, 20260101, 20261231)
    yield one
    await one.dispose()


class Schemas:
    """A source that gives, denies or is away, and counts."""

    def __init__(self) -> None:
        self.error: SkyburstError | None = SchemaAway("down")
        self.asked = 0

    def get(self, schema_id: int) -> WriterSchema:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return SCHEMA


class Holding:
    """An outcome whose poller only notes what it is told."""

    def __init__(self, schema_hold_s: float = 30.0, engine: AsyncEngine | None = None, instance: str = "") -> None:
        self.clock, self.schemas = ManualClock(), Schemas()
        self.holds = Holds(self.clock, Health(self.clock))
        self.resumed: list[Partition] = []
        self.numbers = {"t": 1}
        poller: Any = SimpleNamespace(resume=self.resumed.extend, hold=lambda _: None, ended=frozenset())
        decoder = Decoder(self.schemas, ["a"])
        preparer: Any = SimpleNamespace(numbers=self.numbers, decoder=decoder, unknown=UnknownSchemas(3))
        nothing: Any = None
        committer: Any = SimpleNamespace(engine=engine, daemon=SimpleNamespace(instance=instance))
        self.outcome = Outcome(
            poller=poller,
            committer=committer,
            preparer=preparer,
            holds=self.holds,
            health=Health(self.clock),
            clock=self.clock,
            allowance=nothing,
            lateness=nothing,
            schema_hold_s=schema_hold_s,
        )

    async def later(self, seconds: float) -> list[Partition]:
        """What is resumed after `seconds`."""
        self.clock.advance(seconds)
        self.resumed.clear()
        await self.outcome.retry_held()
        return list(self.resumed)


async def holding(engine: AsyncEngine) -> Holding:
    """An outcome of a daemon that started on this database just now."""
    return Holding(engine=engine, instance=(await Daemon.start(engine)).instance)


async def execute(engine: AsyncEngine, *statements: str) -> None:
    async with engine.begin() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)


async def count(engine: AsyncEngine, name: str) -> int:
    async with engine.connect() as connection:
        return int((await connection.exec_driver_sql(f"SELECT count(*) FROM {name}")).scalar_one())


async def places(
    engine: AsyncEngine, holds: Holds, start: rules.Start = "earliest", tell: Tell = lambda _: None
) -> Places:
    """The places of a daemon that started on this database just now."""
    return Places(
        asyncio.get_running_loop(),
        engine,
        (await Daemon.start(engine)).instance,
        holds,
        tell=tell,
        start=start,
        numbers={},
        streams={},
        begins={},
    )


async def of(one: Places, source: ScriptedSource, *parts: Partition) -> dict[Partition, int]:
    return dict(await asyncio.to_thread(one.of, source, parts))


async def test_a_start_beyond_the_log_holds_the_partition_and_writes_nothing_until_the_log_is_there(
    engine: AsyncEngine,
) -> None:
    one, source = await holding(engine), ScriptedSource(bounds={A: (0, 99), B: (20, 30)})
    begun = await places(engine, one.holds, start=31)
    assert await of(begun, source, A, B) == {A: 31}
    ((part, hold),) = one.holds.items()
    assert (part, hold.code, hold.missing) == (B, "start_beyond_log", (30, 31))
    assert await count(engine, "ledger") == 1
    assert await one.later(RETRY_S) == [B]
    source.bounds[B] = (20, 31)
    assert await of(begun, source, B) == {B: 31} and B not in one.holds
    assert await ledger.places(engine, [(1, 0), (1, 1)]) == {(1, 0): 31, (1, 1): 31}


async def test_a_ledger_found_ahead_of_its_log_stays_held_until_a_new_generation_begins(engine: AsyncEngine) -> None:
    one, source = await holding(engine), ScriptedSource(bounds={A: (0, 99), B: (0, 99)})
    begun = await places(engine, one.holds)
    begun.numbers = one.numbers
    assert await of(begun, source, A, B) == {A: 0, B: 0}
    await one.outcome.troubled([PartitionTrouble("t", 0, "ledger_ahead", "lost", 7, (3, 7))])
    assert await one.later(RETRY_S) == [A]
    assert await of(begun, source, A, B) == {B: 0}, "though the log has grown past the ledger"
    assert A in one.holds
    one.outcome.unassigned([A])
    assert A not in one.holds
    assert await of(begun, source, A) == {} and A in one.holds, "given back by the group"
    instance = (await Daemon.start(engine)).instance
    number, _ = await next_generation(engine, source.stream_of("t"), instance)
    await ledger.begin(engine, {(number, 0): 3}, instance)
    assert await one.later(RETRY_S) == [A]
    assert await of(begun, source, A) == {A: 3}


async def test_a_ledger_found_ahead_is_held_by_a_daemon_that_starts_later_and_sees_a_log_that_has_grown(
    engine: AsyncEngine,
) -> None:
    one, source = await holding(engine), ScriptedSource(bounds={A: (0, 99), B: (0, 99)})
    begun = await places(engine, one.holds)
    begun.numbers = one.numbers
    assert await of(begun, source, A, B) == {A: 0, B: 0}
    await execute(engine, "UPDATE ledger SET next = 7 WHERE kafkaPartition = 0")
    await one.outcome.troubled([PartitionTrouble("t", 0, "ledger_ahead", "lost", 7, (3, 7))])
    other = await holding(engine)
    assert await of(await places(engine, other.holds), source, A, B) == {B: 0}
    ((part, hold),) = other.holds.items()
    assert (part, hold.code, hold.missing) == (A, "ledger_ahead", (3, 7))
    assert "skyburst ledger adopt t --ahead 0" in hold.text


async def test_where_a_log_ended_is_bounded_where_it_had_grown_and_the_first_word_of_it_stays(
    engine: AsyncEngine,
) -> None:
    one, source = await holding(engine), ScriptedSource()
    begun = await places(engine, one.holds)
    begun.numbers = one.numbers
    await of(begun, source, A)
    await one.outcome.troubled([PartitionTrouble("t", 0, "ledger_ahead", "grown", 7)])
    assert await ledger.ahead(engine, [(1, 0)]) == {(1, 0): 7}
    await one.outcome.troubled([PartitionTrouble("t", 0, "ledger_ahead", "lost", 7, (3, 7))])
    assert await ledger.ahead(engine, [(1, 0), (1, 1)]) == {(1, 0): 7}


async def test_the_mark_of_a_ledger_ahead_waits_for_the_database_and_never_goes_into_another_one(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await holding(engine)
    begun = await places(engine, one.holds)
    begun.numbers = one.numbers
    await of(begun, ScriptedSource(), A)
    ahead, mark, tries = PartitionTrouble("t", 0, "ledger_ahead", "lost", 7, (3, 7)), ledger.mark_ahead, []

    async def away_at_first(*told: Any) -> None:
        tries.append(A in one.holds)
        if len(tries) == 1:
            raise OSError("gone")
        await mark(*told)

    monkeypatch.setattr(ledger, "mark_ahead", away_at_first)
    await one.outcome.troubled([ahead])
    assert tries == [True, True], "held before it is marked"
    assert await ledger.ahead(engine, [(1, 0)]) == {(1, 0): 3}
    await execute(engine, "UPDATE ledger SET aheadOf = NULL", "UPDATE schema_version SET instance = 'another'")
    with pytest.raises(Fatal) as caught:
        await one.outcome.troubled([ahead])
    assert caught.value.code == "level1_instance"
    assert await ledger.ahead(engine, [(1, 0)]) == {}


@pytest.mark.parametrize("stream_is_known", [False, True])
async def test_no_place_begins_in_a_database_that_is_another_one_by_now(
    engine: AsyncEngine, stream_is_known: bool
) -> None:
    source = ScriptedSource(bounds={A: (0, 99), B: (0, 99)})
    begun = await places(engine, Holding().holds)
    if stream_is_known:
        assert await of(begun, source, A) == {A: 0}
    tables = ("streams", "ledger")
    before = [await count(engine, name) for name in tables]
    await execute(engine, "UPDATE schema_version SET instance = 'another'")
    with pytest.raises(Fatal) as caught:
        await of(begun, source, A, B)
    assert caught.value.code == "level1_instance"
    assert [await count(engine, name) for name in tables] == before == [stream_is_known, stream_is_known]


async def test_a_topic_held_as_a_whole_is_free_once_the_broker_tells_it_again(engine: AsyncEngine) -> None:
    one = Holding()
    source = ScriptedSource(gone=Held("topic_gone", "not there"))
    begun = await places(engine, one.holds)
    await one.outcome.troubled([PartitionTrouble("t", -1, "topic_gone", "not there")])
    assert await one.later(RETRY_S) == [TOPIC]
    assert await of(begun, source, TOPIC) == {} and TOPIC in one.holds
    source.gone = None
    assert await one.later(RETRY_S) == [TOPIC]
    assert await of(begun, source, TOPIC) == {} and len(one.holds) == 0


async def test_a_partition_without_a_leader_is_left_for_later_and_the_others_begin(engine: AsyncEngine) -> None:
    one, source = Holding(), ScriptedSource(bounds={A: (2, 5), B: (3, 5)}, silent={A})
    begun = await places(engine, one.holds)
    assert await of(begun, source, A, B) == {A: LATER, B: 3}
    assert A not in one.holds
    source.silent.clear()
    assert await of(begun, source, A) == {A: 2}


async def test_latest_passes_over_what_a_topic_has_when_it_is_begun_and_nothing_of_a_partition_that_comes_later(
    engine: AsyncEngine,
) -> None:
    source = ScriptedSource(bounds={A: (0, 9), B: (3, 5)})
    assert await of(await places(engine, Holding().holds, start="latest"), source, A) == {A: 9}
    source.bounds |= {B: (3, 8), ("t", 2): (0, 7)}
    restarted = await places(engine, Holding().holds, start="latest")
    assert await of(restarted, source, B, ("t", 2)) == {B: 5, ("t", 2): 0}
    source.bounds = {("u", 0): (0, 4)}
    assert await of(restarted, source, ("u", 0)) == {("u", 0): 4}


async def test_latest_begins_all_partitions_of_a_topic_together_once_each_has_told_its_end(engine: AsyncEngine) -> None:
    source = ScriptedSource(bounds={A: (0, 9), B: (3, 5)}, silent={B})
    begun = await places(engine, Holding().holds, start="latest")
    assert await of(begun, source, A, B) == {A: LATER, B: LATER}
    source.silent.clear()
    source.bounds |= {A: (0, 12), B: (3, 6)}
    assert await of(begun, source, A, B) == {A: 9, B: 6}, "what was told first stands"


async def test_a_ledger_that_does_not_answer_is_not_waited_for_without_end(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(rules, "PLACES_S", 0.01)
    monkeypatch.setattr(rules, "newest_generation", silent)
    with pytest.raises(Transient) as caught:
        await of(await places(engine, Holding().holds), ScriptedSource(), A)
    assert caught.value.code == "level1_away"


async def test_a_wait_for_the_ledger_is_over_once_nothing_is_asked_for(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> Any:
        raise Transient("level1_away", "made by the test")

    monkeypatch.setattr(rules, "PLACES_S", 0.1)
    monkeypatch.setattr(rules, "newest_generation", away)
    told = list[SkyburstError | None]()
    begun = await places(engine, Holding().holds, tell=told.append)
    with pytest.raises(Transient):
        await of(begun, ScriptedSource(), A)
    assert told and None not in told
    assert await of(begun, ScriptedSource()) == {}
    assert told[-1] is None


async def test_what_waits_for_a_schema_is_read_again_only_once_it_is_there_and_asked_for_less_and_less() -> None:
    one = Holding()
    one.outcome.waits({A: Waits(5, 7, SchemaAway("down"), True)})
    asked_at = []
    for second in range(1, 61):
        before = one.schemas.asked
        assert await one.later(1.0) == []
        if one.schemas.asked > before:
            asked_at.append(second)
    assert asked_at[:3] == [1, 2, 3] and max(b - a for a, b in pairwise(asked_at)) == 10
    assert A in one.holds
    one.schemas.error = None
    assert await one.later(LONGEST_RETRY_S) == [A]


async def test_a_schema_that_stays_denied_is_given_up_and_a_run_of_them_is_not() -> None:
    one = Holding(schema_hold_s=4.0)
    one.schemas.error = SchemaUnknown(7, "here")
    one.outcome.waits({A: Waits(5, 7, SchemaUnknown(7, "here"), True)})
    assert [await one.later(1.0) for _ in range(4)] == [[], [], [], [A]]
    one.outcome.waits({A: Waits(9, 7, Held("schema_run", "3 in a row"), True)})
    assert [await one.later(10.0) for _ in range(3)] == [[], [], []]
    assert {hold.code for _, hold in one.holds.items()} == {"schema_run"}
    one.schemas.error = None
    assert await one.later(10.0) == [A]


async def test_ids_that_are_denied_behind_the_first_are_given_up_with_it_and_not_one_after_the_other() -> None:
    one = Holding(schema_hold_s=4.0)
    one.schemas.error = SchemaUnknown(7, "here")
    one.outcome.waits({A: Waits(5, 7, SchemaUnknown(7, "here"), True, frozenset({8, 9}))})
    assert [await one.later(1.0) for _ in range(4)] == [[], [], [], [A]]
    assert one.outcome.preparer.unknown.denied == {7}, "asked for again: the others may be there by now"
    one.outcome.waits({A: Waits(6, 8, SchemaUnknown(8, "here"), True, frozenset({9, 10}))})
    assert one.outcome.preparer.unknown.denied == {7, 8, 9}
    assert await one.later(2.0) == [A]


def test_a_schema_is_asked_for_by_its_id_alone() -> None:
    schemas = Schemas()
    decoder = Decoder(schemas, ["a"])
    assert isinstance(asked(decoder, 7), SchemaAway)
    schemas.error = None
    assert asked(decoder, 7) is None
