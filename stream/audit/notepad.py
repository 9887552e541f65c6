"""What an audit writes down while it reads: a private SQLite file, so that memory stays bounded."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from stream.errors import Transient

_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}


class Notepad:
    """A context manager; the file goes with it.

    Parameters
    ----------
    tables
        What makes the tables, as SQL.
    purpose
        A word for the folder's name.

    Raises
    ------
    Transient
        ``temporary_full``, at its end: the temporary folder has no more room.
    """

    def __init__(self, tables: str, purpose: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=f"skyburst-{purpose}-")
        self._base = sqlite3.connect(Path(self._folder.name) / "notes", isolation_level=None)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE"):
            self._base.execute(f"PRAGMA {pragma}")
        self._base.executescript(tables)
        self._base.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._base.close()
        self._folder.cleanup()
        if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode in _NO_ROOM:
            where = Path(self._folder.name).parent
            advice = "make room there, or name a folder with more by TMPDIR"
            raise Transient("temporary_full", f"the temporary folder {where} is full", advice) from error
