"""The stage that writes ahead: what it hands on, in which order, and what a reset leaves of it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from consumers.ingest.batches import Flush
from consumers.ingest.inbox import Inbox
from consumers.ingest.pipeline import Pipeline, _Mark
from stream.commit.batch import Committed


class Commits:
    """Stands for the committer: each commit waits until it is told to end."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.goes_on = asyncio.Semaphore(0)

    async def ahead(self, batch: Any, behind: Any) -> Any:
        self.told.append(("ahead", batch.name, *behind))
        return f"{batch.name}, written"

    async def commit(self, batch: Any, ahead: Any) -> Committed:
        self.told.append(("commit", batch.name, ahead))
        await self.goes_on.acquire()
        return Committed.nothing()


def batch_of(name: str) -> Any:
    return SimpleNamespace(name=name, works=(1,), ranges=(name,))


class Field:
    """A pipeline of which only the last two stages run."""

    def __init__(self) -> None:
        self.commits = Commits()
        self.given: list[int] = []
        self.marks: list[str] = []
        outcome = SimpleNamespace(committed=lambda *_: None, restart=lambda generation: None)
        gathering = SimpleNamespace(reset=lambda generation: 0, since=None, empty=True)
        self.pipeline = Pipeline(
            loop=asyncio.get_running_loop(),
            gathering=gathering,  # type: ignore[arg-type]
            preparer=None,  # type: ignore[arg-type]
            committer=self.commits,  # type: ignore[arg-type]
            window=SimpleNamespace(give=self.given.append, taken=0),  # type: ignore[arg-type]
            clock=None,  # type: ignore[arg-type]
            outcome=outcome,  # type: ignore[arg-type]
            survey=1,
            survey_digest="",
            inbox=Inbox[Flush](asyncio.get_running_loop()),  # type: ignore[arg-type]
        )
        self.stages = [asyncio.create_task(stage()) for stage in (self.pipeline.write, self.pipeline.commit)]

    async def give(self, name: str) -> None:
        at = float(len(self.pipeline._polled_at))
        self.pipeline._polled_at.append(at)
        item = SimpleNamespace(generation=self.pipeline.generation, nbytes=1, held=1, at=at, waits={})
        await self.pipeline._ready.put((item, batch_of(name)))  # type: ignore[arg-type]

    async def settle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    def end(self) -> None:
        for stage in self.stages:
            stage.cancel()


async def test_one_batch_is_written_ahead_and_the_next_only_once_that_is_committed() -> None:
    field = Field()
    for name in ("first", "second", "third"):
        await field.give(name)
        await field.settle()
    begun = [("commit", "first", None), ("ahead", "second", "first")]
    assert field.commits.told == begun
    field.commits.goes_on.release()
    await field.settle()
    begun += [("commit", "second", "second, written"), ("ahead", "third", "second")]
    assert field.commits.told == begun
    field.commits.goes_on.release()
    field.commits.goes_on.release()
    await field.settle()
    assert field.commits.told == [*begun, ("commit", "third", "third, written")]
    assert field.given == [1, 1, 1]
    assert not field.pipeline.busy and not field.pipeline._polled_at
    field.end()


async def test_a_batch_with_none_before_it_is_not_written_ahead() -> None:
    field = Field()
    for name in ("first", "second"):
        field.commits.goes_on.release()
        await field.give(name)
        await field.settle()
    assert field.commits.told == [("commit", "first", None), ("commit", "second", None)]
    field.end()


async def test_a_reset_drops_what_is_written_ahead_and_a_mark_behind_it_waits_for_that() -> None:
    field = Field()
    for name in ("first", "second"):
        await field.give(name)
    await field.settle()
    await field.pipeline._ready.put(_Mark(lambda: field.marks.append("behind")))
    await field.settle()
    assert field.marks == []
    field.pipeline.generation += 1
    field.commits.goes_on.release()
    await field.settle()
    assert field.commits.told == [("commit", "first", None), ("ahead", "second", "first")]
    assert field.given == [1, 1]
    assert field.marks == ["behind"]
    assert not field.pipeline._polled_at
    field.end()
