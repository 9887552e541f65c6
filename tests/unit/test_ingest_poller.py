"""The polling thread against a scripted source: what is paused, what is posted, what counts as the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from doubles.scripted_source import ScriptedSource, Step, records

from consumers.ingest.batches import News, Polled
from consumers.ingest.places import LATER
from consumers.ingest.poller import LAG_S, RETRY_S, Poller
from consumers.ingest.window import Window
from stream.clock import ManualClock
from stream.transport.source import Partition, Source

A, B, C = ("t", 0), ("t", 1), ("t", 2)


class Ledger:
    """The keeper of a test: places by partition; one that is not in it is held."""

    def __init__(self, **at: int) -> None:
        self.at = {("t", int(name[1:])): place for name, place in at.items()}

    def places(self, source: Source, parts: Sequence[Partition]) -> Mapping[Partition, int]:
        return {part: self.at[part] for part in parts if part in self.at}

    def dropped(self) -> None:
        raise AssertionError("nothing is dropped here")


class Polling:
    """A poller, the source that it owns, and what it posted."""

    def __init__(self, ledger: Ledger) -> None:
        self.source, self.ledger, self.clock = ScriptedSource(), ledger, ManualClock()
        self.posted: list[News] = []
        self.window = Window(1 << 20, lambda _: None)
        self.poller = Poller(
            self.source, ["t"], self.window, ledger, self.posted.append, self.clock, revoke_s=0.0
        )  # fmt: skip
        self.source.done = self.poller.stop

    def run(self, *steps: Step) -> None:
        self.source.steps = list(steps)
        self.poller.run()

    @property
    def rows(self) -> list[tuple[int, int]]:
        """Partition and offset of every record that was posted."""
        return [
            place
            for news in self.posted
            if isinstance(news, Polled)
            for one in news.records
            for place in zip(one.partition.tolist(), one.offset.tolist(), strict=True)
        ]

    def after(self, seconds: float) -> Callable[[], None]:
        return lambda: self.clock.advance(seconds)


def test_what_is_assigned_released_or_placed_during_a_stall_is_not_fetched_before_its_end() -> None:
    one = Polling(Ledger(p0=0, p1=LATER))
    seen: list[set[Partition]] = []

    def place_b() -> None:
        one.ledger.at[B] = 5
        one.ledger.at[C] = 7
        one.poller.resume([C])
        one.clock.advance(RETRY_S)

    def look() -> None:
        seen.append(set(one.source.paused))
        one.poller.quiet(False)

    one.poller.quiet(True)
    one.run(lambda: one.source.give(A, B, C), place_b, look, lambda: seen.append(set(one.source.paused)))
    assert one.source.placed == {A: 0, B: 5, C: 7}
    assert seen == [{A, B, C}, set()]


def test_what_has_no_place_after_a_reset_is_neither_fetched_nor_posted() -> None:
    one = Polling(Ledger(p0=0, p1=0))

    def reset() -> None:
        one.ledger.at = {A: 2, B: LATER}
        one.poller.restart(1)

    def both() -> list:  # type: ignore[type-arg]
        assert one.source.paused == {B}
        return [records("t", (0, 1), (0, 2), (1, 3))]

    def back() -> None:
        one.ledger.at[B] = 1
        one.clock.advance(RETRY_S)

    one.run(
        lambda: one.source.give(A, B),
        lambda: [records("t", (0, 0), (1, 0), (1, 1))],
        reset,
        both,
        back,
        lambda: [records("t", (1, 1))],
    )
    assert one.rows == [(0, 0), (1, 0), (1, 1), (0, 2), (1, 1)]
    last = [news for news in one.posted if isinstance(news, Polled)][1:]
    assert [news.position for news in last] == [{A: 3}, {B: 2}] and last[0].nbytes == 1
    assert not one.source.paused


def test_the_ledger_hears_that_what_could_not_be_placed_is_gone() -> None:
    class Asked(Ledger):
        asked: ClassVar[list[Sequence[Partition]]] = []

        def places(self, source: Source, parts: Sequence[Partition]) -> Mapping[Partition, int]:
            self.asked.append(tuple(parts))
            return super().places(source, parts)

        def dropped(self) -> None:
            """Nobody commits here what is revoked."""

    one = Polling(Asked(p0=0, p1=LATER, p2=0))
    one.run(
        lambda: one.source.give(A, B, C),
        lambda: one.source.take_away(A),
        lambda: one.source.take_away(B),
        lambda: one.source.take_away(C),
    )
    assert Asked.asked == [(A, B, C), ()]


def test_records_before_the_trouble_that_stops_their_partition_in_the_same_poll_are_posted() -> None:
    one = Polling(Ledger(p0=0))

    def stops() -> list:  # type: ignore[type-arg]
        one.source.stop(A, "bad_batch")
        return [records("t", (0, 0), (0, 1))]

    one.run(lambda: one.source.give(A), stops)
    assert one.rows == [(0, 0), (0, 1)]
    assert [news.position for news in one.posted if isinstance(news, Polled)] == [{A: 2}]


def test_the_end_is_reached_without_what_is_on_trial_and_not_without_what_has_no_place() -> None:
    one = Polling(Ledger(p0=0, p1=LATER))
    at_end: list[bool] = []

    def end(*parts: Partition) -> Step:
        return lambda: one.source.at_end.update(dict.fromkeys(parts, 0))

    def note() -> None:
        at_end.append(one.poller.at_end)

    def try_b() -> None:
        one.poller.hold([B])
        one.poller.resume([B])

    def place_b() -> None:
        one.ledger.at[B] = 0
        one.clock.advance(RETRY_S)

    one.run(
        lambda: one.source.give(A, B),
        end(A),
        note,  # B has no place yet
        place_b,
        end(A),
        note,  # B is read
        end(A, B),
        note,
        try_b,
        end(A),
        note,  # B is on trial
        lambda: [records("t", (1, 0))],
        note,  # B is read again
    )
    assert at_end == [False, False, True, True, False]


def test_lag_is_told_of_what_is_held_too_and_no_more_of_what_was_revoked() -> None:
    one = Polling(Ledger(p0=3, p1=4))
    one.source.bounds = {A: (0, 10), B: (0, 10)}
    told: list[dict[Partition, int]] = []

    def grow() -> None:
        one.poller.hold([A])
        one.source.bounds = {A: (0, 30), B: (0, 20)}
        one.clock.advance(LAG_S)

    def revoke() -> None:
        told.append(one.poller.lags())
        try:
            one.source.take_away(B)
        finally:
            one.ledger.dropped = lambda: None  # type: ignore[method-assign]

    one.ledger.dropped = lambda: None  # type: ignore[method-assign]
    one.run(lambda: one.source.give(A, B), one.after(LAG_S), grow, revoke, lambda: told.append(one.poller.lags()))
    assert told == [{A: 27, B: 16}, {A: 27}]


def test_lag_is_counted_from_what_was_committed() -> None:
    one = Polling(Ledger(p0=3))
    one.source.bounds = {A: (0, 10)}
    told: list[dict[Partition, int]] = []

    def note() -> None:
        told.append(one.poller.lags())
        one.clock.advance(LAG_S)

    def commit(end: int) -> Callable[[], None]:
        return lambda: one.poller.tell({A: end, B: 50})

    one.run(
        lambda: one.source.give(A),
        lambda: [records("t", (0, 3), (0, 4), (0, 5))],
        one.after(LAG_S),
        note,
        commit(6),
        note,
        commit(5),
        note,
        note,
    )
    assert told == [{A: 7}, {A: 7}, {A: 4}, {A: 4}]


def test_nothing_stands_at_its_end_while_the_group_is_joined_anew() -> None:
    one = Polling(Ledger(p0=0))
    found: list[bool] = []

    def join() -> None:
        one.source.take_away(A)
        one.source.joins = True

    def joined() -> None:
        found.append(one.poller.at_end)
        one.source.joins = False

    one.ledger.dropped = lambda: None  # type: ignore[method-assign]
    one.run(lambda: one.source.give(A), join, joined, lambda: found.append(one.poller.at_end))
    assert found == [False, True], "and then there is nothing to read, as for one instance too many"
