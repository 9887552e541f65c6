"""Which commits a rebuild takes: each offset once, what was surely published always, nothing beyond a gap."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.audit.catalogue import Catalogue, Part
from stream.audit.files import Unreadable
from stream.audit.notes import Note, shared_note
from stream.audit.order import Gap, Order, Take

Ranges = Sequence[tuple[int, int, int]]
"""Partition, start and end; all of stream 1."""


def note(commit: int, ranges: Ranges, parts: Sequence[tuple[int, int]] = ((1, 0),), **more: object) -> Note:
    told = {
        "commit": commit,
        "ranges": [[1, partition, start, end, end - start, 0] for partition, start, end in ranges],
        "parts": [list(part) for part in parts],
        "at": float(commit),
    }
    return shared_note(json.dumps({**told, **more}))


def part(told: Note, segment: int = 1, *, sure: bool = True, messages: int = 0, aside: int = 0) -> Part:
    return Part(told, segment, told.commit, messages, aside, sure, 0, 0)


@pytest.fixture
def catalogue() -> Iterator[Catalogue]:
    with Catalogue() as made:
        yield made


def taken(catalogue: Catalogue, accepted: Sequence[Gap] = ()) -> tuple[list[object], list[Gap]]:
    """What is taken, as (commit, ranges) or a gap, and where it stops."""
    catalogue.settle(set())
    catalogue.drop_unsure()
    order = Order(catalogue, accepted)
    steps = [
        (step.note.commit, [(r.partition, r.start, r.end) for r in step.ranges]) if isinstance(step, Take) else step
        for step in order.walk()
    ]
    return steps, order.gaps()


def test_commits_are_taken_in_the_order_of_their_offsets(catalogue: Catalogue) -> None:
    told = [note(3, [(0, 20, 30)]), note(1, [(0, 0, 10)]), note(2, [(0, 10, 20)])]
    catalogue.add(part(each) for each in told)
    assert taken(catalogue) == ([(1, [(0, 0, 10)]), (2, [(0, 10, 20)]), (3, [(0, 20, 30)])], [])


def test_a_commit_over_two_partitions_waits_for_both(catalogue: Catalogue) -> None:
    both = note(9, [(0, 10, 20), (1, 10, 20)])
    catalogue.add(part(each) for each in (both, note(1, [(0, 0, 10)]), note(2, [(1, 0, 10)])))
    assert [step[0] for step in taken(catalogue)[0]] == [1, 2, 9]  # type: ignore[index]


def test_what_lacks_a_part_is_not_taken_and_what_lies_behind_it_neither(catalogue: Catalogue) -> None:
    torn = note(2, [(0, 10, 20)], parts=[(1, 0), (7, 3)])
    catalogue.add(part(each) for each in (note(1, [(0, 0, 10)]), torn, note(3, [(0, 20, 30)])))
    assert catalogue.settle(set()) == 1
    order = Order(catalogue)
    assert [step.note.commit for step in order.walk() if isinstance(step, Take)] == [1]
    assert order.gaps() == [Gap(1, 0, 10, 20)]


def test_a_gap_at_the_beginning_is_seen_by_what_is_left_of_a_torn_commit(catalogue: Catalogue) -> None:
    catalogue.add(part(each) for each in (note(1, [(0, 0, 10)], parts=[(1, 0), (7, 3)]), note(2, [(0, 10, 20)])))
    assert taken(catalogue) == ([], [Gap(1, 0, 0, 10)])


def test_an_accepted_gap_is_a_step_of_its_own_and_what_lies_behind_it_is_taken(catalogue: Catalogue) -> None:
    catalogue.add(part(each) for each in (note(1, [(0, 0, 10)]), note(3, [(0, 20, 30)])))
    gap = Gap(1, 0, 10, 20)
    assert taken(catalogue, [Gap(1, 0, 5, 20)]) == ([(1, [(0, 0, 10)]), gap, (3, [(0, 20, 30)])], [])


def test_an_accepted_gap_that_is_too_short_changes_nothing(catalogue: Catalogue) -> None:
    catalogue.add(part(each) for each in (note(1, [(0, 0, 10)]), note(3, [(0, 20, 30)])))
    assert taken(catalogue, [Gap(1, 0, 10, 19)]) == ([(1, [(0, 0, 10)])], [Gap(1, 0, 10, 20)])


def test_a_part_in_a_retired_segment_counts_as_there(catalogue: Catalogue) -> None:
    catalogue.add([part(note(1, [(0, 0, 10)], parts=[(1, 0), (7, 3)]))])
    assert catalogue.settle({7}) == 0


def test_what_overlaps_a_published_commit_was_never_published(catalogue: Catalogue) -> None:
    catalogue.add([part(note(1, [(0, 0, 10)])), part(note(5, [(0, 0, 15)]), sure=False), part(note(2, [(0, 10, 20)]))])
    assert taken(catalogue) == ([(1, [(0, 0, 10)]), (2, [(0, 10, 20)])], [])


def test_what_may_have_been_published_is_taken_where_nothing_else_has_its_offsets(catalogue: Catalogue) -> None:
    catalogue.add([part(note(1, [(0, 0, 10)])), part(note(2, [(0, 10, 20)]), sure=False), part(note(3, [(0, 20, 25)]))])
    assert taken(catalogue) == ([(1, [(0, 0, 10)]), (2, [(0, 10, 20)]), (3, [(0, 20, 25)])], [])


def test_of_two_that_may_have_been_published_the_one_that_others_follow_is_taken(catalogue: Catalogue) -> None:
    unsure = [part(note(n, [(0, 0, end)]), sure=False) for n, end in ((1, 12), (2, 10))]
    catalogue.add([*unsure, part(note(3, [(0, 10, 20)]))])
    assert taken(catalogue) == ([(2, [(0, 0, 10)]), (3, [(0, 10, 20)])], [])


def test_of_two_alike_the_one_with_less_in_quarantine_is_taken(catalogue: Catalogue) -> None:
    catalogue.add(part(note(n, [(0, 0, 10)]), sure=False, aside=aside) for n, aside in ((1, 1), (2, 0), (3, 4)))
    assert taken(catalogue) == ([(2, [(0, 0, 10)])], [])


def test_a_range_is_clipped_to_what_is_not_covered(catalogue: Catalogue) -> None:
    catalogue.add(
        [
            part(note(1, [(0, 0, 10), (1, 0, 5)]), sure=False),
            part(note(2, [(0, 0, 6), (1, 0, 9)]), sure=False),
        ]
    )
    steps, gaps = taken(catalogue)
    assert gaps == []
    assert steps in (
        [(1, [(0, 0, 10), (1, 0, 5)]), (2, [(1, 5, 9)])],
        [(2, [(0, 0, 6), (1, 0, 9)]), (1, [(0, 6, 10)])],
    )


def test_retired_ranges_are_passed_over_where_nothing_has_their_packets(catalogue: Catalogue) -> None:
    retirement = note(9, [], retired=[[1, 0, 0, 20]])
    catalogue.add([part(retirement), part(note(3, [(0, 20, 30)])), part(note(2, [(0, 10, 20)]))])
    steps, gaps = taken(catalogue)
    assert gaps == []
    assert [step[1] for step in steps] == [[(0, 0, 20)], [(0, 20, 30)]]  # type: ignore[index]


def test_what_overlaps_a_published_range_is_left_out_though_a_shorter_one_lies_between(catalogue: Catalogue) -> None:
    retirement = note(9, [], retired=[[1, 0, 0, 100]])
    catalogue.add([part(retirement), part(note(1, [(0, 20, 30)])), part(note(2, [(0, 50, 110)]), sure=False)])
    assert [step[1] for step in taken(catalogue)[0]] == [[(0, 0, 100)]]  # type: ignore[index]


@given(st.integers(0, 2**32))
def test_each_offset_is_taken_once_and_what_was_published_always(seed: int) -> None:
    """A made-up past of three partitions, published commits in it, and others that never were."""
    chance = Random(seed)
    at = [chance.randrange(5) for _ in range(3)]
    start = list(at)
    published: list[Note] = []
    with Catalogue() as catalogue:
        parts = []
        for commit in range(1, chance.randrange(2, 30)):
            moved = chance.sample(range(3), chance.randrange(1, 4))
            ranges = [(p, at[p], at[p] + chance.randrange(1, 9)) for p in sorted(moved)]
            for p, _, end in ranges:
                at[p] = end
            published.append(note(commit, ranges))
            parts.append(part(published[-1]))
            if chance.random() < 0.3:
                stray = [(p, low, low + chance.randrange(1, 12)) for p, low, _ in ranges]
                parts.append(part(note(1000 + commit, stray), sure=False, aside=chance.randrange(3)))
        chance.shuffle(parts)
        catalogue.add(parts)
        steps, gaps = taken(catalogue)
    assert gaps == []
    covered = list(start)
    for _, ranges in steps:  # type: ignore[misc]
        for partition, low, high in ranges:
            assert low == covered[partition] < high
            covered[partition] = high
    assert {step[0] for step in steps} >= {each.commit for each in published}  # type: ignore[index]
    assert all(reached >= end for reached, end in zip(covered, at, strict=True) if end)


def test_a_partition_begins_where_the_files_tell_that_its_ledger_began(catalogue: Catalogue) -> None:
    adoption = note(9, [], begins=[[1, 0, 50]])
    catalogue.add([part(adoption, segment=2), part(note(2, [(0, 70, 80)]))])
    assert taken(catalogue) == ([], [Gap(1, 0, 50, 70)])
    assert catalogue.untold() == []


def test_a_begin_of_which_no_commit_took_anything_is_no_partition(catalogue: Catalogue) -> None:
    catalogue.add([part(note(9, [], begins=[[1, 3, 50]]))])
    assert taken(catalogue) == ([], [])
    assert catalogue.places() == []


def test_a_partition_that_begins_behind_0_with_no_word_of_it_is_named(catalogue: Catalogue) -> None:
    catalogue.add([part(note(1, [(0, 0, 10), (1, 40, 50)])), part(note(2, [(2, 7, 9)], begins=[[1, 2, 7]]))])
    taken(catalogue)
    assert catalogue.untold() == [((1, 1), 40)]


def test_what_a_commit_says_is_taken_from_the_first_lot_though_better_files_were_found_later(
    catalogue: Catalogue,
) -> None:
    """A batch that was done again with another segment: its parts do not all say the same."""
    lots = [
        catalogue.add([part(note(1, [(0, 0, 10)], parts=[(2, 0)], reason=f"lot {n}"), segment=segment)])
        for n, segment in enumerate((1, 2, 1))
    ]
    catalogue.replace(lots[0], lots[2])
    assert catalogue.settle(set()) == 0
    assert catalogue.note(1).reason == "lot 2"
    assert catalogue.parts(1) == [(1, 1), (2, 1)]


def test_of_a_segment_that_cannot_be_read_to_its_end_nothing_stays(catalogue: Catalogue) -> None:
    def failing() -> Iterator[Part]:
        yield part(note(1, [(0, 0, 10)]))
        raise Unreadable("byte 7")

    with pytest.raises(Unreadable):
        catalogue.add(failing())
    assert taken(catalogue) == ([], [])
    assert catalogue.places() == []


@pytest.mark.parametrize("sure", [True, False])
def test_the_work_for_a_commit_does_not_grow_with_how_many_were_taken_before(sure: bool) -> None:
    """Counted in instructions of SQLite, a hundred at a time; where segments are put, no commit is sure."""
    work = {}
    for count in (100, 800):
        with Catalogue() as catalogue:
            told = (note(n, [(0, 10 * n, 10 * n + 10), (1, 10 * n, 10 * n + 10)]) for n in range(1, count + 1))
            catalogue.add(part(each, sure=sure) for each in told)
            catalogue.settle(set())
            steps = itertools.count()
            catalogue._base.set_progress_handler(lambda steps=steps: next(steps) < 0, 100)
            catalogue.drop_unsure()
            assert sum(1 for _ in Order(catalogue).walk()) == count
            work[count] = next(steps) / count
    assert work[800] < 1.5 * work[100], work
