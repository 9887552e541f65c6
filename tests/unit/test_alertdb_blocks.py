"""Which alerts share a block, and that a block holds their bytes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_128

from stream.alert import Stream
from stream.alertdb.blocks import MOST_BLOCK_BYTES, OWN_BLOCK_BYTES, Block, BlockPlan, Datums, block_length, plan_blocks
from stream.alertdb.container import SYNC_BYTES, read_varint
from stream.alertdb.quarantine import Quarantined, quarantined, read_quarantined

ALERTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1_400_000)), max_size=60)


@given(ALERTS)
def test_plans_keep_every_rule(alerts: list[tuple[int, int]]) -> None:
    chunk = np.array([a for a, _ in alerts], np.int32)
    size = np.array([b for _, b in alerts], np.int64)
    order, bounds = plan_blocks(chunk, size)
    assert sorted(order.tolist()) == list(range(len(alerts)))
    assert bounds[0] == 0
    assert bounds[-1] == len(alerts)
    big = {c for c in set(chunk.tolist()) if size[chunk == c].sum() >= OWN_BLOCK_BYTES}
    shared: list[int] = []
    for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist()):
        rows = order[low:high]
        assert high > low
        assert high - low == 1 or size[rows].sum() <= MOST_BLOCK_BYTES
        chunks = chunk[rows].tolist()
        if set(chunks) & big:
            assert len(set(chunks)) == 1
        else:
            shared += chunks
    assert shared == sorted(shared)
    for c in set(chunk.tolist()):
        here = [row for row in order.tolist() if chunk[row] == c]
        assert here == sorted(here), "alerts of a chunk keep the order in which they came"


@given(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=2000), st.integers(0, 5)), min_size=1, max_size=40))
def test_each_datum_is_where_its_place_says(alerts: list[tuple[int, bytes, int]]) -> None:
    buffer, start, end = bytearray(), [], []
    for _, datum, gap in alerts:
        buffer += b"\xaa" * gap
        start.append(len(buffer))
        buffer += datum
        end.append(len(buffer))
    whole = np.frombuffer(bytes(buffer), np.uint8)
    plan = BlockPlan.of(Datums.slices(whole, np.array(start), np.array(end)), np.array([c for c, _, _ in alerts]))
    hold(plan, [datum for _, datum, _ in alerts], [datum for _, datum, _ in alerts])


@given(st.lists(st.binary(max_size=500), min_size=1, max_size=10))
def test_raw_messages_are_kept_behind_their_length_and_digested_without_it(messages: list[bytes]) -> None:
    plan = BlockPlan.of(Datums.whole(messages), np.zeros(len(messages), np.int32))
    datums = [plan.datums.buffer[a:b].tobytes() for a, b in zip(plan.datums.start, plan.datums.end)]
    assert [datum[read_varint(datum, 0)[1] :] for datum in datums] == messages
    hold(plan, datums, messages)


def test_quarantined_messages_come_back_whole() -> None:
    messages = [
        Quarantined(Stream("c", "t", "i"), 1, 2**40, -1, b"\x00\x01" * 300, None, (), "magic", "no frame: «½»"),
        Quarantined(Stream("c", "t", "i"), 0, 5, 9, b"", b"key", (("a", None), ("a", b"\xff")), "truncated", ""),
    ]
    datums = quarantined(messages)
    plan = BlockPlan.of(datums, np.zeros(2, np.int32))
    kept = [datums.buffer[a:b].tobytes() for a, b in zip(datums.start, datums.end)]
    assert [read_quarantined(datum) for datum in kept] == messages
    hold(plan, kept, [message.value for message in messages])


def test_several_threads_make_the_same_blocks_as_one() -> None:
    rng = np.random.default_rng(5)
    size = rng.integers(1000, 60_000, 200)
    end = np.cumsum(size)
    buffer = rng.integers(0, 9, int(end[-1]), dtype=np.uint8)
    buffer.flags.writeable = False
    plan = BlockPlan.of(Datums.slices(buffer, end - size, end), rng.integers(0, 20, 200))
    assert len(plan) > 5
    with ThreadPoolExecutor(4) as pool:
        many = list(pool.map(plan.compress, range(len(plan))))
    for index, block in enumerate(many):
        alone = plan.compress(index)
        assert alone.payload == block.payload
        assert (alone.digest == block.digest).all()


def test_an_empty_batch_has_no_blocks() -> None:
    none = np.empty(0, np.int64)
    plan = BlockPlan.of(Datums.slices(np.empty(0, np.uint8), none, none), none)
    assert len(plan) == 0
    assert len(plan.place([]).slot) == 0


def test_one_large_datum_is_a_block_of_its_own() -> None:
    size = np.array([10, MOST_BLOCK_BYTES + 1, 10], np.int64)
    order, bounds = plan_blocks(np.array([1, 1, 1]), size)
    assert order.tolist() == [0, 1, 2]
    assert bounds.tolist() == [0, 1, 2, 3]


def hold(plan: BlockPlan, datums: list[bytes], packets: list[bytes]) -> None:
    """Hold a plan's blocks and places against the datums that went in, and their digests against the packets."""
    for hurried in (False, True):
        _hold(plan, [plan.compress(index, hurried=hurried) for index in range(len(plan))], datums, packets)


def _hold(plan: BlockPlan, blocks: list[Block], datums: list[bytes], packets: list[bytes]) -> None:
    placed = plan.place(blocks)
    starts = np.cumsum([0] + [block_length(block) for block in blocks])
    plain = {
        int(at): zstandard.ZstdDecompressor().decompress(block.payload, max_output_size=1 << 24)
        for at, block in zip(starts, blocks)
    }
    slots = [(int(b), int(s)) for b, s in zip(placed.block_offset, placed.slot)]
    assert sorted(slots) == [(int(at), s) for at, block in zip(starts, blocks) for s in range(block.count)]
    for row, (datum, packet) in enumerate(zip(datums, packets)):
        start, size = int(placed.start[row]), int(placed.size[row])
        assert plain[slots[row][0]][start : start + size] == datum
        assert placed.digest[row].tobytes() == xxh3_128(packet).digest()


@pytest.mark.parametrize("length", [1, 63, 64, 8191, 8192, 1 << 20])
def test_the_length_of_a_block_counts_its_numbers_and_marker(length: int) -> None:
    datums = Datums.slices(np.zeros(length, np.uint8), np.array([0]), np.array([length]))
    block = BlockPlan.of(datums, np.array([0])).compress(0)
    count, at = read_varint(block.lead(), 0)
    assert (count, read_varint(block.lead(), at)[0]) == (1, len(block.payload))
    assert block_length(block) == len(block.lead() + block.payload) + SYNC_BYTES
