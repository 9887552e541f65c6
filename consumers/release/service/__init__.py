"""A typed client of Qserv's ingest service (Qserv API v55): the controller and the workers' HTTP loaders.

It says every request once. Whether a request may be said again is for the caller to know: an answer that was lost is
`LostAnswer`, and is resolved by asking for the state.
"""

from consumers.release.service.answers import (
    Contribution,
    DatabaseState,
    IndexState,
    Location,
    RowCount,
    Status,
    TableState,
    Transaction,
    TransactionState,
    Version,
)
from consumers.release.service.controller import Controller
from consumers.release.service.dialect import LoadDialect
from consumers.release.service.trouble import LostAnswer, Refused, Unreachable
from consumers.release.service.wire import Keys, Timeouts, Wire
from consumers.release.service.worker import Source, Worker

__all__ = [
    "Contribution",
    "Controller",
    "DatabaseState",
    "IndexState",
    "Keys",
    "LoadDialect",
    "Location",
    "LostAnswer",
    "Refused",
    "RowCount",
    "Source",
    "Status",
    "TableState",
    "Timeouts",
    "Transaction",
    "TransactionState",
    "Unreachable",
    "Version",
    "Wire",
    "Worker",
]
