"""What an audit remembers of the files while it reads the rest: a private SQLite file, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from stream.audit.notepad import Notepad

_TABLES = """
CREATE TABLE note (commitId INTEGER PRIMARY KEY, body TEXT, segment INTEGER);
CREATE TABLE batch (commitId INTEGER, segment INTEGER, messages INTEGER);
CREATE TABLE counted (commitId INTEGER, segment INTEGER, stream INTEGER, partition INTEGER, messages INTEGER);
CREATE TABLE visited (
    commitId INTEGER, segment INTEGER, visit INTEGER, detector INTEGER, night INTEGER, kind TEXT, alerts INTEGER
);
CREATE TABLE redriven (stream INTEGER, partition INTEGER, at INTEGER, segment INTEGER);
CREATE TABLE kept (
    stream INTEGER, partition INTEGER, at INTEGER, segment INTEGER, value BLOB, rest BLOB, timestamp INTEGER,
    PRIMARY KEY (stream, partition, at)
) WITHOUT ROWID;
"""
_OF_SEGMENT = ("note", "batch", "counted", "visited", "redriven", "kept")
COMMITS = 500


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored message: its offset, and digests of its value, of key and headers, and its timestamp (ms)."""

    offset: int
    value: bytes
    rest: bytes
    timestamp: int


class Scratch(Notepad):
    """What the segments and the database gave, until it is held against each other."""

    def __init__(self) -> None:
        super().__init__(_TABLES, "verify")

    def forget(self, segment: int) -> None:
        """Forget what a segment gave: it is read again from its new place."""
        for name in _OF_SEGMENT:
            self._base.execute(f"DELETE FROM {name} WHERE segment = ?", (segment,))  # noqa: S608 (our own names)

    def note(self, commit: int, segment: int, messages: int, body: str) -> bool:
        """Remember a commit's part; False where another part of it says something else of the commit."""
        self._base.execute("INSERT OR IGNORE INTO note VALUES (?, ?, ?)", (commit, body, segment))
        self._base.execute("INSERT INTO batch VALUES (?, ?, ?)", (commit, segment, messages))
        ((first,),) = self._base.execute("SELECT body FROM note WHERE commitId = ?", (commit,))
        return bool(first == body)

    def count(self, rows: Iterable[tuple[int, int, int, int, int]]) -> None:
        """Remember messages: commit, segment, stream, partition, how many."""
        self._base.executemany("INSERT INTO counted VALUES (?, ?, ?, ?, ?)", rows)

    def visit(self, rows: Iterable[tuple[int, int, int, int, int, str, int]]) -> None:
        """Remember alerts of visits: commit, segment, visit, detector, night, kind, how many."""
        self._base.executemany("INSERT INTO visited VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def redrive(self, rows: Iterable[tuple[int, int, int, int]]) -> None:
        """Remember re-driven records that the AlertDB has: stream, partition, offset, segment."""
        self._base.executemany("INSERT INTO redriven VALUES (?, ?, ?, ?)", rows)

    def keep(self, rows: Iterable[tuple[int, int, int, int, bytes, bytes, int]]) -> None:
        """Remember messages that the broker may still have: stream, partition, offset, segment and as `Kept`."""
        self._base.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def is_redriven(self, stream: int, partition: int, offset: int) -> bool:
        """Whether a segment has this re-driven record."""
        query = "SELECT 1 FROM redriven WHERE stream = ? AND partition = ? AND at = ?"
        return self._base.execute(query, (stream, partition, offset)).fetchone() is not None

    def knows(self, commits: list[int]) -> set[int]:
        """Those of `commits` that the files told of."""
        marks = ",".join("?" * len(commits))
        found = self._base.execute(f"SELECT commitId FROM note WHERE commitId IN ({marks})", commits)  # noqa: S608
        return {row[0] for row in found}

    def body(self, commit: int) -> str | None:
        """What the files tell of a commit (`Note.body`); None where they do not know it."""
        found = self._base.execute("SELECT body FROM note WHERE commitId = ?", (commit,)).fetchone()
        return None if found is None else str(found[0])

    def settle(self) -> None:
        """Everything is in: make ready for being asked by commit."""
        for name in ("batch", "counted", "visited"):
            self._base.execute(f"CREATE INDEX {name}_commit ON {name} (commitId)")

    def commits(self) -> Iterator[list[tuple[int, str]]]:
        """Pages of commits in the order of their ids: id, and what all their parts say alike."""
        last = -1
        while True:
            query = "SELECT commitId, body FROM note WHERE commitId > ? ORDER BY commitId LIMIT ?"
            page = self._base.execute(query, (last, COMMITS)).fetchall()
            if not page:
                return
            yield page
            last = page[-1][0]

    def of_commits(self, name: str, commits: list[int]) -> list[tuple[Any, ...]]:
        """What was remembered in `name` (batch, counted, visited) of `commits`."""
        marks = ",".join("?" * len(commits))
        return self._base.execute(f"SELECT * FROM {name} WHERE commitId IN ({marks})", commits).fetchall()  # noqa: S608

    def kept(self, stream: int, partition: int, low: int, high: int) -> list[Kept]:
        """The stored messages of [low, high) of a partition, in order."""
        query = (
            "SELECT at, value, rest, timestamp FROM kept WHERE stream = ? AND partition = ? AND at >= ? AND at < ?"
            " ORDER BY at"
        )
        return [Kept(*row) for row in self._base.execute(query, (stream, partition, low, high))]
