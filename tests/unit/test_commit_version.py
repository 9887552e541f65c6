"""The version of skyburst that a segment's header has."""

from __future__ import annotations

import importlib.metadata

import pytest

from stream.commit.identity import version


def test_the_version_is_that_of_the_running_code_whatever_is_installed_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    running = importlib.metadata.version("skyburst")
    monkeypatch.setattr(importlib.metadata, "version", lambda _: pytest.fail("it asks what is installed now"))
    assert version() == running
