"""A contribution: what was asked, what became of it, and what a transaction tells of all of its contributions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Self

from consumers.release.double.refusals import Fields, Json, invalid


class Status(StrEnum):
    """States of a contribution."""

    IN_PROGRESS = "IN_PROGRESS"
    CREATE_FAILED = "CREATE_FAILED"
    START_FAILED = "START_FAILED"
    READ_FAILED = "READ_FAILED"
    LOAD_FAILED = "LOAD_FAILED"
    CANCELLED = "CANCELLED"
    FINISHED = "FINISHED"


@dataclass(frozen=True, slots=True)
class CsvDialect:
    """How a file's fields are written, in the service's own spelling (two characters for each control character)."""

    fields_terminated_by: str = "\\t"
    fields_enclosed_by: str = "\\0"
    fields_escaped_by: str = "\\\\"
    lines_terminated_by: str = "\\n"

    @classmethod
    def of(cls, asked: Fields) -> Self:
        """What a request asks for; not checked yet."""
        return cls(*(asked.text(name, default) for name, default in asdict(cls()).items()))

    def check(self) -> None:
        """Refuse a spelling that the service's parser does not take."""
        for (name, allowed), value in zip(ALLOWED.items(), asdict(self).values(), strict=True):
            if value not in allowed:
                head, *rest = name.split("_")
                camel = head + "".join(word.capitalize() for word in rest)
                text = f"Csv::Parser: the value '{value}' of the parameter '{camel}' is not allowed"
                raise invalid(f"{text} for the given parameter.")

    @property
    def clause(self) -> str:
        """The clause of LOAD DATA; escapes in it are MariaDB's own spelling."""
        enclosed = "" if self.fields_enclosed_by == "\\0" else f" ENCLOSED BY '{_quoted(self.fields_enclosed_by)}'"
        escaped = "" if self.fields_escaped_by == "\\0" else self.fields_escaped_by
        return (
            f"FIELDS TERMINATED BY '{_quoted(self.fields_terminated_by)}'{enclosed} ESCAPED BY '{escaped}'"
            f" LINES TERMINATED BY '{self.lines_terminated_by}'"
        )


ALLOWED = {
    "fields_terminated_by": (",", "\\t"),
    "fields_enclosed_by": ("\\0", "'", '"'),
    "fields_escaped_by": ("\\\\", "\\0"),
    "lines_terminated_by": ("\\n",),
}


def _quoted(value: str) -> str:
    return "\\'" if value == "'" else value


@dataclass(slots=True)
class Contribution:
    """One contribution; times in ms since 1970."""

    id: int
    transaction_id: int
    worker: str
    database: str
    table: str
    chunk: int
    overlap: bool
    url: str
    is_async: bool
    charset_name: str = "latin1"
    dialect: CsvDialect = field(default_factory=CsvDialect)
    http_method: str = "GET"
    http_data: str = ""
    http_headers: list[str] = field(default_factory=list)
    max_num_warnings: int = 64
    max_retries: int = 0
    num_failed_retries: int = 0
    failed_retries: list[Json] = field(default_factory=list)
    num_bytes: int = 0
    num_rows: int = 0
    num_rows_loaded: int = 0
    create_time: int = 0
    start_time: int = 0
    read_time: int = 0
    load_time: int = 0
    status: Status = Status.IN_PROGRESS
    tmp_file: str = ""
    http_error: int = 0
    system_error: int = 0
    error: str = ""
    retry_allowed: bool = False
    num_warnings: int = 0
    warnings: list[Json] = field(default_factory=list)
    loading: bool = False

    def described(self, *, extensions: bool = False, retries: bool = False, warnings: bool = False) -> Json:
        """As the service describes it: without `extensions`, what was asked for reads as the defaults."""
        told = {name: getattr(self, name) for name in TOLD} | {
            "async": int(self.is_async),
            "overlap": int(self.overlap),
            "retry_allowed": int(self.retry_allowed),
            "dialect_input": asdict(self.dialect if extensions else CsvDialect()),
        }
        if not extensions:
            told |= {
                "charset_name": "",
                "max_num_warnings": 0,
                "http_method": "GET",
                "http_data": "",
                "http_headers": [],
            }
        if not retries:
            told["failed_retries"] = []
        if not warnings:
            told["warnings"] = []
        return told

    def to_json(self) -> Json:
        """For the journal."""
        return {each.name: getattr(self, each.name) for each in fields(self)} | {"dialect": asdict(self.dialect)}

    @classmethod
    def from_json(cls, told: Json) -> Self:
        """Out of the journal."""
        return cls(**told | {"dialect": CsvDialect(**told["dialect"]), "status": Status(told["status"])})


TOLD = [each.name for each in fields(Contribution) if each.name not in ("is_async", "dialect", "loading")]
SUMS = ("data_size_gb", "num_failed_retries", "num_rows", "num_rows_loaded", "num_warnings")
FILES = ("num_regular_files", "num_chunk_files", "num_chunk_overlap_files")


def summary(contributions: Iterable[Contribution]) -> Json:
    """What a transaction tells of its contributions: files of all, rows and bytes of those that are FINISHED."""
    every = list(contributions)
    statuses = Counter(each.status for each in every)
    total: Json = dict.fromkeys((*SUMS, *FILES), 0)
    tables: dict[str, Json] = {}
    workers: dict[str, Json] = {}
    for each in every:
        done = each.status is Status.FINISHED
        if not done and not each.num_failed_retries:
            continue
        table = _entry(tables, each.table, ("num_files", *SUMS))
        part = _entry(table, "overlap", ("num_files", *SUMS)) if each.overlap else table
        worker = _entry(workers, each.worker, (*FILES, *SUMS))
        kind = FILES[0] if not each.chunk else FILES[2] if each.overlap else FILES[1]
        part["num_files"] += done
        for sums in (total, part, worker):
            sums["num_failed_retries"] += each.num_failed_retries
            if done:
                sums["data_size_gb"] += each.num_bytes / 2**30
                sums["num_rows"] += each.num_rows
                sums["num_rows_loaded"] += each.num_rows_loaded
                sums["num_warnings"] += each.num_warnings
        for sums in (total, worker):
            sums[kind] += done
    return total | {
        "first_contrib_begin": min((each.create_time for each in every), default=0),
        "last_contrib_end": max((each.load_time for each in every if each.status is Status.FINISHED), default=0),
        "num_files_by_status": {str(status): statuses[status] for status in Status},
        "num_workers": len(workers),
        "table": tables,
        "worker": workers,
    }


def _entry(of: dict[str, Json], name: str, sums: Iterable[str]) -> Json:
    if name not in of:
        of[name] = dict.fromkeys(sums, 0)
    return of[name]
