"""The kernel on the schemas of LSST and on real packets: equal to fastavro, and unmoved by damage."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import avro_made
import fastavro
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.codec.decode import decode_datum, run_slowly
from stream.codec.decoder import Decoder
from stream.codec.lsst import LsstPackageSchemas
from stream.codec.plan import Plan
from stream.codec.schema import WriterSchema
from stream.codec.slots import Outcome, Slot
from stream.errors import Poison

PACKAGE = LsstPackageSchemas()
VERSIONS = [schema_id for schema_id in PACKAGE.ids() if schema_id >= 700]
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example, HealthCheck.filter_too_much]


def fields_of(schema: WriterSchema) -> frozenset[str]:
    """Paths of all fields of the records that are nested once."""
    paths = set()
    for field in schema.parsed["fields"]:
        paths.add(field["name"])
        for branch in field["type"] if isinstance(field["type"], list) else [field["type"]]:
            if isinstance(branch, dict):
                paths |= {f"{field['name']}.{inner['name']}" for inner in branch.get("fields", [])}
    return frozenset(paths)


def values(slot: Slot, outcome: Outcome, buffer: bytes, i: int) -> Any:
    if outcome.null[slot.index, i]:
        return None
    row = outcome.values[slot.row]
    if slot.kind == "text":
        return buffer[row[i] : outcome.values[slot.row + 1, i]]
    return float(row.view(np.float64)[i]) if slot.kind == "float" else int(row[i])


def check_equal(schema: WriterSchema, packet: bytes) -> None:
    """Every field that the kernel reads has the value that fastavro gives, NaN for NaN."""
    plan = Plan.of(schema, fields_of(schema))
    assert plan.program is not None
    outcome = plan.run(np.frombuffer(packet, np.uint8), np.array([0]), np.array([len(packet)]))
    assert outcome.status.tolist() == [0]
    record: Any = fastavro.schemaless_reader(io.BytesIO(packet), schema.parsed, None)
    assert plan.slots
    for slot in plan.slots:
        expected = record
        for part in slot.path.split("."):
            expected = expected[part] if expected is not None else None
        found = values(slot, outcome, packet, 0)
        expected = expected.encode() if isinstance(expected, str) else expected
        assert found == expected or (found != found and expected != expected), slot


def test_the_package_has_the_versions_that_are_promised() -> None:
    assert {700, 701, 702, 703, 704, 800, 900, 1000, 1100, 1101} <= set(VERSIONS)


def samples(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in sorted(folder.glob("*/*/sample_data/fakeAlert.avro")):
        yield int(path.parts[-4]) * 100 + int(path.parts[-3]), path


def test_the_sample_alert_of_every_version_is_read_as_fastavro_reads_it() -> None:
    decoder, seen = Decoder(PACKAGE, []), []
    for schema_id, path in samples(PACKAGE.folder):
        if schema_id >= 700:
            (group,) = decoder.check([path.read_bytes()]).groups
            assert group.kind == "container"
            check_equal(group.schema, group.buffer[group.datum_start[0] : group.datum_end[0]].tobytes())
            seen.append(schema_id)
    assert len(seen) >= 9


@pytest.mark.parametrize("schema_id", VERSIONS)
@settings(max_examples=20, suppress_health_check=SLOW)
@given(data=st.data())
def test_made_up_packets_of_every_version_are_read_as_fastavro_reads_them(schema_id: int, data: st.DataObject) -> None:
    schema = PACKAGE.get(schema_id)
    seed = data.draw(st.integers(0, 2**32 - 1))
    packet = sampled_packet(schema, np.random.default_rng(seed), data.draw(st.integers(0, 4)))
    check_equal(schema, packet)
    cut = data.draw(st.integers(0, len(packet) - 1))
    plan = Plan.of(schema, frozenset())
    refused = plan.run(np.frombuffer(packet, np.uint8), np.array([0]), np.array([cut]))
    assert refused.status[0] != 0


def sampled_packet(schema: WriterSchema, rng: np.random.Generator, items: int) -> bytes:
    """A packet of random values, its lists of up to `items`."""
    text = json.loads(schema.text)
    named: dict[str, Any] = {}

    def make(kind: Any) -> Any:
        if isinstance(kind, list):
            branch = int(rng.integers(len(kind)))
            return branch, make(kind[branch])
        if isinstance(kind, dict):
            named[kind.get("name", "")] = kind
            match kind["type"]:
                case "record":
                    return {field["name"]: make(field["type"]) for field in kind["fields"]}
                case "array":
                    return [make(kind["items"]) for _ in range(rng.integers(items + 1))]
                case name:
                    return make(name)
        if kind in named:
            return make(named[kind])
        long = int(rng.integers(-(2**63), 2**63 - 1)) >> int(rng.integers(64))
        return {
            "null": None,
            "boolean": bool(rng.integers(2)),
            "int": long >> 32,
            "long": long,
            "float": float(np.float32(rng.choice([rng.normal(), np.nan, np.inf]))),
            "double": float(rng.normal()),
            "bytes": rng.bytes(int(rng.integers(200))),
            "string": "ÅΩ☃🛰x"[: int(rng.integers(6))],
        }[kind]

    def whole(kind: Any) -> Any:
        """The schema with names replaced by what they stand for."""
        if isinstance(kind, list):
            return [whole(branch) for branch in kind]
        if isinstance(kind, dict):
            inner = {key: whole(kind[key]) for key in ("items", "values") if key in kind}
            if "fields" in kind:
                inner["fields"] = [{**field, "type": whole(field["type"])} for field in kind["fields"]]
            return {**kind, **inner}
        return whole(named[kind]) if kind in named else kind

    value = make(text)
    return avro_made.encode(whole(text), value, lambda most: int(rng.integers(most + 1)))


def real(shared_data: Path) -> list[bytes]:
    files = [*sorted(shared_data.glob("lsst/*.wire")), *sorted(shared_data.glob("ztf/*.avro"))]
    assert len(files) >= 28
    return [path.read_bytes() for path in files]


PATHS = [
    "diaSource.diaSourceId",
    "diaSource.ra",
    "diaSource.band",
    "candid",
    "candidate.jd",
    "candidate.ra",
    "objectId",
]


def test_real_packets_come_back_byte_for_byte_with_fastavros_values(shared_data: Path) -> None:
    messages = real(shared_data)
    checked = Decoder(PACKAGE, PATHS).check(messages)
    assert not checked.refused
    assert not checked.waiting
    seen = []
    for group in checked.groups:
        check_equal(group.schema, group.buffer[group.datum_start[0] : group.datum_end[0]].tobytes())
        for i, message in enumerate(group.message.tolist()):
            start, end = int(group.datum_start[i]), int(group.datum_end[i])
            datum = group.buffer[start:end].tobytes()
            where = checked.messages
            record = decode_datum(group.schema, datum)
            head = where.buffer[where.starts[message] + len(group.prefix) : start].tobytes()
            tail = where.buffer[end : where.ends[message]].tobytes()
            assert group.prefix + head + datum + tail == messages[message]
            for path, column in group.columns.items():
                expected = record
                for part in path.split("."):
                    expected = expected[part]
                found = column.values[i]
                assert (group.buffer[slice(*found)].tobytes().decode() if column.kind == "text" else found) == expected
            seen.append(message)
    assert sorted(seen) == list(range(len(messages)))


@pytest.mark.parametrize("rounds", [60, pytest.param(600, marks=pytest.mark.long)])
def test_flipped_and_cut_real_packets_are_judged_alike_in_bounded_time(
    shared_data: Path, rng: np.random.Generator, rounds: int
) -> None:
    messages = real(shared_data)
    decoder = Decoder(PACKAGE, PATHS)
    decoder.warm()
    taken = longest = 0.0
    for _ in range(rounds):
        damaged = []
        for message in messages:
            changed = bytearray(message[: int(rng.integers(len(message))) if rng.random() < 0.3 else None])
            for _ in range(int(rng.integers(1, 4)) if changed else 0):
                changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
            damaged.append(bytes(changed))
        begun = time.perf_counter()
        checked = decoder.check(damaged)
        longest = max(longest, time.perf_counter() - begun)
        rows = [r.row for r in checked.refused] + [w.row for w in checked.waiting]
        rows += [int(m) for group in checked.groups for m in group.message]
        assert sorted(set(rows)) == list(range(len(damaged)))
        taken += sum(len(group) for group in checked.groups)
    assert 0 < taken < rounds * len(messages)
    assert longest < 5


def test_kernel_and_strict_reader_agree_on_damaged_real_packets(shared_data: Path, rng: np.random.Generator) -> None:
    packet = min(shared_data.glob("lsst/*.wire"), key=lambda path: path.stat().st_size).read_bytes()[5:]
    schema = PACKAGE.get(1000)
    plan = Plan.of(schema, frozenset())
    for _ in range(12):
        changed = np.frombuffer(packet, np.uint8).copy()
        at = rng.integers(0, 100_000, 1)
        changed[at] ^= np.uint8(1) << rng.integers(0, 8, 1).astype(np.uint8)
        bounds = np.array([0]), np.array([len(packet)])
        fast = plan.run(changed, *bounds)
        slow = run_slowly(schema.root, (), changed, *bounds)
        assert fast.status.tolist() == slow.status.tolist(), at
        if not fast.status[0]:
            fastavro.schemaless_reader(io.BytesIO(changed.tobytes()), schema.parsed, None)


HOSTILE = """
import json, resource, sys
import numpy as np
from stream.codec.decoder import Decoder
from stream.codec.lsst import LsstPackageSchemas
from stream.codec.schema import WriterSchema
from stream.errors import Poison
import fastavro, io
decoder = Decoder(LsstPackageSchemas(), ["a"])
decoder.warm()
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]), -1))
huge = b"\\xfe" + b"\\xff" * 8 + b"\\x01"
rng = np.random.default_rng(int(sys.argv[2]))
def container(schema, blocks, codec=b"null", sync=b"s" * 16):
    text = json.dumps(schema).encode()
    out = io.BytesIO()
    fastavro.schemaless_writer(out, {"type": "map", "values": "bytes"}, {"avro.schema": text, "avro.codec": codec})
    return b"Obj\\x01" + out.getvalue() + sync + b"".join(blocks)
def block(count, data, sync=b"s" * 16):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", count)
    fastavro.schemaless_writer(out, "bytes", data)
    return out.getvalue() + sync
import bz2, zlib
deflated = zlib.compressobj(9, zlib.DEFLATED, -15)
bomb = deflated.compress(bytes(900_000_000 // 8)) + deflated.flush()
A = {"type": "record", "name": "R", "fields": [{"name": "a", "type": {"type": "array", "items": "boolean"}}]}
nest = "[" * 100_000
hostile = [
    container("null", [block(2**62, b"")]),
    container(A, [block(2**62, b"\\x00")]),
    container(A, [block(1, huge + b"\\x00" * 100)]),
    container(A, [block(1, huge + huge)] * 3),
    container(A, [block(1, bomb)], b"deflate"),
    container(A, [block(1, bz2.compress(bytes(100_000_000)))], b"bzip2"),
    container({"type": "array", "items": "null"}, [block(1, huge)]),
    container({"type": "record", "name": "R", "fields": [{"name": "a", "type": "R"}]}, [block(1, b"")]),
    b"Obj\\x01" + huge + b"x" * 50,
    b"Obj\\x01\\x02\\x16avro.schema" + huge + b"x" * 50,
    b"Obj\\x01\\x02\\x16avro.schema\\x80\\xea0" + nest.encode() + b"\\x00" * 50,
    b"\\x00\\x00\\x00\\x03\\xe8" + huge * 100,
    b"Obj\\x01" + b"\\x02\\x00\\x00" * 100_000,
]
checked = decoder.check(hostile)
assert len(checked.refused) == len(hostile), [r for r in checked.refused]
for _ in range(300):
    checked = decoder.check([b"\\x00\\x00\\x00\\x03\\xe8" + rng.bytes(int(rng.integers(400))) for _ in range(20)])
    assert len(checked.refused) == 20
within = '["null",' * 150 + '"int"' + "]" * 150
for text in (nest, '{"type":' * 60_000 + '"int"', '{"a":' * 90_000, '"' * 1_000_001, within):
    try:
        WriterSchema.of(text)
    except Poison as refused:
        assert refused.code == "schema_refused"
    else:
        raise SystemExit("taken")
print(json.dumps([[r.row, r.code] for r in decoder.check(hostile).refused]))
"""


def test_hostile_messages_are_refused_within_bounded_memory_and_time(rng: np.random.Generator) -> None:
    begun = time.perf_counter()
    more = 400 * 2**20
    ran = subprocess.run(
        [sys.executable, "-c", HOSTILE, str(more), str(int(rng.integers(2**32)))],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    codes = [code for _, code in json.loads(ran.stdout)]
    assert "inflation" in codes
    assert "schema_refused" in codes
    assert time.perf_counter() - begun < 120


def test_a_schema_that_the_gate_refuses_raises_only_poison(rng: np.random.Generator) -> None:
    text = PACKAGE.get(1000).text
    for _ in range(300):
        at, size = int(rng.integers(len(text))), int(rng.integers(1, 30))
        changed = text[:at] + bytes(rng.integers(32, 127, size, np.uint8)).decode() + text[at + size :]
        try:
            WriterSchema.of(changed)
        except Poison as refused:
            assert refused.code == "schema_refused"
