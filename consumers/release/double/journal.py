"""The double's memory: databases, transactions and contributions, written to a journal as they change.

A double that is killed and started again in the same folder reads the journal and goes on; the rows are in MariaDB.
Lines are not synced: they survive the end of the process, not that of the machine.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from consumers.release.double.contribution import Contribution
from consumers.release.double.model import Database, Transaction
from consumers.release.double.refusals import Json, failed

NAME = "journal.jsonl"


class Memory:
    """What the service knows.

    Parameters
    ----------
    folder
        Holds the journal; what is in it is read.
    """

    def __init__(self, folder: Path) -> None:
        self.databases: dict[str, Database] = {}
        self.transactions: dict[int, Transaction] = {}
        self.contributions: dict[int, Contribution] = {}
        self.of_transaction: dict[int, list[int]] = defaultdict(list)
        self._ids: dict[str, int] = defaultdict(int)
        path = folder / NAME
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                self._replay(json.loads(line))
        self._file = path.open("ab", buffering=0)

    def close(self) -> None:
        """No more is written."""
        self._file.close()

    def next_id(self, kind: str) -> int:
        """The next number of a ``transaction``, ``contribution`` or line of a ``log``; none is given twice."""
        self._ids[kind] += 1
        return self._ids[kind]

    def database(self, name: str) -> Database:
        """A database by its name; refused where there is none."""
        if name not in self.databases:
            raise failed(f"CONFIG  _databaseInfo no such database '{name}'.")
        return self.databases[name]

    def transaction(self, number: int) -> Transaction:
        """A transaction by its number; refused where there is none."""
        if number not in self.transactions:
            text = "DatabaseServicesNotFound: DatabaseServicesMySQL::_findTransactionImpl predicate=`id`="
            raise failed(f"{text}{number} no such transaction")
        return self.transactions[number]

    def of(self, database: str) -> list[Transaction]:
        """The transactions of a database."""
        return [each for each in self.transactions.values() if each.database == database]

    def contributions_of(self, transaction: int) -> list[Contribution]:
        """The contributions of a transaction, in order."""
        return [self.contributions[number] for number in self.of_transaction[transaction]]

    def keep(self, thing: Database | Transaction | Contribution) -> None:
        """Write down what a database, transaction or contribution is now; what was deleted meanwhile stays so."""
        if isinstance(thing, Contribution) and thing.transaction_id not in self.transactions:
            return
        self._take(thing)
        self._write({"kind": type(thing).__name__, "ids": self._ids, "value": thing.to_json()})

    def keep_chunks(self, database: Database, chunks: dict[int, str]) -> None:
        """Write down where new chunks of a database are."""
        database.chunks |= chunks
        self._write({"kind": "chunks", "database": database.name, "value": chunks})

    def forget(self, database: str) -> None:
        """A database is gone, with its transactions and their contributions."""
        self._forget(database)
        self._write({"kind": "forget", "ids": self._ids, "database": database})

    def _take(self, thing: Database | Transaction | Contribution) -> None:
        if isinstance(thing, Database):
            self.databases[thing.name] = thing
        elif isinstance(thing, Transaction):
            self.transactions[thing.id] = thing
        else:
            if thing.id not in self.contributions:
                self.of_transaction[thing.transaction_id].append(thing.id)
            self.contributions[thing.id] = thing

    def _forget(self, database: str) -> None:
        self.databases.pop(database, None)
        for transaction in self.of(database):
            for number in self.of_transaction.pop(transaction.id, []):
                del self.contributions[number]
            del self.transactions[transaction.id]

    def _write(self, line: Json) -> None:
        # What a dead double's threads still bring is lost, as with the process.
        if not self._file.closed:
            self._file.write(json.dumps(line).encode() + b"\n")

    def _replay(self, line: Json) -> None:
        self._ids |= line.get("ids", {})
        match line["kind"]:
            case "forget":
                self._forget(line["database"])
            case "chunks":
                chunks = {int(chunk): worker for chunk, worker in line["value"].items()}
                self.databases[line["database"]].chunks |= chunks
            case kind:
                kinds = {each.__name__: each for each in (Database, Transaction, Contribution)}
                self._take(kinds[kind].from_json(line["value"]))
