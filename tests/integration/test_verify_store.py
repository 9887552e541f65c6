"""Verifying a store that real daemons made on real Kafka and MariaDB: it holds, and each damage is found by name."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy as sa
from doubles.broken_store import ON_BOTH, ON_MARIADB, ON_SQLITE, Store
from doubles.varied_store import CONFLICTING, FIRST

from stream.alert import Stream
from stream.audit.broker import Broker
from stream.clock import SystemClock
from stream.tables.model import table
from stream.transport.security import Plaintext


@ON_BOTH
def test_verify_holds_on_what_daemons_stored_and_counts_it(store: Store) -> None:
    report = store.verify(broker=True)
    assert report.sound, report.listed()
    counts, rows = report.findings.counts, store.rows
    assert counts["rows"] == counts["derived"] == len(rows["level1"]) + len(rows["level1_repeat"])
    assert counts["quarantined"] == counts["quarantine"] == len(rows["quarantine"]) >= 10
    assert counts["commits"] == len(rows["commits"]) >= 6
    assert {row["kind"] for row in rows["segments"] if row["state"] not in ("swept", "copy")} == {
        "wire",
        "container",
        "raw",
        "quarantine",
    }
    assert counts["open"] == 2
    kept = sum(row["records"] for row in rows["commit_ranges"])
    assert counts["compared"] == kept
    assert counts["tombstones"] == sum(row["tombstones"] for row in rows["commit_ranges"]) == 2
    assert [(each.low, each.end, each.reason) for each in report.partitions] == [
        (0, row["next"], "") for row in rows["ledger"]
    ]
    assert all(each.lag is not None and each.lag >= 0 for each in report.partitions)


@ON_SQLITE
def test_verify_says_of_a_night_that_nothing_is_stored_of_it(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    from stream.cli.verify import _print

    report = store.verify(night=20200101)
    assert report.sound and report.document()["empty"]
    _print(report)
    assert "nothing is stored of night 20200101" in capsys.readouterr().out
    whole = store.verify()
    assert not whole.document()["empty"]
    _print(whole)
    assert "nothing is stored" not in capsys.readouterr().out


@ON_SQLITE
def test_verify_of_one_night_judges_its_segments_alone(store: Store) -> None:
    night = store.segment("wire")["night"]
    report = store.verify(night=night)
    assert report.sound, report.listed()
    kept = [row for row in store.rows["segments"] if row["state"] in ("open", "sealed")]
    assert report.findings.counts["segments"] == sum(row["night"] == night for row in kept) < len(kept)
    for each in {row["night"] for row in kept}:
        told = store.verify(night=each)
        assert told.sound and not told.empty
    other = next(row for row in kept if row["night"] != night)
    store.path(other["dataName"]).unlink()
    assert store.verify(night=night).sound
    assert store.found(night=other["night"]) == {(4, "file_missing")}


@pytest.mark.parametrize("kind", ["wire", "container", "raw", "quarantine"])
@ON_SQLITE
def test_verify_finds_a_flipped_bit_anywhere_in_a_segment(store: Store, kind: str, rng: np.random.Generator) -> None:
    row = store.segment(kind)
    notes = [int(at) for at in rng.integers(4, row["dataLength"], 2)]
    for at in [0, row["dataLength"] - 1, *notes]:
        store.flip(row["dataName"], at)
        found = store.verify()
        assert (4, "packet_damaged") in found.findings.found, (at, found.listed())
        assert all(str(row["segment"]) in finding.where for finding in found.findings.kept), (at, found.listed())
        store.flip(row["dataName"], at)
    assert store.verify().sound


@ON_SQLITE
def test_verify_finds_a_flipped_bit_anywhere_in_a_sealed_index(store: Store, rng: np.random.Generator) -> None:
    row = store.segment("wire")
    for at in [0, row["indexLength"] - 1, *(int(at) for at in rng.integers(1, row["indexLength"], 4))]:
        store.flip(row["indexName"], at)
        found = store.verify()
        assert (4, "index_damaged") in found.findings.found, (at, found.listed())
        store.flip(row["indexName"], at)


@ON_SQLITE
def test_verify_finds_a_flipped_bit_in_the_values_and_notes_of_an_open_index(
    store: Store, rng: np.random.Generator
) -> None:
    """What Arrow pads with is nobody's value: a bit there may flip unseen, and does no harm."""
    row = store.segment("wire", "open")
    content = store.path(row["indexName"]).read_bytes()
    alert = store.row("level1", lambda each: each["segment"] == row["segment"])
    values = (alert["digest"], alert["diaSourceId"].to_bytes(8, "little"), b"%d" % alert["diaSourceId"], b'"ranges":')
    for value in values:
        store.flip(row["indexName"], content.index(value) + int(rng.integers(len(value))))
        found = store.verify()
        assert (4, "index_damaged") in found.findings.found, (value, found.listed())
        store.path(row["indexName"]).write_bytes(content)
    for at in rng.integers(0, row["indexLength"], 4).tolist():
        store.flip(row["indexName"], at)
        assert {code for _, code in store.verify().findings.found} <= {"index_damaged"}, at
        store.path(row["indexName"]).write_bytes(content)


def test_verify_finds_a_missing_segment_and_a_missing_index(store: Store) -> None:
    row = store.segment("wire")
    store.path(row["dataName"]).rename(store.folder / "away")
    assert store.found() == {(4, "file_missing")}
    (store.folder / "away").rename(store.path(row["dataName"]))
    store.path(row["indexName"]).unlink()
    assert store.found() == {(4, "file_missing")}


@ON_SQLITE
def test_verify_names_each_record_of_a_missing_segment_that_the_broker_has(store: Store) -> None:
    row = store.segment("container")
    store.path(row["dataName"]).unlink()
    report = store.verify(broker=True)
    assert report.findings.found == {(4, "file_missing"): 1, (1, "packet_missing"): row["records"]}


@ON_SQLITE
def test_verify_finds_a_published_length_beyond_the_file(store: Store) -> None:
    for state in ("open", "sealed"):
        row = store.segment("wire", state)
        path = store.path(row["dataName"])
        whole = path.read_bytes()
        path.write_bytes(whole[: row["dataLength"] - 1])
        assert (4, "file_short") in store.found()
        path.write_bytes(whole)
    row = store.segment("wire", "open")
    rows = table("segments")
    longer = path.parent.parent.joinpath(row["dataName"]).stat().st_size + 1
    store.change(sa.update(rows).where(rows.c.segment == row["segment"]).values(dataLength=longer))
    assert (4, "file_short") in store.found()


@ON_SQLITE
def test_verify_passes_over_bytes_and_files_in_flight(store: Store) -> None:
    row = store.segment("wire", "open")
    for name in (row["dataName"], row["indexName"]):
        with store.path(name).open("ab") as file:
            file.write(b"appended and not published")
    store.path(row["dataName"]).with_name("77-0123456789abcdef.avro").write_bytes(b"a new segment without a row")
    assert store.found() == set()


@ON_SQLITE
def test_verify_finds_a_sealed_file_that_somebody_wrote_to(store: Store) -> None:
    with store.path(store.segment("wire")["dataName"]).open("ab") as file:
        file.write(b"more")
    assert store.found() == {(4, "file_long")}


@ON_BOTH
def test_verify_finds_a_missing_row(store: Store) -> None:
    rows = table("level1")
    assert store.change(sa.delete(rows).where(rows.c.diaSourceId == FIRST + 11)) == 1
    report = store.verify()
    assert report.findings.found == {(5, "row_missing"): 1}
    assert str(FIRST + 11) in report.findings.kept[0].what


@ON_BOTH
def test_verify_finds_a_row_that_points_to_the_wrong_packet(store: Store) -> None:
    rows = table("level1")
    here = store.row("level1", lambda row: row["diaSourceId"] == FIRST + 12)
    other = store.row("level1", lambda row: row["segment"] == here["segment"] and row["slot"] != here["slot"])
    place = {name: other[name] for name in ("segment", "blockOffset", "slot")}
    store.change(sa.update(rows).where(rows.c.diaSourceId == FIRST + 12).values(**place))
    assert store.found() == {(5, "row_misplaced"), (5, "row_unpublished")}


@ON_SQLITE
def test_verify_finds_a_row_whose_values_are_not_the_packets(store: Store) -> None:
    rows = table("level1")
    for name, value in {"psfFlux": 1e9, "ra": 1.0, "flags": 4096, "digest": b"\0" * 16, "band": "q"}.items():
        before = store.row("level1", lambda row: row["diaSourceId"] == FIRST + 13)[name]
        store.change(sa.update(rows).where(rows.c.diaSourceId == FIRST + 13).values({name: value}))
        report = store.verify()
        assert report.findings.found == {(5, "row_differs"): 1}, name
        assert f"{name} is {value!r}" in report.findings.kept[0].what
        store.change(sa.update(rows).where(rows.c.diaSourceId == FIRST + 13).values({name: before}))


@ON_SQLITE
@pytest.mark.parametrize("name", ["chunk", "subChunk"])
def test_verify_finds_a_row_in_the_wrong_chunk(store: Store, name: str) -> None:
    rows = table("level1")
    before = store.row("level1", lambda row: row["diaSourceId"] == FIRST + 13)[name]
    store.change(sa.update(rows).where(rows.c.diaSourceId == FIRST + 13).values({name: before + 1}))
    report = store.verify()
    assert report.findings.found == {(5, "chunk_differs"): 1}
    assert f"{name} is {before + 1}, the packet says {before}" in report.findings.kept[0].what


@ON_SQLITE
def test_verify_with_another_layout_than_ingest_had_says_so_and_nothing_else(store: Store) -> None:
    assert store.found(stripes=85) == {(5, "chunk_differs")}


@ON_SQLITE
def test_verify_finds_a_row_of_the_wrong_night(store: Store) -> None:
    rows = table("level1")
    store.change(sa.update(rows).where(rows.c.diaSourceId == FIRST + 14).values(night=20260308))
    assert (5, "row_missing") in store.found()


def test_verify_finds_a_row_that_nothing_published(store: Store) -> None:
    row = store.row("level1", lambda row: row["diaSourceId"] == FIRST + 15)
    store.change(sa.insert(table("level1")).values(row | {"diaSourceId": FIRST + 99_999}))
    report = store.verify()
    assert report.findings.found == {(5, "row_unpublished"): 1}
    assert str(FIRST + 99_999) in report.findings.kept[0].what


@ON_BOTH
def test_verify_finds_a_gap_in_the_ranges(store: Store) -> None:
    rows = table("commit_ranges")
    row = store.row("commit_ranges", lambda row: row["startOffset"] > 0 and row["records"] > 3)
    mine = sa.and_(rows.c.commitId == row["commitId"], rows.c.startOffset == row["startOffset"])
    store.change(sa.update(rows).where(mine).values(startOffset=row["startOffset"] + 2))
    assert (3, "ranges_gap") in store.found()
    store.change(sa.delete(rows).where(rows.c.commitId == row["commitId"]))
    assert {(3, "ranges_gap"), (3, "commit_differs")} <= store.found()


def test_verify_finds_an_overlap_of_ranges(store: Store) -> None:
    rows = table("commit_ranges")
    row = store.row("commit_ranges", lambda row: row["startOffset"] > 0)
    mine = sa.and_(rows.c.commitId == row["commitId"], rows.c.startOffset == row["startOffset"])
    store.change(sa.update(rows).where(mine).values(startOffset=row["startOffset"] - 1))
    assert {(3, "ranges_overlap"), (3, "commit_differs")} <= store.found()


def test_verify_finds_ranges_that_do_not_end_at_the_ledger(store: Store) -> None:
    rows, row = table("ledger"), store.row("ledger")
    mine = sa.and_(rows.c.stream == row["stream"], rows.c.kafkaPartition == row["kafkaPartition"])
    store.change(sa.update(rows).where(mine).values(next=row["next"] + 5))
    assert store.found() == {(3, "ranges_gap")}
    store.change(sa.update(rows).where(mine).values(next=row["next"] - 1))
    assert store.found() == {(3, "ledger_differs")}


@pytest.mark.parametrize("name", ["commits", "commit_ranges", "segments"])
def test_verify_finds_counts_of_records_that_do_not_fit(store: Store, name: str) -> None:
    rows, row = table(name), store.row(name, lambda row: row["records"] > 0)
    key = sa.and_(*(column == row[column.name] for column in rows.primary_key.columns))
    store.change(sa.update(rows).where(key).values(records=row["records"] + 1))
    assert (3, "records_differ") in store.found()


def test_verify_finds_a_commit_that_only_the_files_or_only_the_tables_know(store: Store) -> None:
    commit = store.row("commit_ranges", lambda row: row["records"] > 0)["commitId"]
    rows = table("commits")
    store.change(sa.delete(rows).where(rows.c.commitId == commit))
    assert (3, "commit_unknown") in store.found()
    row = store.row("commits", lambda row: row["commitId"] == commit)
    store.change(sa.insert(rows).values(row))
    store.change(sa.insert(rows).values(row | {"commitId": 5, "committedAt": 1.0}))
    assert store.found() == {(3, "commit_unfiled")}


def test_verify_finds_a_repeat_that_is_not_named(store: Store) -> None:
    rows = table("level1_repeat")
    assert store.change(sa.delete(rows).where(rows.c.kind == "repeated")) > 0
    assert store.found() == {(6, "id_unnamed")}


@ON_SQLITE
def test_verify_finds_a_repeat_of_the_wrong_kind_and_one_that_nothing_published(store: Store) -> None:
    rows = table("level1_repeat")
    row = store.row("level1_repeat", lambda row: row["kind"] == "conflict" and row["diaSourceId"] == CONFLICTING)
    key = sa.and_(*(column == row[column.name] for column in rows.primary_key.columns))
    store.change(sa.update(rows).where(key).values(kind="repeated"))
    assert (6, "row_differs") in store.found()
    store.change(sa.update(rows).where(key).values(kind="conflict"))
    store.change(sa.insert(rows).values(row | {"part": 3, "slot": row["slot"] + 900}))
    assert store.found() == {(6, "row_unpublished")}


def test_verify_finds_quarantine_rows_without_a_packet_and_packets_without_a_row(store: Store) -> None:
    rows, row = table("quarantine"), store.row("quarantine")
    key = sa.and_(*(column == row[column.name] for column in rows.primary_key.columns))
    taken = {(r["stream"], r["kafkaPartition"], r["kafkaOffset"]) for r in store.rows["quarantine"]}
    free = next(n for n in range(200) if (row["stream"], row["kafkaPartition"], n) not in taken)
    store.change(sa.insert(rows).values(row | {"kafkaOffset": free}))
    assert {(7, "quarantine_lost"), (2, "kept_twice")} >= store.found() >= {(7, "quarantine_lost")}
    store.change(sa.delete(rows).where(rows.c.kafkaOffset == free))
    store.change(sa.update(rows).where(key).values(slot=row["slot"] + 900))
    assert store.found() == {(7, "quarantine_differs"), (7, "quarantine_lost")}
    store.change(sa.delete(rows).where(key))
    assert store.found() == {(7, "quarantine_lost")}


def test_verify_finds_a_quarantined_packet_that_is_not_said_to_be_in_its_own_night(store: Store) -> None:
    rows, row = table("quarantine"), store.row("quarantine", lambda row: row["nightFrom"] == "alert")
    key = sa.and_(*(column == row[column.name] for column in rows.primary_key.columns))
    store.change(sa.update(rows).where(key).values(nightFrom="kafka"))
    assert store.found() == {(7, "quarantine_differs")}


def test_verify_finds_a_record_that_is_said_to_be_redriven_and_is_not(store: Store) -> None:
    rows, row = table("quarantine"), store.row("quarantine")
    key = sa.and_(*(column == row[column.name] for column in rows.primary_key.columns))
    store.change(sa.update(rows).where(key).values(state="redriven", redriveCommit=row["commitId"]))
    assert store.found() == {(2, "redriven_lost")}


def test_verify_finds_visit_parts_that_do_not_sum_up(store: Store) -> None:
    rows, row = table("visit_part"), store.row("visit_part", lambda row: row["new"] > 0)
    key = sa.and_(*(column == row[column.name] for column in rows.primary_key.columns))
    store.change(sa.update(rows).where(key).values(new=row["new"] + 1))
    assert store.found() == {(11, "visit_part_differs")}
    store.change(sa.delete(rows).where(key))
    assert store.found() == {(11, "visit_part_differs")}


@ON_MARIADB
def test_verify_finds_what_differs_at_the_broker(store: Store, topic: str) -> None:
    """The stream's row is turned to a topic with other messages at the same offsets."""
    from doubles.ingest_run import IngestRun, Sent

    store.kafka.create_topic(topic, 2)
    other = IngestRun(store.kafka.bootstrap, topic, store.url, store.folder)
    other.send([Sent(b"something else", partition=n % 2) for n in range(20)])
    connection = Broker(store.kafka.bootstrap, Plaintext(), {})
    connection.close()
    rows = table("streams")
    here = _identity(store.kafka.bootstrap, topic)
    store.change(sa.update(rows).where(rows.c.stream == 1).values(topic=topic, topicId=here.topic_id))
    report = store.verify(broker=True)
    assert report.findings.found[1, "packet_differs"] == 20
    differing = next(finding for finding in report.findings.kept if finding.code == "packet_differs")
    assert "value and timestamp" in differing.what


def _identity(bootstrap: str, topic: str) -> Stream:
    from confluent_kafka.admin import AdminClient

    from stream.transport.kafka.topic_ids import TopicIds

    return TopicIds(AdminClient({"bootstrap.servers": bootstrap}), SystemClock()).learn(topic, 10)
