"""Nights fall into blocks of thirty that are the same for every database."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import Wrong
from stream.tables.nights import NIGHTS, Partition, block_of, blocks, day_of, night_of, nights_of, partition_clause

days = st.dates(date(1990, 1, 1), date(2090, 1, 1))


@given(days)
def test_a_night_lies_in_its_block(day: date) -> None:
    first = day_of(block_of(night_of(day)))
    assert first <= day < first + timedelta(days=NIGHTS)
    assert block_of(night_of(first)) == night_of(first)


@given(days, st.integers(0, 2000))
def test_blocks_tile_the_nights_without_gap(day: date, more: int) -> None:
    starts = [day_of(one) for one in blocks(night_of(day), night_of(day + timedelta(days=more)))]
    assert all(b - a == timedelta(days=NIGHTS) for a, b in pairwise(starts))
    assert starts[0] <= day and day + timedelta(days=more) < starts[-1] + timedelta(days=NIGHTS)


@pytest.mark.parametrize("night", [0, 20261301, 20260230, 99999999, -5])
def test_what_is_no_day_is_no_night(night: int) -> None:
    with pytest.raises(Wrong, match="not a night"):
        day_of(night)


@pytest.mark.parametrize(("first", "last"), [(10101, 20261231), (20260101, 99991231)])
def test_a_block_beyond_the_calendar_is_wrong_use(first: int, last: int) -> None:
    with pytest.raises(Wrong, match="beyond the calendar"):
        partition_clause(first, last)


def test_the_clause_has_a_first_and_a_last_that_take_the_rest() -> None:
    clause = partition_clause(20261121, 20261231)
    assert clause.startswith(
        "PARTITION BY RANGE (night) (PARTITION earlier VALUES LESS THAN (20261031), PARTITION p20261031"
    )
    assert clause.endswith("PARTITION later VALUES LESS THAN MAXVALUE)")


def test_nights_of_a_partition_are_open_at_both_ends_of_the_table() -> None:
    parts = [Partition("earlier", 20261031), Partition("p20261031", 20261130), Partition("later", None)]
    assert nights_of(parts, "earlier") == (None, 20261031)
    assert nights_of(parts, "p20261031") == (20261031, 20261130)
    assert nights_of(parts, "later") == (20261130, None)
    with pytest.raises(Wrong, match="no partition"):
        nights_of(parts, "p1")
