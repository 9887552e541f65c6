"""SQLite serves one daemon: a lock file beside the database refuses the second."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL

from stream.errors import Fatal
from stream.tables.engine import sqlite_file


@contextmanager
def only_daemon(url: str | URL) -> Iterator[None]:
    """Hold the database for this daemon; on MariaDB, which serves many, nothing is held.

    The lock goes with the process, however it ends; the file stays.

    Raises
    ------
    Fatal
        ``level1_locked``: another daemon has it.
    """
    database = sqlite_file(url)
    if database is None:
        yield
        return
    path = database.with_name(database.name + ".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _take(handle, path)
        yield
    finally:
        os.close(handle)


def _take(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise Fatal(
            "level1_locked",
            f"the daemon with process id {holder} has {path.name} already: SQLite serves one daemon",
            "stop that one, or keep Level-1 in MariaDB, which serves many",
        ) from None
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
