"""How often daemons look in the suites here."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from consumers.ingest import poller, pulse, upkeep


@pytest.fixture(scope="session", autouse=True)
def often_looked() -> Iterator[None]:
    """Daemons in this process look ten times a second at what they look at twice a second by themselves."""
    with patch.object(upkeep, "TURN_S", 0.1), patch.object(pulse, "TURN_S", 0.1), patch.object(poller, "RETRY_S", 0.1):
        yield
