"""Every segment tells where the ledger of its partitions began: a rebuild then misses what is lost in front of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from committing import Writer, database, writing
from doubles.ingest_live import execute
from doubles.ingest_run import packet

from stream.commit import ledger
from stream.commit.held import segment_refs
from stream.errors import Fenced


@pytest.fixture(params=["mariadb", "sqlite"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with tables, once of each kind."""
    return await database(request, tmp_path)


async def kept(writer: Writer, source: int, starts: dict[int, int]) -> None:
    """One packet of each partition of `starts`, from there on."""
    values = {partition: [packet(source + partition)] for partition in starts}
    await writer.committer.commit(await writer.batch(values, starts))


async def told(writer: Writer) -> list[list[list[list[int]]]]:
    """By segment, in the order of their making, the `begins` of each of its notes."""
    (mine,) = writer.committer.segments
    numbers = [*(left.number for left, _ in writer.left), mine.number]
    refs = await segment_refs(writer.engine, set(numbers))
    found = []
    for number in numbers:
        with writer.store.read(refs[number]) as reader:
            found.append([commit.note["begins"] for commit in reader.commits])
    return found


async def test_a_place_began_at_its_first_range_or_where_it_stands_before_there_is_one(
    url: str, tmp_path: Path
) -> None:
    async with writing(url, tmp_path / "a") as writer:
        await execute(url, "UPDATE ledger SET next = 5 + kafkaPartition")
        for offset in (5, 6):
            await kept(writer, offset * 10, {0: offset})
        assert await ledger.begins(writer.engine, [(1, 0), (1, 1), (1, 9)]) == {(1, 0): 5, (1, 1): 6}


async def test_the_first_commit_of_a_partition_in_each_segment_tells_where_its_ledger_began(
    url: str, tmp_path: Path
) -> None:
    async with writing(url, tmp_path / "a") as writer:
        await execute(url, "UPDATE ledger SET next = 5 WHERE kafkaPartition = 1")
        writer.committer.begins |= await ledger.begins(writer.engine, [(1, partition) for partition in range(3)])
        await kept(writer, 10, {0: 0})
        await kept(writer, 20, {0: 1, 1: 5})
        await kept(writer, 30, {0: 2, 1: 6})
        assert await told(writer) == [[[[1, 0, 0]], [[1, 1, 5]], []]]
        await execute(url, "UPDATE segments SET state = 'sealed'")
        await kept(writer, 40, {1: 7})
        assert (await told(writer))[1] == [[[1, 1, 5]]]


async def test_what_was_told_in_a_commit_that_did_not_stand_is_told_again(url: str, tmp_path: Path) -> None:
    async with writing(url, tmp_path / "a") as writer:
        writer.committer.begins |= {(1, 0): 0, (1, 1): 0}
        await kept(writer, 10, {0: 0})
        with pytest.raises(Fenced):
            await kept(writer, 20, {1: 3})
        await kept(writer, 20, {1: 0})
        assert await told(writer) == [[[[1, 0, 0]], [[1, 1, 0]]]]
