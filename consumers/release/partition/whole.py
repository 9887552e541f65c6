"""A file written whole out of memory: straight to the disk, so that it takes no page of the system's memory.

Where a machine gives memory back to a host, a page that it touches for the first time costs several times a used one;
a release would touch as many as it has (``docs/decisions/partition-speed.md`` has figures).
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
from pathlib import Path

from consumers.release.partition.blocks import write_all

PAGE = 4096
"""Bytes to which memory, position and length of a direct write are aligned."""
LEAST = 1 << 20
"""Bytes below which a file is written the usual way."""
_KEPT = threading.local()


def memory(size: int, least: int) -> memoryview:
    """Memory for so many bytes, which begins at a page, until it is asked for again by the same thread."""
    found: memoryview | None = getattr(_KEPT, "memory", None)
    if found is None or len(found) < size:
        found = _KEPT.memory = memoryview(mmap.mmap(-1, max(size, least)))
    return found[:size]


def write_whole(path: Path, data: memoryview) -> None:
    """Write `data`, which begins at a page of memory, to a new file or over an old one.

    The end that is no whole page goes the usual way; so does all of it where the file system takes no direct writes.
    """
    with path.open("wb", buffering=0) as file:
        done = 0
        if len(data) >= LEAST:
            done = _direct(path, data[: len(data) // PAGE * PAGE])
            os.lseek(file.fileno(), done, os.SEEK_SET)
        write_all(file, data[done:])


def _direct(path: Path, pages: memoryview) -> int:
    """Write as much of the pages as the file system takes; how many bytes that were."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        return 0
    done = 0
    try:
        while done < len(pages) and done % PAGE == 0:
            done += os.pwrite(handle, pages[done:], done)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)
    return done
