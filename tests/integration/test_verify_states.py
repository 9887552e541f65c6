"""Verifying finds rows of segments whose state or number would let go of packets that were published."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from doubles.broken_store import ON_SQLITE, Store

from stream.alertdb.segment import SegmentRef
from stream.alertdb.store import open_store
from stream.errors import Fatal, Transient
from stream.tables.model import table, version

REF = ("segment", "dataName", "indexName", "dataLength", "indexLength")


def set_row(store: Store, number: int, **values: Any) -> None:
    rows = table("segments")
    assert store.change(sa.update(rows).where(rows.c.segment == number).values(**values)) == 1


@ON_SQLITE
@pytest.mark.parametrize("kind", ["wire", "container", "raw", "quarantine"])
@pytest.mark.parametrize("state", ["swept", "copy", "retired", "none"])
def test_verify_finds_a_published_segment_that_is_said_to_be_gone(store: Store, kind: str, state: str) -> None:
    row = store.segment(kind)
    for night in (None, row["night"]):
        set_row(store, row["segment"], state=state)
        report = store.verify(night=night)
        assert report.findings.found[4, "state_differs"] == 1, report.listed()
        assert str(row["segment"]) in report.findings.kept[0].where
        lost = {(5, "row_unpublished"), (7, "quarantine_lost")} & set(report.findings.found)
        assert bool(lost) == (state in ("swept", "copy"))
        set_row(store, row["segment"], state="sealed")
    assert store.found() == set()


@ON_SQLITE
def test_verify_finds_a_sealed_segment_that_is_said_to_be_open(store: Store) -> None:
    set_row(store, store.segment("wire")["segment"], state="open")
    assert store.found() == {(4, "state_differs")}


@ON_SQLITE
def test_verify_finds_a_copy_whose_number_a_sweep_would_take(store: Store) -> None:
    rows, copy = table("segments"), store.row("segments", lambda row: row["state"] == "copy")
    mine = rows.c.segment == copy["segment"]
    for statement in (
        sa.update(rows).where(mine).values(copyOf=copy["copyOf"] + 1),
        sa.update(rows).where(mine).values(state="swept", kind="swept"),
        sa.delete(rows).where(mine),
    ):
        store.change(statement)
        report = store.verify()
        assert report.findings.found == {(4, "state_differs"): 1}
        assert f"number {copy['segment']}" in report.findings.kept[0].what
        assert str(copy["copyOf"]) in report.findings.kept[0].where


@ON_SQLITE
@pytest.mark.parametrize("column", ["dataName", "indexName", "folder"])
def test_verify_names_a_file_behind_a_link_that_no_reader_follows_and_reads_the_others(
    store: Store, column: str
) -> None:
    row = store.segment("wire")
    path = store.path(row["dataName"]).parent if column == "folder" else store.path(row[column])
    path.rename(store.folder / "elsewhere")
    path.symlink_to(store.folder / "elsewhere")
    report = store.verify()
    assert set(report.findings.found) == {(4, "file_unreadable")}
    assert any(str(row["segment"]) in one.where and "is a link" in one.what for one in report.findings.kept)
    assert report.findings.counts["rows"] > 0
    with pytest.raises(Transient, match="links are not followed"):
        open_store(str(store.folder)).read(SegmentRef(*(row[name] for name in REF)))


@ON_SQLITE
def test_verify_sends_nobody_to_migrate_tables_that_are_newer_than_it_reads(store: Store) -> None:
    store.change(sa.update(table("schema_version")).values(minor=version().minor + 1))
    with pytest.raises(Fatal) as caught:
        store.verify()
    store.change(sa.update(table("schema_version")).values(minor=version().minor))
    assert caught.value.code == "level1_version" and "newer skyburst" in str(caught.value)
