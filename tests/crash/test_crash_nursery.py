"""The nursery, asked by many threads at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from crash.nursery import Nursery, exit_file

from stream.local.process import wait_until


def test_each_thread_gets_the_number_of_the_daemon_it_asked_for(nursery: Nursery, tmp_path: Path) -> None:
    def born(number: int) -> int:
        return nursery.start([f"take-away-{number}"], {}, tmp_path / f"{number}.log")

    with ThreadPoolExecutor(8) as threads:
        pids = list(threads.map(born, range(32)))

    assert len(set(pids)) == 32
    for number in range(32):
        log = tmp_path / f"{number}.log"
        assert wait_until(exit_file(log).exists, 30), log.read_text()
        assert exit_file(log).read_text() == "1"
