"""The ledger of a load: what was planned, who works on it, which transaction holds what, and how far each is.

Whatever has an effect in Qserv is written here before it is asked for, and its outcome after. Each super-transaction
is held by one loader at a time, by a lease; every taking raises its term, and a write with an older term, or after
the lease's end, is refused (`Fenced`).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from consumers.release.load.patience import patient
from consumers.release.load.plan import Plan, PlannedTransaction
from consumers.release.load.records import State, forget, planned_of, take_in
from consumers.release.load.tables import METADATA, loads, retired, sent, steps, transactions
from stream.clock import Clock, SystemClock
from stream.errors import Fatal, Fenced, Wrong

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Held:
    """A super-transaction that this loader holds.

    Parameters
    ----------
    term
        The fence.
    transaction
        Its id in Qserv, None where it is not known.
    """

    planned: PlannedTransaction
    term: int
    state: State
    attempt: int
    token: str
    transaction: int | None


@dataclass(frozen=True, slots=True)
class Sent:
    """A contribution that was, or was about to be, handed to a worker.

    Parameters
    ----------
    ordinal
        Of the contribution in its transaction.
    worker, worker_url
        To whom.
    url
        From where the worker reads; empty where it was sent the bytes.
    contribution
        Its id; None while no answer has come.
    """

    ordinal: int
    worker: str
    worker_url: str
    url: str
    contribution: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """A planned super-transaction as the ledger has it, for the report."""

    key: str
    table: str
    state: State
    attempt: int
    token: str
    transaction: int | None
    contributions: int
    rows: int
    bytes: int
    holder: str
    code: str
    error: str


class Ledger:
    """The ledger in an engine's database.

    Parameters
    ----------
    engine
        Of `stream.tables.engine.open_engine`.
    holder
        Who this loader is; no two alike.
    lease_s
        How long a transaction is held without a sign of life.
    patience_s
        How long a database that is away is waited for.
    clock
        Of leases on SQLite; on MariaDB the server's counts.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        holder: str,
        lease_s: float,
        *,
        patience_s: float = 300.0,
        clock: Clock | None = None,
    ) -> None:
        self.holder, self.lease_s, self.patience_s = holder, lease_s, patience_s
        self.clock = clock or SystemClock()
        self._engine = engine

    @patient
    async def make(self) -> None:
        """Make the tables where they are not."""
        async with self._engine.begin() as connection:
            for each in METADATA.sorted_tables:
                await connection.execute(sa.schema.CreateTable(each, if_not_exists=True))

    @patient
    async def empty(self) -> None:
        """Forget everything."""
        async with self._engine.begin() as connection:
            for each in METADATA.sorted_tables:
                await connection.execute(sa.delete(each))

    @patient
    async def prepare(self, plan: Plan) -> str:
        """Make the tables where they are not, and take the plan in; returns the load's name.

        A table that is in the ledger already keeps the transactions that it was given there.

        Raises
        ------
        Wrong
            ``release_other``: the ledger is another database's. ``release_changed``: the files of a table that has
            begun to be loaded are not what they were.
        """
        name = plan.release.database.name
        await self.make()
        await self._begin(name)
        async with self._engine.begin() as connection:
            # The row is locked, so that of two loaders that begin at once one takes the plan in.
            row = (await connection.execute(sa.select(loads).with_for_update())).one()
            if row.format != FORMAT:
                raise Fatal("release_ledger_format", f"the ledger has format {row.format}, not {FORMAT}")
            if row.database_name != name:
                text = f"the ledger is that of database {row.database_name}, not of {name}"
                raise Wrong("release_other", text, "name another with --release-ledger")
            for ordinal, table in enumerate(plan.release.tables.values()):
                await take_in(connection, plan, table.table.name, table.digest, ordinal, self.clock.now())
        return str(row.load)

    async def _begin(self, database: str) -> None:
        values = {"id": 1, "format": FORMAT, "load": secrets.token_hex(16), "database_name": database}
        with suppress(IntegrityError):  # it has begun before
            async with self._engine.begin() as connection:
                await connection.execute(sa.insert(loads).values(values))

    @patient
    async def name(self) -> str:
        """The load's name, empty where nothing was planned."""
        async with self._engine.begin() as connection:
            return str(await connection.scalar(sa.select(loads.c.load)) or "")

    @patient
    async def take(self, among: Sequence[str] | None = None) -> Held | None:
        """Take a transaction that nobody holds and that is not over, the first in order; None where there is none."""
        async with self._engine.begin() as connection:
            now = await self._now(connection)
            free = [transactions.c.lease_until < now, transactions.c.state.not_in((State.COMMITTED, State.FAILED))]
            if among is not None:
                free.append(transactions.c.key.in_(among))
            order = (transactions.c.table_ordinal, transactions.c.ordinal)
            found = sa.select(transactions).where(*free).order_by(*order).limit(1).with_for_update(skip_locked=True)
            row = (await connection.execute(found)).first()
            if row is None:
                return None
            term = row.term + 1
            values = {"term": term, "holder": self.holder, "lease_until": now + self.lease_s}
            await connection.execute(sa.update(transactions).where(transactions.c.key == row.key).values(values))
            planned = await planned_of(connection, row)
        return Held(planned, term, State(row.state), row.attempt, row.token, row.transaction_id)

    @patient
    async def keep(self, held: Iterable[Held]) -> Sequence[Held]:
        """Lengthen the leases; returns those that are lost: another has taken them, or their time was over."""
        lost = []
        async with self._engine.begin() as connection:
            now = await self._now(connection)
            for each in held:
                update = sa.update(transactions).where(*self._mine(each, now))
                done = await connection.execute(update.values(lease_until=now + self.lease_s))
                if done.rowcount != 1:
                    lost.append(each)
        return lost

    @patient
    async def let_go(self, held: Held) -> None:
        """Hold it no longer, whatever state it is in."""
        mine = (transactions.c.key == held.planned.key, transactions.c.term == held.term)
        async with self._engine.begin() as connection:
            await connection.execute(sa.update(transactions).where(*mine).values(lease_until=0.0, holder=""))

    @patient
    async def let_go_all(self) -> None:
        """Hold nothing any longer, not even what was taken without the loader's hearing of it."""
        mine = sa.update(transactions).where(transactions.c.holder == self.holder)
        async with self._engine.begin() as connection:
            await connection.execute(mine.values(lease_until=0.0, holder=""))

    @patient
    async def attempt(self, held: Held) -> Held:
        """Write that a transaction is about to be started, under a token of its own."""
        token = secrets.token_hex(16)
        values = {"attempt": held.attempt + 1, "token": token, "transaction_id": None}
        await self._write(held, State.STARTING, values)
        return Held(held.planned, held.term, State.STARTING, held.attempt + 1, token, None)

    @patient
    async def loading(self, held: Held, transaction: int) -> Held:
        """Write that it was started, under which id."""
        await self._write(held, State.LOADING, {"transaction_id": transaction})
        return Held(held.planned, held.term, State.LOADING, held.attempt, held.token, transaction)

    @patient
    async def write(self, held: Held, state: State, *, code: str = "", error: str = "") -> Held:
        """Write another state."""
        await self._write(held, state, {"code": code, "error": error})
        return Held(held.planned, held.term, state, held.attempt, held.token, held.transaction)

    @patient
    async def adopt(self, held: Held, transaction: int) -> None:
        """Write that a transaction which another ledger committed is this one's."""
        await self._write(held, State.COMMITTED, {"transaction_id": transaction})

    @patient
    async def sending(self, held: Held, several: Sequence[Sent]) -> None:
        """Write that these are about to be handed to their workers."""
        mine = {"key": held.planned.key, "attempt": held.attempt, "contribution_id": None}
        names = ("ordinal", "worker", "worker_url", "url")
        rows = [mine | {name: getattr(each, name) for name in names} for each in several]
        async with self._engine.begin() as connection:
            await self._fence(connection, held)
            # They may be there, where this was written and the answer to its commit was lost.
            ours = (sent.c.key == held.planned.key, sent.c.attempt == held.attempt, sent.c.contribution_id.is_(None))
            again = sa.delete(sent).where(*ours, sent.c.ordinal.in_([each.ordinal for each in several]))
            await connection.execute(again)
            await connection.execute(sa.insert(sent), rows)

    @patient
    async def took(self, held: Held, several: Iterable[Sent]) -> None:
        """Write under which ids the workers took them."""
        changed = sa.update(sent).where(
            sent.c.key == held.planned.key,
            sent.c.attempt == held.attempt,
            sent.c.ordinal == sa.bindparam("of_ordinal"),
            sent.c.worker == sa.bindparam("of_worker"),
        )
        rows = [
            {"of_ordinal": each.ordinal, "of_worker": each.worker, "contribution_id": each.contribution}
            for each in several
        ]
        if not rows:
            return
        async with self._engine.begin() as connection:
            await connection.execute(changed.values(contribution_id=sa.bindparam("contribution_id")), rows)

    @patient
    async def sent(self, held: Held) -> Sequence[Sent]:
        """What was, or was about to be, handed to workers in this attempt."""
        mine = (sent.c.key == held.planned.key, sent.c.attempt == held.attempt)
        async with self._engine.begin() as connection:
            rows = await connection.execute(sa.select(sent).where(*mine))
            return [Sent(row.ordinal, row.worker, row.worker_url, row.url, row.contribution_id) for row in rows]

    @patient
    async def committed(self, key: str) -> tuple[PlannedTransaction, Sequence[Sent]]:
        """What a transaction holds, and what was sent in its last attempt."""
        async with self._engine.begin() as connection:
            row = (await connection.execute(sa.select(transactions).where(transactions.c.key == key))).one()
            planned = await planned_of(connection, row)
        held = Held(planned, row.term, State(row.state), row.attempt, row.token, row.transaction_id)
        return planned, await self.sent(held)

    @patient
    async def again(self) -> int:
        """Let transactions that failed be tried again; how many."""
        async with self._engine.begin() as connection:
            failed = sa.update(transactions).where(transactions.c.state == State.FAILED)
            done = await connection.execute(failed.values(state=State.PLANNED, code="", error=""))
            return int(done.rowcount)

    @patient
    async def standings(self) -> Sequence[Standing]:
        """All transactions, in order of loading."""
        async with self._engine.begin() as connection:
            order = (transactions.c.table_ordinal, transactions.c.ordinal)
            rows = (await connection.execute(sa.select(transactions).order_by(*order))).all()
        return [
            Standing(
                row.key,
                row.table_name,
                State(row.state),
                row.attempt,
                row.token,
                row.transaction_id,
                row.contributions,
                row.rows_planned,
                row.bytes_planned,
                row.holder if row.lease_until else "",
                row.code,
                row.error,
            )
            for row in rows
        ]

    @patient
    async def step(self, name: str, state: str, detail: str = "") -> None:
        """Write how far a step of publication is."""
        values = {"state": state, "detail": detail, "changed": self.clock.now()}
        async with self._engine.begin() as connection:
            done = await connection.execute(sa.update(steps).where(steps.c.name == name).values(values))
            if done.rowcount == 0:
                await connection.execute(sa.insert(steps).values(name=name, **values))

    @patient
    async def steps(self) -> Mapping[str, str]:
        """The state of each step that was begun."""
        async with self._engine.begin() as connection:
            rows = await connection.execute(sa.select(steps.c.name, steps.c.state))
            return {row.name: row.state for row in rows}

    @patient
    async def forget_steps(self) -> None:
        """As if nothing had been published; what is taken away at the moment is not forgotten."""
        kept = sa.or_(steps.c.name == "delete", steps.c.name.like("replace:%"))
        async with self._engine.begin() as connection:
            await connection.execute(sa.delete(steps).where(sa.not_(kept)))

    @patient
    async def retire(self, table: str) -> None:
        """Forget a table that is no longer in Qserv, but for the ids of its transactions."""
        async with self._engine.begin() as connection:
            done = sa.select(transactions.c.transaction_id, transactions.c.table_name).where(
                transactions.c.table_name == table, transactions.c.state == State.COMMITTED
            )
            await connection.execute(sa.insert(retired).from_select(["transaction_id", "table_name"], done))
            await forget(connection, table)

    @patient
    async def retired(self) -> frozenset[int]:
        """Transactions that were committed and whose table was deleted since."""
        async with self._engine.begin() as connection:
            return frozenset(await connection.scalars(sa.select(retired.c.transaction_id)))

    async def _write(self, held: Held, state: State, values: Mapping[str, Any]) -> None:
        async with self._engine.begin() as connection:
            now = await self._now(connection)
            written = {"state": state, "changed": now, **values}
            done = await connection.execute(sa.update(transactions).where(*self._mine(held, now)).values(written))
            if done.rowcount != 1:
                raise _fenced(held)

    async def _fence(self, connection: AsyncConnection, held: Held) -> None:
        now = await self._now(connection)
        mine = sa.select(transactions.c.term).where(*self._mine(held, now)).with_for_update()
        if (await connection.scalar(mine)) is None:
            raise _fenced(held)

    def _mine(self, held: Held, now: float) -> tuple[sa.ColumnElement[bool], ...]:
        return (
            transactions.c.key == held.planned.key,
            transactions.c.term == held.term,
            transactions.c.lease_until > now,
        )

    async def _now(self, connection: AsyncConnection) -> float:
        if self._engine.dialect.name == "sqlite":
            return self.clock.now()
        return float(await connection.scalar(sa.text("SELECT UNIX_TIMESTAMP(NOW(6))")))


def _fenced(held: Held) -> Fenced:
    planned = held.planned
    text = f"transaction {planned.ordinal} of table {planned.table} is held by another loader, or the lease is over"
    return Fenced("release_fenced", text)
