"""A contribution: what was asked, what became of it, and what a transaction tells of all of its contributions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
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
    def of(cls, fields: Fields) -> Self:
        """What a request asks for; not checked yet."""
        return cls(*(fields.text(name, default) for name, default in asdict(cls()).items()))

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
        told = asdict(self)
        for name in ("is_async", "dialect", "loading"):
            del told[name]
        told |= {
            "async": int(self.is_async),
            "overlap": int(self.overlap),
            "retry_allowed": int(self.retry_allowed),
            "status": str(self.status),
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
        return asdict(self)

    @classmethod
    def from_json(cls, told: Json) -> Self:
        """Out of the journal."""
        return cls(**told | {"dialect": CsvDialect(**told["dialect"]), "status": Status(told["status"])})


def summary(contributions: Iterable[Contribution]) -> Json:
    """What a transaction tells of its contributions: files of all, rows and bytes of those that are FINISHED."""
    every = list(contributions)
    done = [each for each in every if each.status is Status.FINISHED]
    counted = [each for each in every if each.status is Status.FINISHED or each.num_failed_retries]
    tables: dict[str, Json] = {}
    workers: dict[str, Json] = {}
    for each in counted:
        table = tables.setdefault(each.table, _sums([]) | {"num_files": 0})
        part = table.setdefault("overlap", _sums([]) | {"num_files": 0}) if each.overlap else table
        worker = workers.setdefault(each.worker, _sums([]) | _files([]))
        for sums in (part, worker):
            _add(sums, _sums([each]))
        part["num_files"] += each.status is Status.FINISHED
        _add(worker, _files([each]))
    return {
        "first_contrib_begin": min((each.create_time for each in every), default=0),
        "last_contrib_end": max((each.load_time for each in done), default=0),
        "num_files_by_status": {str(status): sum(each.status is status for each in every) for status in Status},
        "num_workers": len(workers),
        "table": tables,
        "worker": workers,
        **_sums(counted),
        **_files(done),
    }


def _sums(contributions: list[Contribution]) -> Json:
    done = [each for each in contributions if each.status is Status.FINISHED]
    return {
        "data_size_gb": sum(each.num_bytes for each in done) / 2**30,
        "num_failed_retries": sum(each.num_failed_retries for each in contributions),
        "num_rows": sum(each.num_rows for each in done),
        "num_rows_loaded": sum(each.num_rows_loaded for each in done),
        "num_warnings": sum(each.num_warnings for each in done),
    }


def _files(contributions: list[Contribution]) -> Json:
    done = [each for each in contributions if each.status is Status.FINISHED]
    return {
        "num_regular_files": sum(not each.chunk for each in done),
        "num_chunk_files": sum(bool(each.chunk) and not each.overlap for each in done),
        "num_chunk_overlap_files": sum(bool(each.chunk) and each.overlap for each in done),
    }


def _add(sums: Json, more: Json) -> None:
    for name, value in more.items():
        sums[name] += value
