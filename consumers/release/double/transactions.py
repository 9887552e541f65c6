"""The controller's calls on transactions and on where chunks are."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable

from consumers.release.double.contribution import Contribution, summary
from consumers.release.double.core import Core
from consumers.release.double.http import Call, Route
from consumers.release.double.loading import Loading
from consumers.release.double.model import DUMMY_CHUNK, Database, Life, Table, Transaction
from consumers.release.double.refusals import Json, Refused, failed, invalid
from stream.local.ports import LOOPBACK
from stream.sky import Layout

INVALID_CHUNK = "this chunk number is not valid"
FILTERS = {"table", "worker", "chunk", "contrib_status", "min_retries", "min_warnings"}


class Transactions:
    """Super-transactions, chunks and regular tables' places.

    Parameters
    ----------
    core, loading
        The double's inside.
    """

    def __init__(self, core: Core, loading: Loading) -> None:
        self._core, self._loading = core, loading
        self._layouts: dict[tuple[int, int], Layout] = {}

    @property
    def routes(self) -> list[Route]:
        """What it can do."""
        return [
            Route("POST", "ingest/trans", self._start),
            Route("GET", "ingest/trans", self._list),
            Route("PUT", "ingest/trans/{id}", self._end),
            Route("GET", "ingest/trans/contrib/{id}", self._contribution),
            Route("GET", "ingest/trans/{id}", self._get, 37),
            Route("POST", "ingest/chunk", self._chunk),
            Route("POST", "ingest/chunks", self._chunks, 54),
            Route("POST", "ingest/chunk-multi", self._chunk_multi, 54),
            Route("POST", "ingest/chunks-multi", self._chunks, 54),
            Route("POST", "ingest/chunk/empty", self._empty_chunks, 31),
            Route("GET", "ingest/chunks", self._replicas),
            Route("GET", "ingest/regular", self._regular),
        ]

    async def _start(self, call: Call) -> Json:
        core, memory = self._core, self._core.memory
        database = memory.database(call.fields.text("database"))
        context = call.fields.object("context", {})
        if database.is_published:
            raise Refused("the database is already published")
        new = Transaction(memory.next_id("transaction"), database.name, core.now(), context=context)
        memory.keep(new)
        for table in self._indexed(database):
            self._log(new, "begin add dir idx part", {"table": table.name})
            await core.run(core.index.add_transaction, database.name, table, new.id)
            self._log(new, "end add dir idx part", {"table": table.name, "success": 1, "error": ""})
        new.state, new.start_time = Life.STARTED, core.now()
        memory.keep(new)
        return self._told(database, new)

    async def _end(self, call: Call) -> Json:
        if "abort" not in call.query:
            raise invalid("RequestQuery::requiredBool mandatory parameter 'abort' is missing")
        abort, core = call.flag("abort"), self._core
        transaction = core.memory.transaction(_number(call))
        if transaction.state is not Life.STARTED:
            text = f"transaction id={transaction.id} can't be ended at this time because of state={transaction.state}."
            raise Refused(text)
        transaction.context = call.fields.object("context", transaction.context)
        transaction.state = Life.IS_ABORTING if abort else Life.IS_FINISHING
        transaction.transition_time = core.now()
        core.memory.keep(transaction)
        database = core.memory.database(transaction.database)
        built = False
        if abort:
            await self._abort(database, transaction)
        else:
            built = await self._commit(database, transaction)
        transaction.state, transaction.end_time = Life.ABORTED if abort else Life.FINISHED, core.now()
        core.memory.keep(transaction)
        return {"secondary-index-build-success": int(built)} | self._told(database, transaction)

    async def finish_endings(self) -> None:
        """After a restart: end what was being ended."""
        for transaction in self._core.memory.transactions.values():
            database = self._core.memory.database(transaction.database)
            if transaction.state is Life.IS_STARTING:
                transaction.state = Life.ABORTED
            elif transaction.state is Life.IS_ABORTING:
                await self._abort(database, transaction)
                transaction.state = Life.ABORTED
            elif transaction.state is Life.IS_FINISHING:
                for table in self._indexed(database):
                    await self._core.run(self._core.index.drop_transaction, database.name, table, transaction.id)
                    await self._core.run(self._core.index.add_transaction, database.name, table, transaction.id)
                await self._commit(database, transaction)
                transaction.state = Life.FINISHED
            else:
                continue
            transaction.end_time = self._core.now()
            self._core.memory.keep(transaction)

    async def _commit(self, database: Database, transaction: Transaction) -> bool:
        """Take the transaction's rows into the director indexes; whether all went in. Failures change nothing else."""
        core, good = self._core, False
        chunks: dict[str, set[int]] = {name: set() for name in core.workers}
        for each in core.memory.contributions_of(transaction.id):
            if each.num_rows_loaded and not each.overlap:
                chunks[each.worker].add(each.chunk)
        for at, table in enumerate(self._indexed(database)):
            job = str(uuid.uuid4())
            self._log(transaction, "begin bld dir idx", {"table": table.name, "job": job})
            of = {name: sorted(numbers & self._chunks_of(transaction, table)) for name, numbers in chunks.items()}
            error = await core.run(core.index.fill, database, table, transaction.id, of)
            good = (good or not at) and not error
            told = {"table": table.name, "job": job, "success": int(not error), "error": error or None}
            self._log(transaction, "end bld dir idx", told)
        return good

    async def _abort(self, database: Database, transaction: Transaction) -> None:
        core = self._core
        await self._loading.quiet(transaction.id)
        job = str(uuid.uuid4())
        self._log(transaction, "begin del table part", {"job": job})
        await core.at_all_workers(lambda tables: tables.drop_transaction(database, transaction.id))
        self._log(transaction, "end del table part", {"job": job, "success": 1, "error": {}})
        for table in self._indexed(database):
            self._log(transaction, "begin del dir idx part", {"table": table.name})
            await core.run(core.index.drop_transaction, database.name, table, transaction.id)
            self._log(transaction, "end del dir idx part", {"table": table.name, "success": 1, "error": ""})

    def _chunks_of(self, transaction: Transaction, table: Table) -> set[int]:
        every = self._core.memory.contributions_of(transaction.id)
        return {each.chunk for each in every if each.table == table.name}

    def _indexed(self, database: Database) -> list[Table]:
        return [table for table in database.directors if database.auto_build and not table.is_published]

    def _log(self, transaction: Transaction, name: str, data: Json) -> None:
        memory = self._core.memory
        line = {"id": memory.next_id("log"), "name": name, "data": data, "time": self._core.now()}
        transaction.log.append(line | {"transaction_state": str(transaction.state)})
        memory.keep(transaction)

    def _told(self, database: Database, transaction: Transaction) -> Json:
        told = transaction.described(context=True, log=True)
        return {"databases": {database.name: {"num_chunks": database.num_chunks, "transactions": [told]}}}

    async def _get(self, call: Call) -> Json:
        return {"databases": self._listed(call, [self._core.memory.transaction(_number(call))])}

    async def _list(self, call: Call) -> Json:
        memory, query = self._core.memory, call.query
        found: Iterable[Database] = memory.databases.values()
        if query.get("database"):
            found = [memory.database(query["database"])]
        elif query.get("family"):
            found = [each for each in found if each.family == query["family"]]
        elif not call.flag("all_databases"):
            found = [each for each in found if each.is_published == call.flag("is_published")]
        empty = {each.name: self._head(each) for each in found}
        every = [transaction for name in empty for transaction in memory.of(name)]
        return {"databases": empty | self._listed(call, every)}

    def _head(self, database: Database) -> Json:
        return {"is_published": int(database.is_published), "num_chunks": database.num_chunks, "transactions": []}

    def _listed(self, call: Call, transactions: list[Transaction]) -> Json:
        told: Json = {}
        for each in transactions:
            one = each.described(context=call.flag("include_context"), log=call.flag("include_log"))
            if call.flag("contrib"):
                one["contrib"] = self._contributions(call, each)
            database = self._core.memory.database(each.database)
            told.setdefault(each.database, self._head(database))["transactions"].append(one)
        return told

    def _contributions(self, call: Call, transaction: Transaction) -> Json:
        every = self._core.memory.contributions_of(transaction.id)
        if FILTERS & call.query.keys():
            every = [each for each in every if _wanted(call, each)]
        most = int(call.query.get("max_entries", 0))
        long = (every[:most] if most else every) if call.flag("contrib_long") else []
        return {"summary": summary(every), "files": [_described(call, each) for each in long]}

    async def _contribution(self, call: Call) -> Json:
        number = _number(call)
        if number not in self._core.memory.contributions:
            raise failed(f"no such contribution {number}")
        told = _described(call, self._core.memory.contributions[number], extensions="1")
        return {"contribution": told}

    async def _chunk(self, call: Call) -> Json:
        return {"location": self._located(self._scope(call), [call.fields.whole("chunk")])[0]}

    async def _chunk_multi(self, call: Call) -> Json:
        return {"locations": self._located(self._scope(call), [call.fields.whole("chunk")])}

    async def _chunks(self, call: Call) -> Json:
        return {"locations": self._located(self._scope(call), call.fields.array("chunks"))}

    async def _empty_chunks(self, call: Call) -> Json:
        self._core.memory.database(call.fields.text("database"))
        return {}

    async def _regular(self, call: Call) -> Json:
        if not ("database" in call.fields or "transaction_id" in call.fields):
            raise invalid(
                "HTTP-PROCESSOR ::_getRegular this service expects either 'database' or  'transaction_id' to be"
                " provided to define a scope of the request."
            )
        self._scope(call)
        return {"locations": [self._place(worker) for worker in self._core.workers]}

    async def _replicas(self, call: Call) -> Json:
        """Bytes of each chunk's tables; the numbers of rows are 0, as Qserv has them."""
        database = self._core.memory.database(call.query.get("database", ""))
        sizes = await self._core.at_all_workers(lambda tables: tables.sizes(database.name))
        found = []
        for worker in self._core.workers:
            chunks = {chunk for chunk, at in database.chunks.items() if at == worker}
            for chunk in sorted(chunks | ({DUMMY_CHUNK} if database.dummies else set()), key=str):
                found.append(_replica(database, chunk, worker, sizes[worker]))
        return {"replica": found}

    def _scope(self, call: Call) -> Database:
        memory = self._core.memory
        if "transaction_id" in call.fields:
            transaction = memory.transaction(call.fields.whole("transaction_id"))
            return memory.database(transaction.database)
        return memory.database(call.fields.text("database"))

    def _located(self, database: Database, chunks: list[int]) -> list[Json]:
        """Where chunks are; a new one goes to the worker that has fewest of this database."""
        held = Counter(dict.fromkeys(self._core.workers, 0))
        held.update(database.chunks.values())
        new: dict[int, str] = {}
        for chunk in chunks:
            if chunk in database.chunks or chunk in new:
                continue
            if not self._is_valid(database, chunk):
                raise Refused(INVALID_CHUNK)
            new[chunk] = min(held, key=lambda name: held[name])
            held[new[chunk]] += 1
        if new and database.is_published:
            raise Refused("the database is already published")
        if new:
            self._core.memory.keep_chunks(database, new)
        return [{"chunk": chunk, **self._place(database.chunks[chunk])} for chunk in chunks]

    def _is_valid(self, database: Database, chunk: object) -> bool:
        key = database.stripes, database.sub_stripes
        layout = self._layouts.get(key) or self._layouts.setdefault(key, Layout(*key, 0.0))
        if not isinstance(chunk, int) or not 0 <= chunk < 2 * layout.stripes * layout.stripes:
            return False
        stripe = chunk // (2 * layout.stripes)
        # At RA 360 a position lies in the last chunk of its stripe.
        last, _ = layout.locate([360.0], [(stripe + 0.5) * 180.0 / layout.stripes - 90.0])
        return chunk <= int(last[0])

    def _place(self, worker: str) -> Json:
        """A worker's addresses; the port of the binary loader is 0, since the double has none."""
        http = {"http_host": LOOPBACK, "http_host_name": LOOPBACK, "http_port": self._core.ports[worker]}
        return {"worker": worker, "host": LOOPBACK, "host_name": LOOPBACK, "port": 0, **http}


def _number(call: Call) -> int:
    try:
        return int(call.path["id"])
    except ValueError:
        raise invalid(f"{call.path['id']} is no number") from None


def _described(call: Call, contribution: Contribution, extensions: str = "0") -> Json:
    return contribution.described(
        extensions=call.query.get("include_extensions", extensions) != "0",
        retries=call.flag("include_retries"),
        warnings=call.flag("include_warnings"),
    )


def _wanted(call: Call, each: Contribution) -> bool:
    query = call.query
    exact = {"table": each.table, "worker": each.worker, "chunk": str(each.chunk), "contrib_status": str(each.status)}
    if any(query.get(name, value) != value for name, value in exact.items()):
        return False
    least = {"min_retries": each.num_failed_retries, "min_warnings": each.num_warnings}
    return all(value >= int(query.get(name, 0)) for name, value in least.items())


def _replica(database: Database, chunk: int, worker: str, sizes: dict[str, tuple[int, int]]) -> Json:
    told: Json = {"chunk": chunk, "worker": worker}
    for table in database.partitioned:
        data, index = sizes.get(f"{table.name}_{chunk}".lower(), (0, 0))
        overlap_data, overlap_index = sizes.get(f"{table.name}FullOverlap_{chunk}".lower(), (0, 0))
        told[table.name] = {
            "rows": 0,
            "data_size": data,
            "index_size": index,
            "overlap_rows": 0,
            "overlap_data_size": overlap_data,
            "overlap_index_size": overlap_index,
        }
    return told
