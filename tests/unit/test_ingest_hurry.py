"""How much a batch is compressed: as usual while the daemon keeps up, in a hurry once it is behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zstandard

from consumers.ingest.batches import RawBatch, age_s
from consumers.ingest.flat import shorten
from consumers.ingest.place import Placer
from consumers.ingest.prepare import Preparer
from producers.sources.synthetic import SyntheticVisits
from stream.alert import Records, Stream
from stream.alertdb.blocks import MOST_BLOCK_BYTES, Block, BlockPlan, Datums
from stream.codec.decoder import Decoder
from stream.codec.sources import open_schemas
from stream.sky import Layout
from stream.survey import load_survey

PLACE = ("alerts", 0)
STREAM = Stream("cluster", "alerts", "topic-id")


def made(count: int, size: str) -> list[bytes]:
    (visit,) = SyntheticVisits("lsst", seed=3, visits=1, alerts=count, size=size)
    return [alert.value for alert in visit.alerts]


def raw(values: list[bytes], *, hurried: bool) -> RawBatch:
    n = len(values)
    stamps = np.full(n, 1_772_800_000_000)
    records = Records("alerts", np.zeros(n, np.int32), np.arange(n), stamps, [*values], [None] * n, [()] * n)
    return RawBatch(0, (records,), {PLACE: (0, n)}, sum(map(len, values)), hurried=hurried)


def blocks(plan: BlockPlan, *, hurried: bool) -> list[Block]:
    return [plan.compress(index, hurried=hurried) for index in range(len(plan))]


def plan_of(values: list[bytes]) -> BlockPlan:
    end = np.cumsum([len(value) for value in values])
    start = end - [len(value) for value in values]
    return BlockPlan.of(
        Datums.slices(np.frombuffer(b"".join(values), np.uint8), start, end), np.zeros(len(values), np.int64)
    )


def hold_the_room(values: list[bytes]) -> None:
    plan = plan_of(values)
    whole = b"".join(values)
    level1 = zstandard.ZstdCompressor(level=1)
    least = sum(
        len(level1.compress(whole[at : at + MOST_BLOCK_BYTES])) for at in range(0, len(whole), MOST_BLOCK_BYTES)
    )
    usual, hurried = (sum(len(block.payload) for block in blocks(plan, hurried=hurry)) for hurry in (False, True))
    assert 0.95 * least < usual < 1.1 * least, (usual, least)
    assert 1.1 * least < hurried < 1.35 * least, (hurried, least)


@pytest.mark.parametrize("size", ["62k", "265k"])
def test_made_packets_take_hardly_more_room_than_at_level_1_and_in_a_hurry_a_third_more(size: str) -> None:
    hold_the_room(made(40, size))


def test_real_packets_take_hardly_more_room_than_at_level_1_and_in_a_hurry_a_third_more(shared_data: Path) -> None:
    hold_the_room([path.read_bytes() for path in sorted((shared_data / "lsst").glob("*.wire"))])


@pytest.mark.parametrize("hurried", [False, True])
def test_the_blocks_of_a_hurried_batch_are_compressed_in_a_hurry(hurried: bool) -> None:
    values, survey = made(30, "62k"), load_survey("lsst")
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(
            Decoder(open_schemas(None), survey.paths), Placer(survey, 1, Layout()), pool, {"alerts": 1}, {1: STREAM}
        )
        (started,) = preparer.prepare(raw(values, hurried=hurried)).shares
        payloads = [block.payload for block in started.blocks()]
    plan = started.share.plan
    assert payloads == [block.payload for block in blocks(plan, hurried=hurried)]
    assert payloads != [block.payload for block in blocks(plan, hurried=not hurried)]


def test_the_age_of_messages_is_that_of_the_oldest_that_has_a_timestamp() -> None:
    (records,) = raw([b"x"] * 3, hurried=False).records
    records.timestamp[:] = (-1, 1_000_000, 2_000_000)
    assert (age_s([records], 1007.5), age_s([records], 999.0)) == (7.5, 0.0)
    records.timestamp[:] = -1
    assert age_s([records], 1e9) == age_s([], 1e9) == 0.0


def test_what_is_left_of_a_hurried_batch_is_hurried() -> None:
    batch = raw([b"x"] * 4, hurried=True)
    assert shorten(batch, {PLACE: 2}).hurried
