"""What a load will do, before it does anything: contributions, super-transactions, bytes, and how long it may take."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TypeVar

from consumers.release.load.release import PartitionedTable, Release
from consumers.release.table import Table

T = TypeVar("T")

MANY = 10
"""Super-transactions that a large table gets at least (DP0.2's notes)."""


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a contribution; `path` is relative to the release's folder."""

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Planned:
    """Rows that go to one chunk of one table at once; more than one part where small files are merged."""

    table: str
    chunk: int
    overlap: bool
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def bytes(self) -> int:
        """Bytes of all parts."""
        return sum(part.bytes for part in self.parts)

    @property
    def name(self) -> str:
        """For messages: the file, or how many."""
        more = f" and {len(self.parts) - 1} more" if len(self.parts) > 1 else ""
        return f"{self.parts[0].path}{more} (table {self.table}, chunk {self.chunk}{', overlap' * self.overlap})"


@dataclass(frozen=True, slots=True)
class PlannedTransaction:
    """Contributions that are committed together or not at all.

    Parameters
    ----------
    key
        SHA-256 (hex) of what is in it: the same content is the same transaction, in every ledger and in Qserv.
    table
        All are of this table.
    ordinal
        Its place among the table's.
    contributions
        In order of chunk.
    """

    key: str
    table: str
    ordinal: int
    contributions: tuple[Planned, ...]

    @property
    def rows(self) -> int:
        """Rows of all contributions, each counted once, also of a regular table."""
        return sum(each.rows for each in self.contributions)

    @property
    def bytes(self) -> int:
        """Bytes of all contributions."""
        return sum(each.bytes for each in self.contributions)

    @property
    def chunks(self) -> Sequence[int]:
        """Its chunks, in order."""
        return sorted({each.chunk for each in self.contributions})


@dataclass(frozen=True, slots=True)
class Cutting:
    """How large things are to be.

    Parameters
    ----------
    transaction_bytes, least_transaction_bytes
        Of a super-transaction, at most and at least; between them a tenth of the table.
    merge_bytes
        Files of one chunk are merged up to this size; 0 merges none.
    """

    transaction_bytes: int = 8 << 30
    least_transaction_bytes: int = 16 << 20
    merge_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Costs:
    """What things take, for an estimate (measured against the real service; docs/decisions/release-ledger.md).

    Parameters
    ----------
    bytes_per_s
        That Qserv loads, all workers together.
    contribution_s, chunk_s, transaction_s, published_chunk_s
        Fixed costs of one each, seconds.
    """

    bytes_per_s: float = 64e6
    contribution_s: float = 0.010
    chunk_s: float = 0.0043
    transaction_s: float = 0.025
    published_chunk_s: float = 0.013


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is to be loaded."""

    release: Release
    transactions: tuple[PlannedTransaction, ...]

    def of(self, table: str) -> Sequence[PlannedTransaction]:
        """A table's super-transactions, in order."""
        return [each for each in self.transactions if each.table == table]

    @property
    def chunks(self) -> int:
        """How many chunks get rows or overlap."""
        tables = {name for name, each in self.release.tables.items() if each.table.partitioned}
        return len({chunk for each in self.transactions if each.table in tables for chunk in each.chunks})

    def seconds(self, costs: Costs = Costs()) -> float:
        """How long it may take, with publication."""
        contributions = sum(len(each.contributions) for each in self.transactions)
        return (
            sum(each.bytes for each in self.transactions) / costs.bytes_per_s
            + contributions * costs.contribution_s
            + len(self.transactions) * costs.transaction_s
            + self.chunks * (costs.chunk_s + costs.published_chunk_s)
        )


def plan(release: Release, cutting: Cutting) -> Plan:
    """Plan the load of a release; reads nothing and says nothing to anybody."""
    found = [each for table in release.tables.values() for each in _transactions(table, cutting)]
    return Plan(release, tuple(found))


def _transactions(table: PartitionedTable, cutting: Cutting) -> Iterator[PlannedTransaction]:
    contributions = list(_contributions(table, cutting.merge_bytes))
    total = sum(each.bytes for each in contributions)
    most = min(max(math.ceil(total / MANY), cutting.least_transaction_bytes), cutting.transaction_bytes)
    most = math.ceil(total / max(1, math.ceil(total / most)))
    for ordinal, taken in enumerate(_packed(contributions, most)):
        yield PlannedTransaction(_key(table, taken), table.table.name, ordinal, tuple(taken))


def _contributions(table: PartitionedTable, merge_bytes: int) -> Iterator[Planned]:
    files = sorted(file for file in table.manifest.files if file.rows)
    for (chunk, overlap), same in groupby(files, key=lambda file: (file.chunk, file.overlap)):
        parts = (Part(table.path(file), file.rows, file.bytes, file.sha256) for file in same)
        for merged in _grouped(parts, attrgetter("bytes"), merge_bytes):
            yield Planned(table.table.name, chunk, overlap, tuple(merged))


def _grouped(several: Iterable[T], size: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """What comes one after the other together, up to `most` bytes; one that has more is alone."""
    taken: list[T] = []
    total = 0
    for each in several:
        more = size(each)
        if taken and total + more > most:
            yield taken
            taken, total = [], 0
        taken.append(each)
        total += more
    if taken:
        yield taken


def _packed(contributions: Iterable[Planned], most: int) -> Iterator[list[Planned]]:
    """Whole chunks, main rows and overlap together, up to `most` bytes; one chunk that has more is alone."""
    chunks = (list(same) for _, same in groupby(contributions, key=attrgetter("chunk")))
    for several in _grouped(chunks, lambda chunk: sum(each.bytes for each in chunk), most):
        yield [each for chunk in several for each in chunk]


def _key(table: PartitionedTable, contributions: Sequence[Planned]) -> str:
    told = hashlib.sha256(f"{table.table.name} {table.manifest.fingerprint}\n".encode())
    for each in contributions:
        parts = " ".join(f"{part.rows}:{part.sha256}" for part in each.parts)
        told.update(f"{each.chunk} {each.overlap:d} {parts}\n".encode())
    return told.hexdigest()


def described(table: Table) -> str:
    """A table's role, for the plan's print."""
    return f"{table.role}" + (f" of {' and '.join(each.director for each in table.follows)}" if table.follows else "")
