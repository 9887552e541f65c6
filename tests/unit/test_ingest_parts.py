"""The daemon's small parts, alone: the open batch, the window, runs of unknown schemas, the nights of visits."""

from __future__ import annotations

import threading

import numpy as np

from consumers.ingest.batches import Assigned, Polled
from consumers.ingest.flat import Flat
from consumers.ingest.gathering import Gathering
from consumers.ingest.unknown import UnknownSchemas
from consumers.ingest.window import Window
from stream.codec.decoder import Checked, Waiting
from stream.codec.lookup import SchemaAway, SchemaUnknown
from stream.codec.messages import Messages

A, B = ("t", 0), ("t", 1)


def polled(at: float, nbytes: int = 10, generation: int = 0, **ends: int) -> Polled:
    position = {("t", int(name[1:])): end for name, end in ends.items()}
    return Polled(generation, (), position, nbytes, at)


def test_a_batch_starts_where_the_one_before_ended_and_holes_belong_to_the_batch_that_passes_them() -> None:
    gathering = Gathering(100, 0.5)
    gathering.assign(Assigned(0, {A: 7, B: 0}))
    assert gathering.add(polled(1.0, p0=12)) and gathering.add(polled(1.2, p0=15, p1=3))
    first = gathering.close()
    assert first is not None and first.bounds == {A: (7, 15), B: (0, 3)} and (first.nbytes, first.at) == (20, 1.0)
    assert gathering.close() is None and gathering.since is None
    gathering.add(polled(2.0, p1=4))
    second = gathering.close()
    assert second is not None and second.bounds == {B: (3, 4)}


def test_a_batch_closes_on_age_and_on_bytes() -> None:
    gathering = Gathering(100, 0.5)
    gathering.assign(Assigned(0, {A: 0}))
    assert gathering.left(9.0) is None
    gathering.add(polled(1.0, p0=1))
    assert gathering.left(1.0) == 0.5 and gathering.left(1.25) == 0.25 and gathering.left(3.0) == 0.0
    gathering.add(polled(1.0, 9, p0=2))
    assert not gathering.worthy
    gathering.add(polled(1.0, 1, p0=3))
    assert gathering.worthy and not gathering.full
    gathering.add(polled(1.0, 80, p0=4))
    assert gathering.full and gathering.left(1.0) == 0.0


def test_news_of_an_earlier_generation_or_of_partitions_that_are_gone_are_none() -> None:
    gathering = Gathering(100, 0.5)
    gathering.assign(Assigned(0, {A: 0, B: 0}))
    gathering.add(polled(1.0, p0=1))
    assert gathering.reset(1) == 10 and gathering.empty
    assert not gathering.add(polled(1.0, p0=2))
    assert not gathering.add(polled(1.0, generation=1, p0=2)), "no place since the reset"
    gathering.assign(Assigned(0, {A: 0}))
    assert not gathering.add(polled(1.0, generation=1, p0=2)), "an assignment from before the reset"
    gathering.assign(Assigned(1, {A: 1, B: 0}))
    gathering.unassign(frozenset({B}))
    assert gathering.add(polled(1.0, generation=1, p0=2)) and not gathering.add(polled(1.0, generation=1, p1=2))


def test_the_window_wakes_whoever_waits_once_enough_was_given_back() -> None:
    told: list[float] = []
    window = Window(100, told.append)
    window.take(150)
    assert not window.wait_below(100, 0.0)
    woken: list[bool] = []
    waiter = threading.Thread(target=lambda: woken.append(window.wait_below(100, 10)))
    waiter.start()
    window.give(40)
    window.give(30)
    waiter.join(5)
    assert woken == [True] and told == [150, 110, 80] and window.taken == 80


def batch(start: int, known: str) -> tuple[Checked, Flat]:
    """Messages of one partition from `start` on: k known, d denied, a while the registry is away, digits other ids."""
    n = len(known)
    errors = {"d": SchemaUnknown(9, "here"), "a": SchemaAway("down")}
    kinds = [(row, int(kind) if kind.isdigit() else 9, kind) for row, kind in enumerate(known) if kind != "k"]
    waiting = tuple(Waiting(row, of, errors.get(kind, SchemaUnknown(of, "here"))) for row, of, kind in kinds)
    checked = Checked(Messages.of([b""] * n), (), (), waiting)
    zeros = np.zeros(n, np.int64)
    offsets = np.arange(start, start + n)
    flat = Flat([None] * n, [()] * n, zeros + 1, zeros, offsets, zeros, {(1, 0): (start, start + n)}, zeros[:0, None])
    return checked, flat


def judged(unknown: UnknownSchemas, start: int, known: str) -> tuple[list[int], tuple[int, str] | None]:
    refused, waits = unknown.judge(*batch(start, known), {1: "t"})
    wait = waits.get(A)
    return sorted(refused), None if wait is None else (wait.offset, wait.error.code)


def test_a_denied_id_waits_until_it_is_given_up_and_then_goes_to_quarantine() -> None:
    unknown = UnknownSchemas(3)
    assert judged(unknown, 0, "kdk") == ([], (1, "schema_unknown"))
    unknown.denied.add(9)
    assert judged(unknown, 0, "kdkdd") == ([1, 3, 4], None)
    assert judged(unknown, 5, "ka") == ([], (6, "registry_away")), "a source that is away denies nothing"


def test_a_run_is_counted_over_batches_and_stays_at_its_end_through_tries_and_batches_that_are_dropped() -> None:
    unknown = UnknownSchemas(3)
    unknown.denied.add(9)
    assert judged(unknown, 10, "kdd") == ([1, 2], None)
    assert judged(unknown, 13, "ddd") == ([0], (14, "schema_run"))
    assert judged(unknown, 13, "d") == ([0], None), "the same batch, shortened"
    assert judged(unknown, 16, "dd") == ([0, 1], None), "polled behind it, and dropped"
    for _ in range(3):
        assert judged(unknown, 14, "dd") == ([], (14, "schema_run"))
    assert judged(unknown, 14, "kd") == ([1], None), "the schema is there now"


def test_a_wait_tells_which_ids_are_denied_behind_it_but_no_more_than_may_go_to_quarantine_in_a_row() -> None:
    unknown = UnknownSchemas(3)
    _, waits = unknown.judge(*batch(0, "k1k2a3"), {1: "t"})
    assert (waits[A].offset, waits[A].schema_id, waits[A].behind) == (1, 1, {2, 3})
    _, waits = unknown.judge(*batch(0, "123456"), {1: "t"})
    assert (waits[A].schema_id, waits[A].behind) == (1, {2, 3, 4})
