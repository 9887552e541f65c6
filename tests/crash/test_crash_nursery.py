"""The nursery, asked by many threads at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from doubles.nursery import Forked, Nursery


def test_each_thread_gets_the_process_it_asked_for(nursery: Nursery, tmp_path: Path) -> None:
    def born(number: int) -> Forked:
        return nursery.start([f"take-away-{number}"], {}, tmp_path / f"{number}.log", entry="crash.entry")

    with ThreadPoolExecutor(8) as threads:
        forked = list(threads.map(born, range(32)))

    assert len({one.pid for one in forked}) == 32
    for number, one in enumerate(forked):
        assert one.wait(30) == 1, one.said
        assert f"nothing is called take-away-{number}" in one.said
