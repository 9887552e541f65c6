"""Re-driving takes each record once, however many there are, and goes past those that stay bad."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from committing import database
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.ingest.again import Came, Redriver, Stays
from consumers.ingest.returning import Returning
from stream.alert import RecordId
from stream.commit.batch import Quarantined
from stream.commit.held import Selection, quarantined, record_of
from stream.commit.redrive import Lifted, mark_redriven
from stream.commit.rows import insert_quarantine
from stream.errors import Fenced
from stream.tables.engine import open_engine

MANY = 1200
SURVEY, NIGHT, SCHEMA = 1, 20260306, 1101


@pytest.fixture(params=["mariadb", "sqlite"])
async def engine(request: pytest.FixtureRequest, tmp_path: Any) -> AsyncIterator[AsyncEngine]:
    """A database of each kind with `MANY` records in quarantine."""
    made = open_engine(await database(request, tmp_path))
    async with made.begin() as connection:
        await insert_quarantine(connection, [(held(r), (7, 0, r.offset)) for r in records(MANY)], SURVEY, 5)
    yield made
    await made.dispose()


def records(count: int) -> list[RecordId]:
    return [RecordId(1, offset % 3, offset) for offset in range(count)]


def held(record: RecordId) -> Quarantined:
    at = record.offset
    return Quarantined(
        record, NIGHT, "kafka", 9, None, None, "schema_unknown", "", 3, SCHEMA, at, at.to_bytes(16)
    )  # fmt: skip


async def test_more_records_than_one_statement_takes_are_redriven_in_one_transaction(engine: AsyncEngine) -> None:
    wanted = Selection(SURVEY, records=tuple(reversed(records(MANY))), state="held")
    first = await quarantined(engine, wanted, None, MANY - 1)
    (last,) = await quarantined(engine, wanted, record_of(first[-1]), MANY)
    assert [record_of(row) for row in (*first, last)] == sorted(records(MANY))
    async with engine.begin() as connection:
        lifted = await mark_redriven(connection, records(MANY), 6)
    assert sorted(one.timestamp for one in lifted) == list(range(MANY))
    assert lifted[0] == Lifted(9, None, NIGHT, 0)
    assert await quarantined(engine, wanted, None) == []


async def test_a_record_that_is_held_no_more_fences_the_whole_redrive(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await mark_redriven(connection, [RecordId(1, 0, 3)], 6)
    async with engine.connect() as connection:
        with pytest.raises(Fenced, match="1 of 700 records") as fenced:
            await mark_redriven(connection, records(700), 7)
        await connection.rollback()
    assert fenced.value.code == "redrive_fenced"
    assert len(await quarantined(engine, Selection(SURVEY, state="held"), None, MANY)) == MANY - 1


class Tried:
    """A re-driver that says what comes of each record, by its offset; what it takes is held no more."""

    def __init__(self, engine: AsyncEngine, bad: dict[int, Stays]) -> None:
        self.committer = SimpleNamespace(engine=engine)
        self.placer = SimpleNamespace(number=SURVEY)
        self.bad = bad
        self.asked: list[int | None] = []

    async def redrive(self, wanted: Selection, most: int | None = None) -> Came:
        self.asked.append(most)
        came = Came()
        taken = []
        for row in await quarantined(self.committer.engine, wanted, None, most or MANY):
            if row.kafkaOffset in self.bad:
                came.stays.append(self.bad[row.kafkaOffset])
            else:
                taken.append(record_of(row))
        async with self.committer.engine.begin() as connection:
            came.taken = len(await mark_redriven(connection, taken, 8))
        return came


async def test_one_bad_packet_does_not_keep_those_behind_it_from_coming_back(engine: AsyncEngine) -> None:
    bad = RecordId(1, 0, 0)
    tried = Tried(engine, {0: Stays(bad, "truncated", "cut off")})
    returning = Returning(cast(Redriver, tried))
    await returning._look()
    left = await quarantined(engine, Selection(SURVEY, state="held"), None)
    assert [record_of(row) for row in left] == [bad] and tried.asked == [1, None]
    await returning._look()
    assert tried.asked == [1, None], "what stays whatever comes is not read again"


async def test_while_the_schema_cannot_be_had_only_one_packet_is_tried(engine: AsyncEngine) -> None:
    away = {0: Stays(RecordId(1, 0, 0), "registry_away", "down", waits=True)}
    tried = Tried(engine, away)
    returning = Returning(cast(Redriver, tried))
    await returning._look()
    await returning._look()
    assert tried.asked == [1, 1]
    away.clear()
    await returning._look()
    assert await quarantined(engine, Selection(SURVEY, state="held"), None) == [] and tried.asked == [1, 1, 1, None]
