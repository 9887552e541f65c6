"""Bytes to a file, a block at a time: the kernel takes several times as long for larger ones."""

from __future__ import annotations

import os
from typing import Any, BinaryIO

AT_ONCE = 1 << 18
"""Bytes that are handed over in one call."""


def write_all(file: BinaryIO, data: Any) -> None:
    """Write all of it to an unbuffered file, which may take less at once than it is given."""
    view = memoryview(data).cast("B")
    while len(view):
        view = view[os.write(file.fileno(), view[:AT_ONCE]) :]
