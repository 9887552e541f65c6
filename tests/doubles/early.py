"""Work of other processes that some tests look at, begun before the first test and done beside those that need none."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

Work = Callable[[Path], Any]
"""What a module's `EARLY` has by the name of the fixture that gives its outcome. It is called with a folder of its own,
which it makes."""


class Early:
    """Does one work after the other, in a thread; one that nobody began is begun when it is asked for.

    Parameters
    ----------
    works
        By the name of the fixture.
    folder
        Tells a folder for a work.
    """

    def __init__(self, works: Mapping[str, Work], folder: Callable[[str], Path]) -> None:
        self.seconds: dict[str, float] = {}
        self._works = works
        self._folder = folder
        self._pool = ThreadPoolExecutor(1, "early")
        self._begun: dict[str, Future[Any]] = {}

    def begin(self, name: str) -> None:
        """Do this work as soon as those before it are done."""
        if name not in self._begun:
            self._begun[name] = self._pool.submit(self._timed, name, self._folder(name))

    def outcome(self, name: str) -> Any:
        """What the work gave, or its error."""
        self.begin(name)
        return self._begun[name].result()

    def close(self) -> None:
        """Leave out what has not begun, and wait for the rest."""
        self._pool.shutdown(cancel_futures=True)

    def _timed(self, name: str, folder: Path) -> Any:
        begun = time.monotonic()
        try:
            return self._works[name](folder)
        finally:
            self.seconds[name] = time.monotonic() - begun
