"""What the ingest service answers, as values (Qserv API v55)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

DUMMY_CHUNK = 1234567890
"""The chunk that every worker has and that holds no rows."""


class Status(StrEnum):
    """What came of a contribution."""

    IN_PROGRESS = "IN_PROGRESS"
    CREATE_FAILED = "CREATE_FAILED"
    START_FAILED = "START_FAILED"
    READ_FAILED = "READ_FAILED"
    LOAD_FAILED = "LOAD_FAILED"
    CANCELLED = "CANCELLED"
    FINISHED = "FINISHED"


class TransactionState(StrEnum):
    """How far a super-transaction is."""

    IS_STARTING = "IS_STARTING"
    STARTED = "STARTED"
    IS_FINISHING = "IS_FINISHING"
    FINISHED = "FINISHED"
    IS_ABORTING = "IS_ABORTING"
    ABORTED = "ABORTED"
    START_FAILED = "START_FAILED"
    FINISH_FAILED = "FINISH_FAILED"
    ABORT_FAILED = "ABORT_FAILED"

    @property
    def open(self) -> bool:
        """Whether it can still be ended, or is just being started."""
        return self in (
            TransactionState.IS_STARTING,
            TransactionState.STARTED,
            TransactionState.FINISH_FAILED,
            TransactionState.ABORT_FAILED,
        )

    @property
    def moving(self) -> bool:
        """Whether it will be another soon, by itself."""
        return self in (
            TransactionState.IS_STARTING,
            TransactionState.IS_FINISHING,
            TransactionState.IS_ABORTING,
        )


@dataclass(frozen=True, slots=True)
class Version:
    """Who answers, and the newest version of the API that it speaks."""

    kind: str
    instance: str
    version: int

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Version:
        return cls(answer["kind"], answer["instance_id"], answer["version"])


@dataclass(frozen=True, slots=True)
class Location:
    """The worker to which rows go; `chunk` is None for a regular table."""

    worker: str
    url: str
    chunk: int | None = None

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Location:
        host = answer["http_host"] or answer["http_host_name"]
        return cls(answer["worker"], f"http://{host}:{answer['http_port']}", answer.get("chunk"))


@dataclass(frozen=True, slots=True)
class Contribution:
    """One file that a worker was told to load, and what came of it.

    Attributes
    ----------
    rows, loaded
        Rows of the file, and those that MySQL took.
    num_warnings, warnings
        MySQL's, counted, and the first of them as ``{"level", "code", "message"}``.
    """

    id: int
    transaction: int
    worker: str
    table: str
    chunk: int
    overlap: bool
    url: str
    status: Status
    rows: int
    loaded: int
    bytes: int
    num_warnings: int
    error: str
    retry_allowed: bool
    http_error: int
    system_error: int
    warnings: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Contribution:
        return cls(
            id=answer["id"],
            transaction=answer["transaction_id"],
            worker=answer["worker"],
            table=answer["table"],
            chunk=answer["chunk"],
            overlap=bool(answer["overlap"]),
            url=answer["url"],
            status=Status(answer["status"]),
            rows=answer["num_rows"],
            loaded=answer["num_rows_loaded"],
            bytes=answer["num_bytes"],
            num_warnings=answer["num_warnings"],
            error=answer["error"],
            retry_allowed=bool(answer["retry_allowed"]),
            http_error=answer["http_error"],
            system_error=answer["system_error"],
            warnings=tuple(answer.get("warnings", ())),
        )


@dataclass(frozen=True, slots=True)
class Transaction:
    """A super-transaction.

    Attributes
    ----------
    context
        What was given at its start; empty where it was not asked for.
    by_status
        How many contributions it has of each status; empty where it was not asked for.
    contributions
        Empty where they were not asked for.
    """

    id: int
    database: str
    state: TransactionState
    context: Mapping[str, Any] = field(default_factory=dict)
    by_status: Mapping[Status, int] = field(default_factory=dict)
    contributions: tuple[Contribution, ...] = ()

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Transaction:
        contrib = answer.get("contrib") or {}
        counted = (contrib.get("summary") or {}).get("num_files_by_status") or {}
        return cls(
            id=answer["id"],
            database=answer["database"],
            state=TransactionState(answer["state"]),
            context=answer.get("context") or {},
            by_status={Status(name): count for name, count in counted.items()},
            contributions=tuple(Contribution.of(each) for each in contrib.get("files") or ()),
        )


@dataclass(frozen=True, slots=True)
class TableState:
    """A table as the service knows it; `columns` are names and types, `qserv_trans_id` left out."""

    name: str
    partitioned: bool
    columns: tuple[tuple[str, str], ...]
    director_table: str
    director_key: str
    director_table2: str
    director_key2: str
    flag: str
    ang_sep: float
    latitude_key: str
    longitude_key: str
    unique_primary_key: bool

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> TableState:
        columns = ((each["name"], each["type"]) for each in answer["columns"])
        return cls(
            name=answer["name"],
            partitioned=bool(answer["is_partitioned"]),
            columns=tuple(each for each in columns if each[0] != "qserv_trans_id"),
            director_table=answer["director_table"],
            director_key=answer["director_key"],
            director_table2=answer["director_table2"],
            director_key2=answer["director_key2"],
            flag=answer["flag"],
            ang_sep=answer["ang_sep"],
            latitude_key=answer["latitude_key"],
            longitude_key=answer["longitude_key"],
            unique_primary_key=bool(answer["unique_primary_key"]),
        )


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """A database as the service knows it."""

    name: str
    family: str
    published: bool
    tables: tuple[TableState, ...]

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> DatabaseState:
        return cls(
            answer["database"],
            answer["family_name"],
            bool(answer["is_published"]),
            tuple(TableState.of(each) for each in answer["tables"] or ()),
        )


@dataclass(frozen=True, slots=True)
class IndexState:
    """An index of a table's chunk tables; `complete` where all of them have it."""

    name: str
    columns: tuple[str, ...]
    complete: bool

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> IndexState:
        columns: Sequence[Mapping[str, Any]] = sorted(answer["columns"], key=lambda each: int(each["seq"]))
        return cls(answer["name"], tuple(each["name"] for each in columns), answer["status"] == "COMPLETE")


@dataclass(frozen=True, slots=True)
class RowCount:
    """Rows that a transaction brought to a chunk, or to its overlap."""

    chunk: int
    overlap: bool
    transaction: int
    rows: int

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> RowCount:
        return cls(answer["chunk"], bool(answer["is_overlap"]), answer["transaction_id"], answer["num_rows"])
