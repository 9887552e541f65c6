"""The double answers what the live service was recorded to answer, all 159 exchanges in order."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from doubles.release_recordings import IN_TEXTS, NORMALISED, NOT_REPRODUCED, differences, normalised, recordings
from doubles.release_story import Difference, Story

from consumers.release.double import QservDouble

KEYS = {"auth_key": "replauthkey", "admin_auth_key": "repladminauthkey"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lived(shared_data: Path, server_folder: Path) -> AsyncIterator[dict[str, list[Difference]]]:
    """Where the double's answers differ from the recorded ones, by recording; on a MariaDB set up as the recorded."""
    async with (
        QservDouble.start(server_folder / "recorded", **KEYS) as double,
        Story.open(double, shared_data) as story,
    ):
        yield {name: found async for name, found in story.run()}


@pytest.mark.asyncio(loop_scope="module")
async def test_every_recorded_exchange_is_answered_as_it_was(lived: dict[str, list[Difference]]) -> None:
    assert len(lived) == 159
    unknown = {name: [each for each in found if not _listed(name, each[0])] for name, found in lived.items()}
    assert {name: found for name, found in unknown.items() if found} == {}


@pytest.mark.asyncio(loop_scope="module")
async def test_the_list_of_what_is_not_reproduced_has_nothing_that_is(lived: dict[str, list[Difference]]) -> None:
    listed = {(name, path) for name, paths in NOT_REPRODUCED.items() for path in paths}
    differing = {(name, path) for name, path in listed for at, *_ in lived[name] if _under(at, path)}
    assert listed - differing == set()


def test_every_normalised_key_and_text_is_needed(shared_data: Path) -> None:
    seen: set[str] = set()
    texts: list[str] = []

    def look(value: Any, key: str = "") -> None:
        if isinstance(value, dict):
            seen.update(value)
            for name, each in value.items():
                look(each, name)
        elif isinstance(value, list):
            for each in value:
                look(each, key)
        elif isinstance(value, str):
            texts.append(value)

    for each in recordings(shared_data):
        look(each.answer)
    assert NORMALISED.keys() - seen == set()
    plain = "\n".join(texts)
    assert {pattern for pattern in IN_TEXTS if not re.search(pattern, plain)} == set()


def test_a_different_answer_is_found() -> None:
    recorded = {"a": [{"b": 1, "create_time": 5}], "error": "Connection[7]::x"}
    same = {"a": [{"b": 1, "create_time": 6}], "error": "Connection[9]::x"}
    assert list(differences(normalised(recorded), normalised(same))) == []
    for other in (
        {"a": [{"b": 2, "create_time": 5}], "error": "Connection[7]::x"},
        {"a": [{"b": 1, "create_time": 0}], "error": "Connection[7]::x"},
        {"a": [{"b": True, "create_time": 5}], "error": "Connection[7]::x"},
        {"a": [], "error": "Connection[7]::x"},
        {"a": [{"b": 1, "create_time": 5}], "error": "Connection[7]::y"},
        {"a": [{"b": 1, "create_time": 5}], "error": "Connection[7]::x", "c": None},
    ):
        assert len(list(differences(normalised(recorded), normalised(other)))) == 1


def _listed(name: str, path: str) -> bool:
    return any(_under(path, each) for each in NOT_REPRODUCED.get(name, {}))


def _under(path: str, listed: str) -> bool:
    return path == listed or path.startswith((f"{listed}.", f"{listed}["))
