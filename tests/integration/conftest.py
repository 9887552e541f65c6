"""What more than one of the suites here looks at, or asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from confluent_kafka import Consumer
from doubles.demo import Demo, run_demo

from consumers.ingest import poller, pulse, upkeep
from stream.audit import broker


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A demo that was run; nobody changes its files."""
    return run_demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="session", autouse=True)
def answered_soon() -> Iterator[None]:
    """Where a partition has nothing more, the broker says so to verify at once: it would wait for half a second."""

    def consumer(settings: dict[str, Any]) -> Consumer:
        return Consumer(settings | {"fetch.wait.max.ms": 10})

    with patch.object(broker, "Consumer", consumer):
        yield


@pytest.fixture(scope="session", autouse=True)
def often_looked() -> Iterator[None]:
    """Daemons in this process look ten times a second at what they look at twice a second by themselves."""
    with patch.object(upkeep, "TURN_S", 0.1), patch.object(pulse, "TURN_S", 0.1), patch.object(poller, "RETRY_S", 0.1):
        yield
