"""What more than one of the suites here looks at."""

from __future__ import annotations

import pytest
from doubles.demo import Demo, run_demo


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A demo that was run; nobody changes its files."""
    return run_demo(tmp_path_factory.mktemp("demo"))
