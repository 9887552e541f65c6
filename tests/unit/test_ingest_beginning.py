"""What a daemon learns before anything else."""

from __future__ import annotations

from typing import Any

import pytest

from consumers.ingest import beginning
from consumers.ingest.beginning import Beginning, begin
from stream.clock import ManualClock
from stream.errors import Transient
from stream.web.health import Health

NOTHING: Any = None


@pytest.mark.parametrize("tries", [1, 2])
async def test_a_start_says_whether_it_had_to_wait_for_the_database(
    monkeypatch: pytest.MonkeyPatch, tries: int
) -> None:
    left = [Transient("level1_away", "no answer")] * (tries - 1)

    async def ask(*_: object) -> Beginning:
        if left:
            raise left.pop()
        return Beginning(NOTHING, 1000, 1)

    monkeypatch.setattr(beginning, "_ask", ask)
    health = Health(ManualClock())
    found = await begin(NOTHING, NOTHING, NOTHING, health, lambda: False)
    assert found == Beginning(NOTHING, 1000, 1, waited=tries > 1)
