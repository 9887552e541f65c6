"""A store that daemons made, which a test may break: files are copied before, tables restored behind it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from doubles.history import History, Tables

from stream.audit.broker import Broker
from stream.audit.chunks import Chunks
from stream.audit.files import open_files
from stream.audit.report import Report
from stream.audit.verify import Stores, verify
from stream.cli.verify import survey_files
from stream.clock import SystemClock
from stream.config import Settings
from stream.local import LocalKafka
from stream.tables.engine import open_engine, open_reader
from stream.tables.migrate import migrate
from stream.tables.model import metadata
from stream.transport.security import Plaintext

ON_MARIADB = pytest.mark.parametrize("store", ["mariadb"], indirect=True)
ON_BOTH = pytest.mark.parametrize("store", ["mariadb", "sqlite"], indirect=True)
ON_SQLITE = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


@dataclass(slots=True)
class Store:
    """The store: its files as they were made and, once a test touches them, a copy; its tables as they were made."""

    url: str
    original: Path
    copy: Path
    kafka: LocalKafka
    engine: sa.Engine
    rows: Tables
    changed: set[str] = field(default_factory=set)

    @property
    def folder(self) -> Path:
        """The copy of the segments."""
        if not self.copy.exists():
            shutil.copytree(self.original, self.copy)
        return self.copy

    def verify(self, *, broker: bool = False, night: int | None = None, stripes: int = 340) -> Report:
        connect = (lambda streams: Broker(self.kafka.bootstrap, Plaintext(), streams)) if broker else None
        reader = open_reader(self.url)
        folder = self.copy if self.copy.exists() else self.original
        try:
            files, surveys = open_files(str(folder)), survey_files(Settings.load({}))
            return verify(Stores(reader, files, connect, surveys, SystemClock(), Chunks(stripes, 3)), night)
        finally:
            reader.dispose()

    def found(self, **options: Any) -> set[tuple[int, str]]:
        """Invariants and codes of what is found."""
        report = self.verify(**options)
        for finding in report.findings.kept:
            print(finding)
        return set(report.findings.found)

    def change(self, statement: Any) -> int:
        """Change the tables; gives how many rows were."""
        self.changed.add(statement.table.name)
        with self.engine.begin() as connection:
            return int(connection.execute(statement).rowcount)

    def row(self, name: str, where: Callable[[dict[str, Any]], bool] = lambda row: True) -> dict[str, Any]:
        """The first row of a table for which `where` says yes."""
        return next(row for row in self.rows[name] if where(row))

    def segment(self, kind: str, state: str = "sealed") -> dict[str, Any]:
        return self.row("segments", lambda row: row["kind"] == kind and row["state"] == state and row["records"] > 0)

    def path(self, name: str) -> Path:
        return self.folder / name

    def flip(self, name: str, at: int) -> None:
        """Flip one bit of a file."""
        with self.path(name).open("r+b") as file:
            file.seek(at)
            (byte,) = file.read(1)
            file.seek(at)
            file.write(bytes([byte ^ 0x10]))


def restore(engine: sa.Engine, rows: Tables, names: Iterable[str]) -> None:
    with engine.begin() as connection:
        for name in names:
            each = metadata().tables[name]
            connection.execute(sa.delete(each))
            if rows[name]:
                connection.execute(sa.insert(each), rows[name])


@dataclass(frozen=True, slots=True)
class Made:
    """What daemons made, and its tables once more in SQLite. Nobody changes it: tests break copies."""

    past: History
    sqlite: Path

    @classmethod
    async def of(cls, past: History, sqlite: Path) -> Made:
        """Copy the tables of a past."""
        engine = open_engine(f"sqlite:///{sqlite}")
        await migrate(engine, 20200101, 20270101)
        await engine.dispose()
        copy = sa.create_engine(f"sqlite:///{sqlite}")
        restore(copy, past.tables, past.tables)
        copy.dispose()
        return cls(past, sqlite)
