"""The controller of the ingest service: databases, transactions, chunks, and what follows a load (Qserv API v55)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consumers.release.service.answers import (
    DatabaseState,
    IndexState,
    Location,
    RowCount,
    Transaction,
    Version,
)
from consumers.release.service.trouble import Refused
from consumers.release.service.wire import Wire


class Controller:
    """The controller at `url`."""

    def __init__(self, wire: Wire, url: str) -> None:
        self._wire = wire
        self.url = url.rstrip("/")

    async def version(self) -> Version:
        """Agree on a version of the API (`Wire.negotiate`)."""
        return await self._wire.negotiate(self.url)

    async def databases(self) -> Mapping[str, bool]:
        """Whether each database is published, by name."""
        answer = await self._wire.ask(self.url, "ingest/database")
        return {each["name"]: bool(each["is_published"]) for each in answer["databases"]}

    async def database(self, name: str) -> DatabaseState | None:
        """A database with its tables, None where there is none."""
        answer = await self._wire.ask(self.url, "replication/config")
        several = answer["config"]["databases"] or ()
        # An empty one was recorded, as null; whether a full one is a list or an object was not seen.
        found = several.values() if isinstance(several, dict) else several
        return next((DatabaseState.of(each) for each in found if each["database"] == name), None)

    async def register_database(self, name: str, stripes: int, sub_stripes: int, overlap: float) -> None:
        """Make a database; the director index is built after the load, so that it finds what is there twice."""
        body = {
            "database": name,
            "num_stripes": stripes,
            "num_sub_stripes": sub_stripes,
            "overlap": overlap,
            "auto_build_secondary_index": 0,
        }
        await self._wire.tell("POST", self.url, "ingest/database", body)

    async def register_table(self, body: Mapping[str, Any]) -> None:
        """Make a table; a director before those that follow it."""
        await self._wire.tell("POST", self.url, "ingest/table", body)

    async def tables(self, database: str) -> Mapping[str, bool]:
        """Whether each table is partitioned, by name."""
        answer = await self._wire.ask(self.url, f"ingest/table/{database}")
        return {each["name"]: bool(each["is_partitioned"]) for each in answer["tables"]}

    async def configure(self, database: str, values: Mapping[str, str | int]) -> None:
        """Set how workers read contributions of a database (``ASYNC_PROC_LIMIT`` and others)."""
        await self._wire.tell("PUT", self.url, "ingest/config", {"database": database, **values})

    async def configuration(self, database: str) -> Mapping[str, Any]:
        """What `configure` set."""
        answer = await self._wire.ask(self.url, "ingest/config", query={"database": database})
        return dict(answer["config"])

    async def begin(self, database: str, context: Mapping[str, Any]) -> Transaction:
        """Start a super-transaction; `context` can be asked for later."""
        body = {"database": database, "context": context}
        answer = await self._wire.tell("POST", self.url, "ingest/trans", body, answer_s=self._wire.timeouts.long_s)
        return _transactions(answer)[0]

    async def end(self, transaction: int, *, abort: bool) -> Transaction:
        """Commit it, or abort it."""
        path, long_s = f"ingest/trans/{transaction}", self._wire.timeouts.long_s
        answer = await self._wire.tell("PUT", self.url, path, {}, query={"abort": int(abort)}, answer_s=long_s)
        return _transactions(answer)[0]

    async def transaction(self, transaction: int, *, contributions: bool = False, counted: bool = False) -> Transaction:
        """A super-transaction.

        Parameters
        ----------
        contributions
            With each of them and its warnings.
        counted
            With how many there are of each status; small whatever their number.
        """
        query: dict[str, str | int] = {"contrib": 1} if counted or contributions else {}
        if contributions:
            query |= {"contrib_long": 1, "include_warnings": 1}
        return _transactions(await self._wire.ask(self.url, f"ingest/trans/{transaction}", query=query))[0]

    async def transactions(self, database: str) -> Sequence[Transaction]:
        """All of a database, with their contexts and how many contributions each has."""
        query: dict[str, str | int] = {"database": database, "contrib": 1, "include_context": 1}
        return _transactions(await self._wire.ask(self.url, "ingest/trans", query=query))

    async def chunks(self, transaction: int, chunks: Sequence[int]) -> Sequence[Location]:
        """Where chunks are, which are allocated where they were nowhere."""
        body = {"transaction_id": transaction, "chunks": list(chunks)}
        answer = await self._wire.tell("POST", self.url, "ingest/chunks", body, answer_s=self._wire.timeouts.long_s)
        return [Location.of(each) for each in answer["locations"]]

    async def regular(self, transaction: int) -> Sequence[Location]:
        """The workers, each of which gets a regular table whole."""
        answer = await self._wire.ask(self.url, "ingest/regular", body={"transaction_id": transaction})
        return [Location.of(each) for each in answer["locations"]]

    async def publish(self, database: str) -> None:
        """Publish a database, which may take long, and may not answer at all (1.7, trap 7)."""
        body = {"consolidate_secondary_index": 0, "row_counters_deploy_at_qserv": 0}
        path, publish_s = f"ingest/database/{database}", self._wire.timeouts.publish_s
        await self._wire.tell("PUT", self.url, path, body, answer_s=publish_s)

    async def unpublish(self, database: str) -> None:
        """Take a publication back; with the administrator's key."""
        await self._wire.tell("PUT", self.url, f"replication/config/database/{database}", {}, admin=True)

    async def create_index(
        self, database: str, table: str, name: str, columns: Sequence[str], *, overlap: bool, comment: str = ""
    ) -> None:
        """Make an index on all chunk tables of a published table, or on all its overlap tables."""
        body = {
            "database": database,
            "table": table,
            "overlap": int(overlap),
            "index": name,
            "spec": "DEFAULT",
            "comment": comment,
            "columns": [{"column": column, "length": 0, "ascending": 1} for column in columns],
        }
        long_s = self._wire.timeouts.long_s
        await self._wire.tell("POST", self.url, "replication/sql/index", body, answer_s=long_s)

    async def indexes(self, database: str, table: str, *, overlap: bool) -> Sequence[IndexState]:
        """The indexes of a table's chunk tables."""
        path, long_s = f"replication/sql/index/{database}/{table}", self._wire.timeouts.long_s
        answer = await self._wire.ask(self.url, path, query={"overlap": int(overlap)}, answer_s=long_s)
        return [IndexState.of(each) for each in answer["status"]["indexes"]]

    async def drop_index(self, database: str, table: str, name: str, *, overlap: bool) -> None:
        """Drop an index from all chunk tables."""
        body = {"database": database, "table": table, "index": name, "overlap": int(overlap)}
        long_s = self._wire.timeouts.long_s
        await self._wire.tell("DELETE", self.url, "replication/sql/index", body, answer_s=long_s)

    async def build_director_index(self, database: str, table: str) -> None:
        """Build a director's index anew, which a key that is there twice refuses."""
        body = {"database": database, "director_table": table, "rebuild": 1, "unique_primary_key": 1}
        long_s = self._wire.timeouts.long_s
        await self._wire.tell("POST", self.url, "ingest/index/secondary", body, answer_s=long_s)

    async def count_rows(self, database: str, table: str, *, deploy: bool) -> None:
        """Have the workers count the rows of each chunk; `deploy` gives the counts to the query planner, too."""
        body = {
            "database": database,
            "table": table,
            "overlap_selector": "CHUNK_AND_OVERLAP",
            "row_counters_state_update_policy": "ENABLED",
            "row_counters_deploy_at_qserv": int(deploy),
            "force_rescan": 1,
        }
        long_s = self._wire.timeouts.long_s
        await self._wire.tell("POST", self.url, "ingest/table-stats", body, answer_s=long_s)

    async def row_counts(self, database: str, table: str) -> Sequence[RowCount]:
        """What `count_rows` found."""
        answer = await self._wire.ask(self.url, f"ingest/table-stats/{database}/{table}")
        return [RowCount.of(each) for each in answer["entries"]]

    async def forget_counts(self, database: str, table: str, *, deployed_only: bool) -> None:
        """Drop what `count_rows` found."""
        body = {"overlap_selector": "CHUNK_AND_OVERLAP", "qserv_only": int(deployed_only)}
        await self._wire.tell("DELETE", self.url, f"ingest/table-stats/{database}/{table}", body)

    async def rate_scan(self, database: str, table: str, rating: int) -> None:
        """Say how slow a scan of the table is: 1 quick to 3 slow."""
        path = f"replication/qserv/css/shared-scan/{database}/{table}"
        await self._wire.tell("PUT", self.url, path, {"scanRating": rating})

    async def scan_rating(self, database: str, table: str) -> int | None:
        """What `rate_scan` set, None where nothing did."""
        answer = await self._wire.ask(self.url, "replication/qserv/css/shared-scan")
        for family in (answer["css"]["shared_scan"] or {}).values():
            found = (family.get(database) or {}).get(table)
            if found:
                return int(found["scanRating"])
        return None

    async def delete_table(self, database: str, table: str, *, published: bool) -> None:
        """Drop a table with all its rows; of a published database with the administrator's key."""
        path, long_s = f"ingest/table/{database}/{table}", self._wire.timeouts.long_s
        await self._wire.tell("DELETE", self.url, path, {}, admin=published, answer_s=long_s)

    async def delete_database(self, database: str, *, published: bool) -> None:
        """Drop a database with all its rows; a published one with the administrator's key."""
        path, long_s = f"ingest/database/{database}", self._wire.timeouts.long_s
        await self._wire.tell("DELETE", self.url, path, {}, admin=published, answer_s=long_s)


def _transactions(answer: Mapping[str, Any]) -> list[Transaction]:
    return [
        Transaction.of(each) for database in answer["databases"].values() for each in database["transactions"] or ()
    ]


def already(error: Refused) -> bool:
    """Whether the service refused because what was wanted is so already."""
    return "already" in error.words
