"""Compressing threads are nicer than the process; nothing else is."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from consumers.ingest.yielding import NICER, yield_to_others


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads have no priority of their own")
def test_only_the_threads_that_compress_yield() -> None:
    before = niceness()
    with ThreadPoolExecutor(2, initializer=yield_to_others) as pool:
        found = set(pool.map(lambda _: niceness(), range(8)))
    assert found == {min(19, before + NICER)}
    assert niceness() == before
