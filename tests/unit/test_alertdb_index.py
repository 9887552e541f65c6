"""The index: what goes in comes out of both its forms, and its digest is that of the values."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doubles.alert_batches import batch, header
from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_128

from stream.alert import Level1Column
from stream.alertdb.blocks import Placed
from stream.alertdb.damage import SegmentDamaged
from stream.alertdb.index import (
    SCHEMA,
    SCHEMA_BYTES,
    IndexColumns,
    check_note,
    empty_batch,
    encode_batch,
    encode_note,
    index_batch,
    moved,
    slices,
)
from stream.alertdb.indexfile import notes_of, read_stream, to_parquet
from stream.alertdb.indexreader import Index, ParquetIndex, StreamIndex
from stream.alertdb.local import LocalStore
from stream.alertdb.rowdigest import row_digest

LONGS = st.integers(-(2**63), 2**63 - 1)
INTS = st.integers(-(2**31), 2**31 - 1)
BYTES = st.binary(max_size=9)
HEADERS = st.lists(st.tuples(st.text(max_size=4), st.none() | BYTES), max_size=3).map(tuple)
ROW = st.fixed_dictionaries(
    {
        "partition": INTS,
        "offset": LONGS,
        "key": st.none() | BYTES,
        "headers": HEADERS,
        "head": BYTES,
        "diaSourceId": st.none() | LONGS,
        "ra": st.none() | st.floats(),
        "slot": st.integers(0, 2**31 - 1),
        "digest": st.binary(min_size=16, max_size=16),
        "reason": st.text(max_size=5),
    }
)
ROWS = st.lists(ROW, max_size=6)


class Memory:
    """Bytes that can be read as published."""

    def __init__(self, data: bytes, name: str = "memory") -> None:
        self.name, self.data, self.length, self.closed = name, data, len(data), False

    def read(self, offset: int, size: int) -> bytes:
        assert offset >= 0
        assert offset + size <= self.length
        return self.data[offset : offset + size]

    def close(self) -> None:
        self.closed = True


def batch_of(rows: list[dict[str, Any]]) -> Any:
    count = len(rows)

    def column(name: str, kind: Any) -> Any:
        return np.array([row[name] for row in rows], kind)

    def level1(name: str, kind: Any) -> Level1Column:
        null = np.array([row[name] is None for row in rows], bool)
        return Level1Column(np.array([0 if row[name] is None else row[name] for row in rows], kind), null)

    joined = b"".join(row["head"] for row in rows)
    end = np.cumsum([len(row["head"]) for row in rows], dtype=np.int64)
    start = end - np.array([len(row["head"]) for row in rows], np.int64)
    zeros = np.zeros(count, np.int32)
    digest = np.frombuffer(b"".join(row["digest"] for row in rows), np.uint8).reshape(count, 16)
    return index_batch(
        IndexColumns(
            stream=4,
            partition=column("partition", np.int64),
            offset=column("offset", np.int64),
            part=zeros,
            timestamp=column("offset", np.int64),
            keys=[row["key"] for row in rows],
            headers=[row["headers"] for row in rows],
            head=slices(np.frombuffer(joined, np.uint8), start, end),
            tail=None,
            level1={"diaSourceId": level1("diaSourceId", np.int64), "ra": level1("ra", np.float64)},
            placed=Placed(column("slot", np.int64), column("slot", np.int32), zeros, zeros, digest),
            code=["bad"] * count,
            reason=[row["reason"] for row in rows],
        )
    )


def both(batches: list[Any]) -> tuple[Index, Index]:
    """The same batches as an open index and as a sealed one."""
    stream, pairs = SCHEMA_BYTES, []
    for turn, rows in enumerate(batches):
        note: dict[str, Any] = {"commit": turn, "reason": "ünlike", "rows": row_digest(rows)}
        stream += encode_batch(rows, note).to_pybytes()
        pairs.append((rows, note))
    sealed, _ = to_parquet(pairs, "x")
    return StreamIndex(Memory(stream)), ParquetIndex(Memory(bytes(sealed)))


@settings(max_examples=settings.default.max_examples // 4)
@given(st.lists(ROWS, max_size=4))
def test_rows_and_notes_come_back_from_both_forms(commits: list[list[dict[str, Any]]]) -> None:
    given_rows = [row for rows in commits for row in rows]
    for index in both([batch_of(rows) for rows in commits]):
        assert [commit.rows for commit in index.commits] == [len(rows) for rows in commits]
        assert [commit.note["commit"] for commit in index.commits] == list(range(len(commits)))
        kept = index.table().to_pylist()
        assert index.table().schema.equals(SCHEMA)
        for row, expected in zip(kept, given_rows, strict=True):
            assert row["headers"] == [{"key": key, "value": value} for key, value in expected["headers"]]
            for name in ("partition", "offset", "key", "head", "diaSourceId", "slot", "digest", "reason"):
                assert row[name] == expected[name]
            assert _bits(row["ra"]) == _bits(expected["ra"])
            assert (row["stream"], row["tail"], row["visit"], row["code"]) == (4, b"", None, "bad")
        for commit in index.commits:
            rows = index.table().slice(commit.first, commit.rows)
            assert row_digest(rows) == commit.note["rows"]
        for row in range(len(kept)):
            assert _same(index.rows(row, 1).to_pylist(), kept[row : row + 1])
        index.close()


@given(ROWS)
def test_the_digest_is_what_the_reference_says(rows: list[dict[str, Any]]) -> None:
    table = batch_of(rows)
    assert row_digest(table) == by_the_book(table)
    for low in range(len(rows)):
        assert row_digest(table.slice(low)) == by_the_book(table.slice(low))


def by_the_book(rows: Any) -> str:
    """The digest once more, from the words of docs/reference/alertdb-format.md, a value at a time."""
    digest = xxh3_128()

    def feed(name: str, kind: Any, nullable: bool, values: list[Any]) -> None:
        digest.update(name.encode())
        if nullable:
            digest.update(bytes(value is not None for value in values))
        if pa.types.is_list(kind):
            digest.update(b"".join(struct.pack("<i", len(value)) for value in values))
            items = [item for value in values for item in value]
            for inner in kind.value_type:
                feed(inner.name, inner.type, inner.nullable, [item[inner.name] for item in items])
        elif pa.types.is_floating(kind) or pa.types.is_integer(kind):
            letter = {"int32": "i", "int64": "q", "double": "d"}[str(kind)]
            digest.update(b"".join(struct.pack(f"<{letter}", 0 if value is None else value) for value in values))
        else:
            texts = [value.encode() if isinstance(value, str) else value for value in values if value is not None]
            digest.update(b"".join(struct.pack("<i", len(text)) for text in texts) + b"".join(texts))

    for position, field in enumerate(rows.schema):
        feed(field.name, field.type, field.nullable, rows.column(position).to_pylist())
    return digest.hexdigest()


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "partition": lambda row: row["partition"] ^ 1,
    "key": lambda row: b"" if row["key"] is None else None,
    "headers": lambda row: (*row["headers"], ("", None)),
    "head": lambda row: row["head"] + b"\0",
    "diaSourceId": lambda row: 0 if row["diaSourceId"] is None else None,
    "digest": lambda row: bytes([row["digest"][0] ^ 1]) + row["digest"][1:],
    "reason": lambda row: row["reason"] + "x",
}


@given(ROWS.filter(bool), st.sampled_from(sorted(CHANGES)), st.data())
def test_any_changed_value_changes_the_digest(rows: list[dict[str, Any]], name: str, data: st.DataObject) -> None:
    before = row_digest(batch_of(rows))
    row = data.draw(st.sampled_from(rows))
    changed = [{**other, name: CHANGES[name](other)} if other is row else other for other in rows]
    assert row_digest(batch_of(changed)) != before


@given(st.binary(max_size=60), st.data())
def test_slices_of_any_lengths_are_taken(data: bytes, draw: st.DataObject) -> None:
    cuts = st.lists(st.integers(0, len(data)), min_size=2, max_size=2).map(sorted)
    bounds = draw.draw(st.lists(cuts, max_size=5))
    start, end = (np.array([pair[side] for pair in bounds], np.int64) for side in (0, 1))
    taken = slices(np.frombuffer(data, np.uint8), start, end)
    taken.validate(full=True)
    assert taken.to_pylist() == [data[low:high] for low, high in bounds]


def test_block_offsets_move_with_the_position_of_the_append() -> None:
    rows = batch(np.random.default_rng(1), count=3).rows
    before, after = (part.column("blockOffset").to_pylist() for part in (rows, moved(rows, 1000)))
    assert after == [offset + 1000 for offset in before]
    assert moved(rows, 1000).drop_columns("blockOffset").equals(rows.drop_columns("blockOffset"))


def test_a_note_that_was_changed_is_found() -> None:
    import json

    note: dict[str, object] = {"commit": 5, "ranges": [[1, 2, 3, 4, 5, 6]], "reason": "ü", "at": 1.5e9}
    kept = json.loads(encode_note(note))
    assert check_note(dict(kept)) == note
    for broken in ({**kept, "commit": 6}, {**kept, "more": 1}, {"commit": 5}, [], None):
        with pytest.raises(ValueError):
            check_note(broken)


def test_a_growing_index_is_read_on_from_where_it_was_left(tmp_path: Path, rng: np.random.Generator) -> None:
    store = LocalStore(tmp_path)
    segment = store.create(header())
    sent: list[Any] = []
    reader = store.read(segment.ref)
    for turn in range(4):
        what = batch(rng, offset=turn * 50)
        appended = segment.append(what.blocks, what.rows, {"commit": turn})
        segment.sync()
        assert list(reader.messages()) == [] or len(list(reader.messages())) == len(sent)
        segment.publish(appended)
        sent += what.messages
        assert reader.follow(segment.ref)
        assert sorted(reader.messages(), key=lambda m: m.record.offset) == sent
        assert len(reader) == len(sent)
    sealed = segment.seal().ref(segment.header.number)
    assert not reader.follow(sealed)
    assert reader.follow(reader.ref)
    reader.close()
    with store.read(sealed) as other:
        assert other.follow(sealed)


@pytest.mark.parametrize("form", [0, 1])
def test_a_foreign_index_is_refused(form: int, tmp_path: Path) -> None:
    table = pa.table({"a": [1]})
    if form == 0:
        with pytest.raises(SegmentDamaged, match="not the beginning"):
            StreamIndex(Memory(bytes(table.schema.serialize()).ljust(len(SCHEMA_BYTES), b"\0")))
        return
    pq.write_table(table, tmp_path / "x")
    source = Memory((tmp_path / "x").read_bytes())
    with pytest.raises(SegmentDamaged, match="not an index of this version"):
        ParquetIndex(source)
    assert source.closed


def test_an_index_that_is_cut_is_damaged_at_every_length_but_between_batches() -> None:
    messages = [encode_batch(empty_batch(), {"commit": turn}).to_pybytes() for turn in range(2)]
    data = SCHEMA_BYTES + b"".join(messages)
    whole = {len(SCHEMA_BYTES), len(SCHEMA_BYTES) + len(messages[0]), len(data)}
    for cut in range(len(SCHEMA_BYTES), len(data) + 1, 4):
        if cut in whole:
            list(read_stream(Memory(data[:cut])))
        else:
            with pytest.raises(SegmentDamaged):
                list(read_stream(Memory(data[:cut])))


def _bits(value: float | None) -> bytes | None:
    return None if value is None else struct.pack("<d", value)


def _same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**row, "ra": _bits(row["ra"])} for row in rows]

    return plain(one) == plain(other)


@given(st.data())
def test_of_an_index_whatever_was_done_to_it_the_notes_are_told_that_can_be(data: st.DataObject) -> None:
    sealed, _ = to_parquet([], "t")
    damaged = bytearray(sealed)
    footer = len(damaged) - 8 - int.from_bytes(damaged[-8:-4], "little")
    cut = data.draw(st.integers(footer, len(damaged) - 9))
    damaged[cut:-8] = data.draw(st.binary(min_size=len(damaged) - 8 - cut, max_size=len(damaged) - 8 - cut))
    assert notes_of(_Bytes(f"20260305/1-{'0' * 16}.parquet", bytes(damaged))) == []


class _Bytes:
    """A file in memory."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name, self.length = name, len(data)
        self._data = data

    def read(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]

    def close(self) -> None:
        """Nothing is held."""
