"""Rows that nothing published are found wherever they lie, and what came meanwhile is no finding."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any, cast

import pytest
import sqlalchemy as sa

from stream.audit.commits import Commits
from stream.audit.findings import Findings
from stream.audit.places import Lying, Places
from stream.audit.reverse import MOST, Reverse
from stream.audit.scratch import Scratch
from stream.audit.stored import Ledger, Stored
from stream.tables.model import metadata, table

BEGAN = 1000.0
SEGMENT = 7


@pytest.fixture
def engine() -> Iterator[sa.Engine]:
    made = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    metadata().create_all(made)
    yield made
    made.dispose()


def insert(engine: sa.Engine, name: str, *rows: dict[str, Any]) -> None:
    """Rows of which every column that is not named is 0, or text or bytes of none."""
    blank = {column.name: None if column.nullable else column.type.python_type() for column in table(name).columns}
    with engine.begin() as connection:
        connection.execute(sa.insert(table(name)), [blank | row for row in rows])


class Indexes:
    """What lies in segments, in place of `Places`."""

    def __init__(self, **segments: Lying) -> None:
        self.segments = segments

    def of(self, segment: int) -> Lying:
        return self.segments.get(f"s{segment}", Lying())


def reverse(engine: sa.Engine, scratch: Scratch, places: Indexes, matched: int = 0) -> Findings:
    findings = Findings()
    Reverse(
        stored=Stored(engine),
        scratch=scratch,
        findings=findings,
        ledger=Ledger({(1, 0): 1 << 40}),
        places=cast(Places, places),
        matched={SEGMENT: {"level1": matched}},
        unread=(),
        night=None,
        began=BEGAN,
    ).judge()
    return findings


def level1_rows(numbers: Collection[int]) -> list[dict[str, Any]]:
    common = {"survey": 1, "night": 20260305, "stream": 1, "segment": SEGMENT, "blockOffset": 100}
    return [common | {"diaSourceId": n, "kafkaOffset": n, "slot": n} for n in numbers]


def test_rows_that_nothing_published_are_found_behind_thousands_that_are_good(engine: sa.Engine) -> None:
    good = range(2 * MOST)
    insert(engine, "surveys", {"survey": 1, "name": "a"})
    insert(engine, "level1", *level1_rows(range(2 * MOST + 3)))
    places = Indexes(s7=Lying({(100, n): [((1, 0, n), n)] for n in good}))
    with Scratch() as scratch:
        assert reverse(engine, scratch, places, len(good)).found == {(5, "row_unpublished"): 3}
        assert reverse(engine, scratch, Indexes()).found == {(5, "row_unpublished"): MOST}


def redriven(engine: sa.Engine, committed: float | None) -> None:
    where = {"stream": 1, "kafkaOffset": 5, "segment": 3, "blockOffset": 9}
    insert(engine, "quarantine", where | {"state": "redriven", "redriveCommit": 77})
    if committed is not None:
        insert(engine, "commits", {"commitId": 77, "committedAt": committed})


@pytest.mark.parametrize(
    ("told", "now", "committed", "found"),
    [
        (True, True, BEGAN - 1e6, False),
        (True, False, BEGAN + 5, True),
        (False, False, BEGAN - 30, False),
        (False, False, BEGAN - 90, True),
        (False, False, None, True),
    ],
    ids=["its segment has it now", "no segment has it", "just now by a clock that lags", "long ago", "by no commit"],
)
def test_a_record_that_was_redriven_meanwhile_is_not_lost(
    engine: sa.Engine, told: bool, now: bool, committed: float | None, found: bool
) -> None:
    redriven(engine, committed)
    quarantined, again = ({(block, 0): [((1, 0, 5), None)]} for block in (9, 8))
    lying = {"s3": Lying(quarantined), "s4": Lying(again if now else {})}
    with Scratch() as scratch:
        if told:
            scratch.note(77, 3, 1, json.dumps({"commit": 77, "ranges": [], "parts": [[3, 1], [4, 1]]}))
        findings = reverse(engine, scratch, Indexes(**lying))
    assert ((2, "redriven_lost") in findings.found) is found


@pytest.mark.parametrize("now", [True, False])
def test_a_part_that_came_after_its_segment_was_read_is_in_flight(engine: sa.Engine, now: bool) -> None:
    insert(engine, "commits", {"commitId": 77, "committedAt": BEGAN, "records": 2})
    findings = Findings()
    with Scratch() as scratch:
        scratch.note(77, 2, 1, json.dumps({"commit": 77, "ranges": [], "parts": [[2, 1], [4, 1]]}))
        Commits(
            stored=Stored(engine),
            scratch=scratch,
            findings=findings,
            ledger=Ledger({}),
            places=cast(Places, Indexes(s4=Lying(commits={77} if now else set()))),
            gaps=(),
            first={},
            elsewhere=(),
            began=BEGAN,
        ).from_files()
    assert set(findings.found) == (set() if now else {(4, "commit_counts")})
