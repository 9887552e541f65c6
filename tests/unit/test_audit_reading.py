"""The audit's own readers agree with the format and with what was written, and share nothing with the writers."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from columns_by_hand import container_packet, wire_packet
from doubles.alert_batches import KINDS, batch, by_offset, header
from obstore.store import MemoryStore

import stream.audit
from stream.alertdb.header import Kind
from stream.alertdb.local import LocalStore
from stream.alertdb.objects import ObjectStore
from stream.alertdb.rowdigest import row_digest as written_digest
from stream.alertdb.segment import OpenSegment
from stream.audit import broker
from stream.audit.blocks import DataFile
from stream.audit.derive import Decoder, message_fields
from stream.audit.files import Absent, FolderFiles, ObjectFiles, digest_of, open_files
from stream.audit.findings import ADVICE, INVARIANTS, MOST_OF_A_KIND, Findings
from stream.audit.indexes import open_batches, read_index, row_digest
from stream.audit.messages import Messages
from stream.audit.notes import Damaged, read_note
from stream.codec.lsst import LsstPackageSchemas
from stream.errors import Transient
from stream.survey import load_survey
from stream.transport.kafka.columns import HEADERS_LOST

AUDIT = Path(stream.audit.__file__).parent
VERIFYING = "aside blocks broker chunks commits containers derive files findings indexes notepad notes packets places"
VERIFYING += " report reverse rows schema scratch seen segment standing stored tiling verify went"


def test_verify_imports_no_reader_and_no_kernel_of_what_wrote() -> None:
    allowed = {"stream.alert", "stream.clock", "stream.errors", "stream.survey"}
    allowed |= {"stream.tables.model", "stream.tables.trouble"}
    allowed |= {"stream.transport.kafka.topic_ids", "stream.transport.security"}
    for name in VERIFYING.split():
        tree = ast.parse((AUDIT / f"{name}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("stream."):
                inside = node.module.startswith("stream.audit.") and node.module.split(".")[2] in VERIFYING.split()
                assert inside or node.module in allowed, f"{name} imports {node.module}"


def test_every_code_that_an_audit_finds_has_advice_and_an_invariant() -> None:
    found = set()
    for path in AUDIT.glob("*.py"):
        found |= set(re.findall(r"""add\(\s*(\d+),\s*"(\w+)\"""", path.read_text()))
    assert {code for _, code in found} <= ADVICE.keys()
    assert {int(number) for number, _ in found} <= INVARIANTS.keys()
    assert {int(number) for number, _ in found} == {1, 2, 3, 4, 5, 6, 7, 10, 11}


def test_findings_of_a_kind_are_counted_and_only_the_first_are_kept() -> None:
    findings = Findings()
    for number in range(MOST_OF_A_KIND + 7):
        findings.add(5, "row_missing", f"row {number}", "somewhere")
    assert (len(findings.kept), findings.of(5), findings.of(4)) == (MOST_OF_A_KIND, MOST_OF_A_KIND + 7, 0)
    assert findings.more == {"row_missing": 7}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sealed", [False, True])
def test_a_segment_reads_back_as_it_was_written(
    kind: Kind, sealed: bool, tmp_path: Path, rng: np.random.Generator
) -> None:
    store = LocalStore(tmp_path)
    segment = store.create(header(kind))
    batches = [batch(rng, kind, count=9, offset=n * 100) for n in range(3)]
    for commit, each in enumerate(batches, 1):
        note = {"commit": commit, "ranges": [], "parts": [[segment.header.number, len(each)]], "at": 0.0}
        appended = segment.append(each.blocks, each.rows, note)
        segment.sync()
        segment.publish(appended)
    where = segment.seal().ref(segment.header.number) if sealed else segment.ref
    files = open_files(str(tmp_path))
    messages = Messages(files, (where.data_name, where.index_name), (where.data_length, where.index_length))
    for ordinal in (2, 0, 1):
        each = messages.batch(ordinal)
        told = [(one["offset"], each.values[one["blockOffset"], one["slot"]], one["key"]) for one in each.rows]
        wanted = [(m.record.offset, m.value, m.key) for m in by_offset(batches[ordinal].messages)]
        assert sorted(told) == wanted
        assert each.note.parts == ((segment.header.number, 9),)
    messages.close()
    data = files.open(where.data_name)
    head = DataFile(data, where.data_length).head
    assert (head.number, head.kind, head.night) == (segment.header.number, kind, segment.header.key.night)
    assert head.prefix == segment.header.key.prefix
    data.close()


def test_the_digest_of_index_rows_is_the_one_that_was_written(rng: np.random.Generator) -> None:
    for kind in KINDS:
        rows = batch(rng, kind, count=31).rows
        assert row_digest(pa.Table.from_batches([rows])) == written_digest(rows)
        assert row_digest(pa.Table.from_batches([rows.slice(3, 11)])) == written_digest(rows.slice(3, 11))


def opened(folder: Path, rng: np.random.Generator, commits: int) -> tuple[OpenSegment, list[int]]:
    """An open segment, and the length of its index after each commit."""
    segment, ends = LocalStore(folder).create(header()), []
    for commit in range(1, commits + 1):
        each = batch(rng, count=5, offset=commit * 10)
        segment.publish(segment.append(each.blocks, each.rows, {"commit": commit, "ranges": [], "parts": [], "at": 0}))
        ends.append(segment.ref.index_length)
    segment.sync()
    return segment, ends


def test_an_open_index_is_read_up_to_where_it_is_torn(tmp_path: Path, rng: np.random.Generator) -> None:
    segment, ends = opened(tmp_path, rng, 3)
    file = open_files(str(tmp_path)).open(segment.ref.index_name)
    for cut, count in ((ends[2], 3), (ends[2] - 1, 2), (ends[1] + 40, 2), (ends[0], 1), (ends[0] - 8, 0), (3, 0)):
        found = list(open_batches(file, cut))
        assert [(note.commit, end) for _, note, end in found] == list(zip((1, 2, 3), ends))[:count]
        if cut not in ends:
            with pytest.raises(Damaged):
                list(read_index(segment.ref.index_name, file, cut))
    file.close()


def test_an_open_index_that_was_cut_behind_a_batch_is_damaged(tmp_path: Path, rng: np.random.Generator) -> None:
    """As after a power cut on a disk that had not kept what it said: each file ends where an earlier sync left it."""
    segment, ends = opened(tmp_path, rng, 2)
    os.truncate(tmp_path / segment.ref.index_name, ends[0])
    file = open_files(str(tmp_path)).open(segment.ref.index_name)
    read = read_index(segment.ref.index_name, file, ends[1])
    assert next(read)[1].commit == 1
    with pytest.raises(Damaged, match=f"ends at byte {ends[0]}, before its {ends[1]} published"):
        next(read)
    file.close()


def test_a_note_with_another_digest_is_refused() -> None:
    with pytest.raises(Damaged):
        read_note(b'{"commit":1,"ranges":[],"parts":[],"data":[0,1,""],"rows":"","note":"00"}')
    with pytest.raises(Damaged):
        read_note(b"[1]")


def test_the_beginning_of_a_packet_gives_the_fields_of_the_whole(shared_data: Path) -> None:
    survey = load_survey("lsst")
    for path in sorted((shared_data / "lsst").glob("*.wire")):
        raw, whole = path.read_bytes(), wire_packet(path)
        decoder = Decoder(LsstPackageSchemas().get(int.from_bytes(raw[1:5], "big")).text, survey.paths)
        fields = dict(zip((slot.path for slot in decoder.slots), decoder.datum(raw[5:]), strict=True))
        assert len(fields) > 30
        assert fields == {name: _at(whole, name) for name in fields}
    survey = load_survey("ztf")
    for path in sorted((shared_data / "ztf").glob("*.avro"))[:3]:
        slots, (record,) = message_fields(path.read_bytes(), survey.paths)
        whole = container_packet(path)
        fields = dict(zip((slot.path for slot in slots), record, strict=True))
        assert fields == {name: _at(whole, name) for name in fields}


def _at(record: object, path: str) -> object:
    for part in path.split("."):
        record = record[part] if isinstance(record, dict) else None
    return record


def test_files_of_a_folder_and_of_an_object_store_are_read_alike(tmp_path: Path, rng: np.random.Generator) -> None:
    memory = MemoryStore()
    name = "20260305/77-0123456789abcdef.avro"
    content = rng.bytes(10_000)
    memory.put(name, content)
    memory.put("20260305/something else", b"x")
    (tmp_path / "20260305").mkdir()
    (tmp_path / name).write_bytes(content)
    (tmp_path / "20260305" / "something else").write_bytes(b"x")
    for files in (FolderFiles(tmp_path), ObjectFiles(memory)):
        assert list(files.names()) == [name]
        file = files.open(name)
        assert (file.size, file.read(9_990, 100), file.read(20_000, 5)) == (10_000, content[9_990:], b"")
        assert digest_of(file, 9_000) == digest_of(FolderFiles(tmp_path).open(name), 9_000)
        file.close()
        for absent in ("20260305/78-0123456789abcdef.avro", "../etc/passwd", "20260305/something else"):
            with pytest.raises(Absent):
                files.open(absent)
    with pytest.raises(Transient):
        open_files(str(tmp_path / "nowhere"))


def test_put_segments_are_read_too(rng: np.random.Generator) -> None:
    memory = MemoryStore()
    segment = ObjectStore(memory).create(header())
    each = batch(rng, count=7)
    segment.append(each.blocks, each.rows, {"commit": 5, "ranges": [], "parts": [], "at": 0.0})
    segment.sync()
    sealed = segment.seal()
    lengths = (sealed.data_length, sealed.index_length)
    read = Messages(ObjectFiles(memory), (sealed.data_name, sealed.index_name), lengths).batch(0)
    assert len(read.values) == 7


@pytest.mark.parametrize("error", [SystemError("an exception set"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")])
def test_where_the_client_gives_no_headers_verify_expects_the_mark_that_ingest_keeps(error: Exception) -> None:
    class Given:
        def headers(self) -> None:
            raise error

    assert tuple(broker._headers(Given())) == HEADERS_LOST
