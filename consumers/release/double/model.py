"""What the controller knows: databases, tables, chunks and transactions, as it describes them in its answers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from consumers.release.double.refusals import Json

DUMMY_CHUNK = 1234567890
TRANSACTION_COLUMN = {"name": "qserv_trans_id", "type": "INT NOT NULL"}


class Life(StrEnum):
    """States of a transaction."""

    IS_STARTING = "IS_STARTING"
    STARTED = "STARTED"
    IS_FINISHING = "IS_FINISHING"
    FINISHED = "FINISHED"
    IS_ABORTING = "IS_ABORTING"
    ABORTED = "ABORTED"


ENDED = (Life.FINISHED, Life.ABORTED)


@dataclass(slots=True)
class Table:
    """A table as it was registered; `columns` begin with the transaction's."""

    name: str
    is_partitioned: bool
    columns: list[dict[str, str]]
    director_table: str = ""
    director_key: str = ""
    director_table2: str = ""
    director_key2: str = ""
    flag: str = ""
    ang_sep: float = 0.0
    unique_primary_key: bool = True
    latitude_key: str = ""
    longitude_key: str = ""
    charset_name: str = "latin1"
    collation_name: str = "latin1_general_ci"
    create_time: int = 0
    is_published: bool = False
    publish_time: int = 0
    scan_rating: int = 1

    @property
    def is_match(self) -> bool:
        """Whether it pairs the rows of two directors."""
        return self.is_partitioned and bool(self.director_table2)

    @property
    def is_director(self) -> bool:
        """Whether its own position places its rows."""
        return self.is_partitioned and not self.director_table

    def column(self, name: str) -> dict[str, str] | None:
        """One of its columns."""
        return next((column for column in self.columns if column["name"] == name), None)

    def described(self, database: str) -> Json:
        """As the service describes it."""
        director_database, _, director = self.director_table.rpartition(".")
        director_database2, _, director2 = self.director_table2.rpartition(".")
        told = {name: int(value) if isinstance(value, bool) else value for name, value in asdict(self).items()}
        del told["scan_rating"]
        return told | {
            "database": database,
            "director_database_name": director_database,
            "director_database_name2": director_database2,
            "director_table_name": director,
            "director_table_name2": director2,
            "is_director": int(self.is_director),
            "is_ref_match": int(self.is_match),
        }


@dataclass(slots=True)
class Database:
    """A database; `chunks` says which worker has a chunk, `counters` the rows by table as last scanned."""

    name: str
    stripes: int
    sub_stripes: int
    overlap: float
    auto_build: bool
    create_time: int
    is_published: bool = False
    publish_time: int = 0
    tables: dict[str, Table] = field(default_factory=dict)
    chunks: dict[int, str] = field(default_factory=dict)
    config: Json = field(default_factory=dict)
    counters: dict[str, list[Json]] = field(default_factory=dict)
    dummies: bool = False

    @property
    def family(self) -> str:
        """The databases that are cut alike."""
        return f"layout_{self.stripes}_{self.sub_stripes}"

    @property
    def num_chunks(self) -> int:
        """How many chunks it has; the dummy one counts once it is there."""
        return len(self.chunks) + self.dummies

    @property
    def partitioned(self) -> list[Table]:
        """Its partitioned tables."""
        return [table for table in self.tables.values() if table.is_partitioned]

    @property
    def directors(self) -> list[Table]:
        """Its directors."""
        return [table for table in self.tables.values() if table.is_director]

    def described(self) -> Json:
        """As the service describes it."""
        return {
            "database": self.name,
            "family_name": self.family,
            "is_published": int(self.is_published),
            "publish_time": self.publish_time,
            "create_time": self.create_time,
            "tables": [self.tables[name].described(self.name) for name in sorted(self.tables)],
        }

    def to_json(self) -> Json:
        """For the journal."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: Json) -> Self:
        """Out of the journal."""
        tables = {name: Table(**each) for name, each in told["tables"].items()}
        return cls(**told | {"tables": tables, "chunks": {int(chunk): name for chunk, name in told["chunks"].items()}})


@dataclass(slots=True)
class Transaction:
    """A super-transaction; times in ms since 1970."""

    id: int
    database: str
    begin_time: int
    state: Life = Life.IS_STARTING
    start_time: int = 0
    transition_time: int = 0
    end_time: int = 0
    context: Json = field(default_factory=dict)
    log: list[Json] = field(default_factory=list)

    @property
    def open(self) -> bool:
        """Whether it is neither committed nor aborted."""
        return self.state not in ENDED

    def described(self, *, context: bool, log: bool) -> Json:
        """As the service describes it."""
        told: dict[str, Any] = asdict(self)
        return told | {
            "state": str(self.state),
            "context": self.context if context else {},
            "log": self.log if log else [],
        }

    def to_json(self) -> Json:
        """For the journal."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: Json) -> Self:
        """Out of the journal."""
        return cls(**told | {"state": Life(told["state"])})
