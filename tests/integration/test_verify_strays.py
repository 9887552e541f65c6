"""Verifying finds rows that are one too many, belong to no commit, or do not say what an operator gave up."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from doubles.broken_store import ON_BOTH, ON_SQLITE, Store
from doubles.called import call
from doubles.ingest_run import IngestRun

from stream.tables.model import table


def key_of(rows: sa.Table, row: dict[str, Any]) -> sa.ColumnElement[bool]:
    return sa.and_(*(column == row[column.name] for column in rows.primary_key.columns))


@ON_BOTH
def test_verify_finds_a_second_row_of_an_alert_in_another_night(store: Store) -> None:
    row = store.row("level1", lambda row: row["commitId"] > 0)
    store.change(sa.insert(table("level1")).values(row | {"night": row["night"] + 1}))
    report = store.verify()
    assert report.findings.found == {(5, "row_unpublished"): 1}
    assert f"id {row['diaSourceId']}" in report.findings.kept[0].what
    assert "2 rows lead to this packet" in report.findings.kept[0].what


@ON_SQLITE
def test_verify_finds_a_repeat_that_is_named_twice(store: Store) -> None:
    row = store.row("level1_repeat")
    store.change(sa.insert(table("level1_repeat")).values(row | {"part": row["part"] + 7}))
    assert store.found() == {(6, "row_unpublished")}


@ON_BOTH
def test_verify_finds_a_visit_part_and_a_range_of_a_commit_that_is_not_there(store: Store) -> None:
    parts, part = table("visit_part"), store.row("visit_part", lambda row: row["new"] > 0)
    store.change(sa.insert(parts).values(part | {"commitId": 5}))
    assert store.found() == {(11, "visit_part_differs")}
    store.change(sa.delete(parts).where(parts.c.commitId == 5))
    ranges = table("commit_ranges")
    mine = key_of(ranges, store.row("commit_ranges", lambda row: row["records"] > 0))
    store.change(sa.update(ranges).where(mine).values(commitId=5))
    assert (3, "commit_differs") in store.found()


@ON_SQLITE
def test_verify_finds_a_visit_part_of_another_survey(store: Store) -> None:
    parts, part = table("visit_part"), store.row("visit_part", lambda row: row["new"] > 0)
    store.change(sa.update(parts).where(key_of(parts, part)).values(survey=3 - part["survey"]))
    assert store.found() == {(11, "visit_part_differs")}


@ON_SQLITE
async def test_verify_lists_accepted_gaps_and_finds_those_that_are_not_what_the_files_say(store: Store) -> None:
    at = store.row("ledger", lambda row: row["kafkaPartition"] == 1)
    run = IngestRun(store.kafka.bootstrap, "alerts", store.url, store.folder)
    place = [str(at["stream"]), "1", str(at["next"]), str(at["next"] + 5)]
    done = await call(run, "ledger", "accept-gap", *place, "--reason", "a disk died", "--unchecked")
    assert done.code == 0, done
    for report in (store.verify(), store.verify()):
        assert report.sound
        assert [gap["reason"] for gap in report.gaps] == ["a disk died"]
        assert report.document()["acceptedGaps"]
    gaps = table("accepted_gaps")
    stray = {"stream": at["stream"], "kafkaPartition": 1, "startOffset": 3, "endOffset": 4, "commitId": 9}
    store.change(sa.insert(gaps).values(stray | {"reason": "lost", "acceptedAt": 1.0}))
    assert store.found() == {(3, "gap_differs")}
    store.change(sa.delete(gaps).where(gaps.c.commitId == 9))
    for statement in (
        sa.update(gaps).values(reason="nothing much"),
        sa.update(gaps).values(reason="a disk died", endOffset=at["next"] + 4),
        sa.delete(gaps),
    ):
        store.change(statement)
        assert store.found() == {(3, "gap_differs")}
