"""Compiled functions that are kept in Numba's cache, and made anew when any code that they are made of has changed."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba as nb

from stream.codec import loads

_lock = threading.Lock()


def _sources() -> int:
    """A checksum of all that may be compiled in: Numba's cache looks at one file alone."""
    paths = [*sorted(Path(__file__).parent.glob("*.py")), Path(str(loads.__file__))]
    return sum(zlib.crc32(path.read_bytes()) for path in paths) | 1


class Kernel:
    """A function that is compiled when it is first asked for; without the interpreter's lock.

    Parameters
    ----------
    make
        Gives the function for a stamp, which it must use: it is part of the key of Numba's cache.
    signature
        What it takes and gives.
    """

    def __init__(self, make: Callable[[int], Any], signature: Any) -> None:
        self._make, self._signature = make, signature
        self._ready: Any = None

    def __call__(self) -> Any:
        """The compiled function, out of Numba's cache (``NUMBA_CACHE_DIR``); without one, compiling takes seconds."""
        with _lock:
            if self._ready is None:
                options = {"nogil": True, "error_model": "numpy"}
                compile_: Any = nb.njit
                function = self._make(_sources())
                try:
                    self._ready = compile_(self._signature, cache=True, **options)(function)
                except RuntimeError:  # no folder for a cache can be written
                    self._ready = compile_(self._signature, **options)(function)
            return self._ready
