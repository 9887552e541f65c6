"""Verifying finds rows that are one too many, belong to no commit, or do not say what an operator gave up."""

from __future__ import annotations

import sqlalchemy as sa
from doubles.broken_store import ON_BOTH, ON_SQLITE, Store

from stream.tables.model import table


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
