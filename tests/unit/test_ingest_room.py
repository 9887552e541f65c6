"""What a batch counts as in flight: small messages for more than their bytes, finished ones for less."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import fastavro
import numpy as np
import pytest

from consumers.ingest import prepare
from consumers.ingest.batches import RECORD_BYTES, Assigned, Polled, RawBatch
from consumers.ingest.flat import halves, shorten
from consumers.ingest.gathering import Gathering
from consumers.ingest.inbox import Inbox
from consumers.ingest.pipeline import Pipeline
from consumers.ingest.place import Placer
from consumers.ingest.prepare import Preparer, TooManyRecords
from producers.sources.synthetic import SyntheticVisits
from stream.alert import Records, Stream
from stream.codec.decoder import Decoder
from stream.codec.sources import open_schemas
from stream.commit.batch import Batch, Committed
from stream.sky import Layout
from stream.survey import load_survey

PLACE = ("alerts", 0)


def records_of(values: list[bytes]) -> Records:
    n = len(values)
    stamps = np.full(n, 1_772_800_000_000)
    return Records("alerts", np.zeros(n, np.int32), np.arange(n), stamps, [*values], [None] * n, [()] * n)


def polled(values: list[bytes]) -> Polled:
    return Polled(0, (records_of(values),), {PLACE: len(values)}, sum(map(len, values)), 1.0)


def closed(values: list[bytes]) -> RawBatch:
    gathering = Gathering(1 << 20, 0.5)
    gathering.assign(Assigned(0, {PLACE: 0}))
    gathering.add(polled(values))
    made = gathering.close()
    assert made is not None
    return made


@pytest.fixture
def preparer() -> Iterator[Preparer]:
    survey = load_survey("lsst")
    with ThreadPoolExecutor(1) as pool:
        stream = Stream("cluster", "alerts", "topic-id")
        decoder, placer = Decoder(open_schemas(None), survey.paths), Placer(survey, 1, Layout())
        yield Preparer(decoder, placer, pool, {"alerts": 1}, {1: stream})


def packets(count: int) -> list[bytes]:
    (visit,) = SyntheticVisits("lsst", seed=3, visits=1, alerts=count, size="62k")
    return [alert.value for alert in visit.alerts]


def test_an_open_batch_of_small_messages_is_full_long_before_its_bytes_are() -> None:
    gathering = Gathering(10 * RECORD_BYTES, 0.5)
    gathering.assign(Assigned(0, {PLACE: 0}))
    assert gathering.add(polled([b"x"] * 9))
    assert gathering.worthy and not gathering.full
    assert gathering.add(polled([b"x"]))
    assert gathering.full
    assert gathering.reset(1) == 10 * (RECORD_BYTES + 1)


def test_a_shortened_batch_still_counts_for_all_that_was_taken() -> None:
    whole = closed([b"x"] * 4)
    assert (whole.nbytes, whole.held) == (4, 4 + 4 * RECORD_BYTES)
    assert shorten(whole, {PLACE: 1}).held == whole.held


def test_a_finished_batch_counts_for_its_blocks(preparer: Preparer) -> None:
    made = preparer.prepare(closed(packets(30)))
    before = made.held
    batch = made.finish(1, "digest")
    blocks = sum(len(block.payload) for work in batch.works for block in work.blocks)
    assert made.held == blocks + 30 * RECORD_BYTES < 0.7 * before
    assert made.nbytes == before - 30 * RECORD_BYTES


def test_a_finished_batch_never_counts_for_more_than_before(preparer: Preparer) -> None:
    noise = np.random.default_rng(5).bytes(20_000)
    made = preparer.prepare(closed([noise[at : at + 100] for at in range(0, 20_000, 100)]))
    before = made.held
    assert made.finish(1, "digest").works
    assert made.held <= before


def containers(count: int, each: int) -> list[bytes]:
    """Containers of `each` alerts."""
    values = packets(each)
    schema = open_schemas(None).get(int.from_bytes(values[0][1:5], "big"))
    records = [fastavro.schemaless_reader(io.BytesIO(value[5:]), schema.parsed, None) for value in values]
    made = io.BytesIO()
    fastavro.writer(made, schema.parsed, records)
    return [made.getvalue()] * count


def test_a_message_with_many_records_counts_for_each_of_them(preparer: Preparer) -> None:
    raw = closed(containers(1, 20))
    made = preparer.prepare(raw)
    assert made.held == raw.held + 19 * RECORD_BYTES
    batch = made.finish(1, "digest")
    blocks = sum(len(block.payload) for work in batch.works for block in work.blocks)
    assert made.held == blocks + 20 * RECORD_BYTES


def test_a_batch_is_halved_into_two_that_follow_each_other_in_every_partition(rng: np.random.Generator) -> None:
    for _ in range(50):
        raw = drawn(rng)
        first, rest = halves(raw)
        assert len(offsets_of(first)) and len(offsets_of(rest))
        assert sorted([*offsets_of(first), *offsets_of(rest)]) == sorted(offsets_of(raw))
        assert (first.nbytes + rest.nbytes, first.held + rest.held) == (raw.nbytes, raw.held)
        assert first.held > 0 and rest.held > 0
        for part, (start, end) in raw.bounds.items():
            mine = [half.bounds[part] for half in (first, rest) if part in half.bounds]
            assert mine[0][0] == start and mine[-1][1] == end and all(low < high for low, high in mine)
            assert len(mine) == 1 or mine[0][1] == mine[1][0]
        for half in (first, rest):
            assert all(half.bounds[t, p][0] <= at < half.bounds[t, p][1] for t, p, at in offsets_of(half))


def offsets_of(raw: RawBatch) -> list[tuple[str, int, int]]:
    return [
        (r.topic, p, at) for r in raw.records for p, at in zip(r.partition.tolist(), r.offset.tolist(), strict=True)
    ]


def drawn(rng: np.random.Generator) -> RawBatch:
    """A batch of two messages at least, over some partitions of two topics, with holes."""
    records, bounds = [], {}
    while sum(map(len, records)) < 2:
        records, bounds = [], {}
        for topic in ("a", "b"):
            sizes = rng.integers(0, 4, 3).tolist()
            partition = np.repeat(np.arange(3), sizes)
            offset = np.concatenate([10 + np.sort(rng.choice(20, size, replace=False)) for size in sizes])
            n = len(offset)
            values = [b"x" * int(k) for k in rng.integers(0, 9, n)]
            stamps = np.zeros(n, np.int64)
            records.append(Records(topic, partition, offset, stamps, [*values], [None] * n, [()] * n))
            bounds |= {(topic, p): (10, 30) for p in range(3)}
    nbytes = sum(one.nbytes for one in records)
    held = nbytes + RECORD_BYTES * sum(map(len, records))
    return RawBatch(0, tuple(records), bounds, nbytes, 1.0, held=held)


def test_one_container_of_very_many_records_is_not_cut(preparer: Preparer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "MOST_RECORDS", 15)
    assert sum(map(len, preparer.prepare(closed(containers(1, 20))).finish(1, "digest").works)) == 20
    with pytest.raises(TooManyRecords):
        preparer.prepare(closed(containers(2, 20)))


async def test_containers_of_too_many_records_are_committed_in_pieces_one_behind_the_other(
    preparer: Preparer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "MOST_RECORDS", 50)
    ranges: list[tuple[int, int]] = []

    async def commit(batch: Batch, _: object) -> Committed:
        ranges.extend((one.start, one.end) for one in batch.ranges)
        return Committed.nothing()

    counted: list[int] = []
    raw = closed(containers(9, 20))
    async with running(preparer, commit, counted) as pipeline:
        await put(pipeline, raw)
        await over(pipeline)
    assert ranges == [(0, 2), (2, 4), (4, 6), (6, 7), (7, 9)]
    assert sum(counted) == -raw.held


async def test_a_reset_drops_the_pieces_that_are_not_yet_prepared(
    preparer: Preparer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "MOST_RECORDS", 50)
    checked: list[int] = []

    async def commit(*_: object) -> Committed:
        raise AssertionError("all was dropped")

    counted: list[int] = []
    raw = closed(containers(9, 20))
    async with running(preparer, commit, counted) as pipeline:
        preparing = type(preparer).prepare

        def once(self: Preparer, raw: RawBatch) -> Any:
            checked.append(sum(map(len, raw.records)))
            pipeline.generation += checked[-1] < 9
            return preparing(self, raw)

        monkeypatch.setattr(type(preparer), "prepare", once)
        await put(pipeline, raw)
        await over(pipeline)
    assert checked == [9, 4], "the whole, its first half; then the reset"
    assert sum(counted) == -raw.held


async def test_what_a_finished_batch_no_longer_holds_is_polled_before_its_commit(preparer: Preparer) -> None:
    counted: list[int] = []
    committing, go_on = asyncio.Event(), asyncio.Event()

    async def commit(*_: Any) -> Committed:
        committing.set()
        await go_on.wait()
        return Committed.nothing()

    raw = closed(packets(30))
    async with running(preparer, commit, counted) as pipeline:
        await put(pipeline, raw)
        await committing.wait()
        assert sum(counted) < -0.3 * raw.held
        go_on.set()
        await over(pipeline)
    assert sum(counted) == -raw.held


@asynccontextmanager
async def running(
    preparer: Preparer, commit: Callable[..., Awaitable[Committed]], counted: list[int]
) -> AsyncIterator[Pipeline]:
    """A pipeline from the second stage on; what its window is told goes to `counted`."""

    async def ahead(*_: Any) -> None:
        return None

    pipeline = Pipeline(
        loop=asyncio.get_running_loop(),
        gathering=None,  # type: ignore[arg-type]
        preparer=preparer,
        committer=SimpleNamespace(commit=commit, ahead=ahead),  # type: ignore[arg-type]
        window=SimpleNamespace(take=counted.append, give=lambda nbytes: counted.append(-nbytes)),  # type: ignore[arg-type]
        clock=None,  # type: ignore[arg-type]
        outcome=SimpleNamespace(committed=lambda *_: None),  # type: ignore[arg-type]
        survey=1,
        survey_digest="",
        inbox=Inbox(asyncio.get_running_loop()),
    )
    stages = (pipeline.prepare, pipeline.finish, pipeline.write, pipeline.commit)
    tasks = [asyncio.create_task(stage()) for stage in stages]
    async with asyncio.timeout(30):
        yield pipeline
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def over(pipeline: Pipeline) -> None:
    while pipeline._polled_at:
        await asyncio.sleep(0)


async def put(pipeline: Pipeline, raw: RawBatch) -> None:
    pipeline._polled_at.append(raw.at)
    await pipeline._raw.put(raw)
