"""What a batch counts as in flight: small messages for more than their bytes, finished ones for less."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import fastavro
import numpy as np
import pytest

from consumers.ingest.batches import RECORD_BYTES, Assigned, Polled, RawBatch
from consumers.ingest.flat import shorten
from consumers.ingest.gathering import Gathering
from consumers.ingest.inbox import Inbox
from consumers.ingest.pipeline import Pipeline
from consumers.ingest.place import Placer
from consumers.ingest.prepare import Preparer
from producers.sources.synthetic import SyntheticVisits
from stream.alert import Records, Stream
from stream.codec.decoder import Decoder
from stream.codec.sources import open_schemas
from stream.commit.batch import Committed
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


def test_a_message_with_many_records_counts_for_each_of_them(preparer: Preparer) -> None:
    values = packets(20)
    schema = open_schemas(None).get(int.from_bytes(values[0][1:5], "big"))
    records = [fastavro.schemaless_reader(io.BytesIO(value[5:]), schema.parsed, None) for value in values]
    container = io.BytesIO()
    fastavro.writer(container, schema.parsed, records)
    raw = closed([container.getvalue()])
    made = preparer.prepare(raw)
    assert made.held == raw.held + 19 * RECORD_BYTES
    batch = made.finish(1, "digest")
    blocks = sum(len(block.payload) for work in batch.works for block in work.blocks)
    assert made.held == blocks + 20 * RECORD_BYTES


async def test_what_a_finished_batch_no_longer_holds_is_polled_before_its_commit(preparer: Preparer) -> None:
    counted: list[int] = []
    committing, go_on = asyncio.Event(), asyncio.Event()

    async def commit(*_: Any) -> Committed:
        committing.set()
        await go_on.wait()
        return Committed.nothing()

    window = SimpleNamespace(take=counted.append, give=lambda nbytes: counted.append(-nbytes))
    pipeline = Pipeline(
        loop=asyncio.get_running_loop(),
        gathering=None,  # type: ignore[arg-type]
        preparer=preparer,
        committer=SimpleNamespace(commit=commit),  # type: ignore[arg-type]
        window=window,  # type: ignore[arg-type]
        clock=None,  # type: ignore[arg-type]
        outcome=SimpleNamespace(committed=lambda *_: None),  # type: ignore[arg-type]
        survey=1,
        survey_digest="",
        inbox=Inbox(asyncio.get_running_loop()),
    )
    stages = [pipeline.prepare, pipeline.finish, pipeline.write, pipeline.commit]
    tasks = [asyncio.create_task(stage()) for stage in stages]
    raw = closed(packets(30))
    pipeline._polled_at.append(raw.at)
    await pipeline._raw.put(raw)
    async with asyncio.timeout(30):
        await committing.wait()
        assert sum(counted) < -0.3 * raw.held
        go_on.set()
        while pipeline._polled_at:
            await asyncio.sleep(0)
    assert sum(counted) == -raw.held
    for task in tasks:
        task.cancel()
