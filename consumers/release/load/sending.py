"""Handing a transaction's contributions to the workers, and waiting until they are loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import BinaryIO, cast

from consumers.release.load.files import Chained
from consumers.release.load.gate import NotLoaded, Problem
from consumers.release.load.ledger import Held, Sent
from consumers.release.load.plan import Planned
from consumers.release.load.world import World
from consumers.release.manifest import Dialect
from consumers.release.service import LoadDialect, Location, LostAnswer, Refused, Source, Status, Transaction
from stream.clock import Deadline
from stream.errors import Transient

_GROUP = 256
"""Intents that are written to the ledger at once, at most."""
_LOOKS_S = (0.0, 0.2, 1.0)
"""When it is looked for a contribution whose answer was lost, seconds after one another."""
_STILL_S = 10.0
_SHARE, _SHARE_AT_END, _LEAST_S = 0.25, 0.08, 0.04
_HOPELESS = (Status.LOAD_FAILED, Status.CREATE_FAILED, Status.START_FAILED, Status.CANCELLED)


class Unsure(Exception):
    """Whether a worker has a contribution cannot be known: the transaction is to be aborted and started anew."""


class Sender:
    """Sends the contributions of one transaction that is open.

    Parameters
    ----------
    world
        What is stood on.
    held
        The transaction, with its id.
    """

    def __init__(self, world: World, held: Held) -> None:
        assert held.transaction is not None
        self._world, self._held, self._transaction = world, held, held.transaction
        self._sent: dict[tuple[int, str], Sent] = {}
        self._readings: dict[int, int] = {}
        self._ended = 0
        self._bytes = held.planned.bytes
        limits = world.limits
        self._most = max(1, limits.in_flight // limits.transactions)

    async def adopt(self) -> bool:
        """Take over what was sent before; whether all of it is known."""
        world, held = self._world, self._held
        before = await world.ledger.sent(held)
        if any(each.contribution is None for each in before):
            before = await self._looked(before)
            known = [each for each in before if each.contribution is not None]
            await world.ledger.took(held, known)
            if len(known) < len(before):
                return False
        self._sent = {(each.ordinal, each.worker): each for each in before}
        return True

    async def send(self, workers: Sequence[Location] | None) -> Sequence[Sent]:
        """Send what was not sent, and wait until everything is loaded, or one failed.

        Parameters
        ----------
        workers
            Those that get a regular table; None for a partitioned one.

        Raises
        ------
        Unsure
            The answer to a contribution was lost, and it cannot be found.
        """
        todo = await self._todo(workers)
        group = min(_GROUP, max(1, self._most // 2))
        for begin in range(0, len(todo), group):
            if self._hopeless(await self._room(self._most - group)):
                break
            await self._send(todo[begin : begin + group])
        await self._room(0)
        return list(self._sent.values())

    async def _todo(self, workers: Sequence[Location] | None) -> list[tuple[Sent, Planned]]:
        planned = self._held.planned
        places: Mapping[int, Location] = {}
        if workers is None:
            places = await self._world.places(self._transaction, planned.chunks)
        found = []
        for ordinal, each in enumerate(planned.contributions):
            for place in workers if workers is not None else (places[each.chunk],):
                if (ordinal, place.worker) not in self._sent:
                    url = "" if self._world.limits.by_value else self._world.files.url_of(each, planned.key)
                    found.append((Sent(ordinal, place.worker, place.url, url), each))
        return found

    async def _send(self, group: Sequence[tuple[Sent, Planned]]) -> None:
        world, held = self._world, self._held
        if not world.limits.by_value:
            for _, planned in group:
                if len(planned.parts) > 1:
                    await asyncio.to_thread(world.files.merge, planned, held.planned.key)
        await world.ledger.sending(held, [sent for sent, _ in group])
        world.crossing("before_send")
        outcomes = await asyncio.gather(*(self._one(*each) for each in group), return_exceptions=True)
        world.crossing("after_send")
        taken = [outcome for outcome in outcomes if isinstance(outcome, Sent)]
        await world.ledger.took(held, taken)
        world.crossing("after_took")
        self._sent |= {(each.ordinal, each.worker): each for each in taken}
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        for error in sorted(errors, key=lambda each: isinstance(each, Transient)):
            raise error

    async def _one(self, sent: Sent, planned: Planned) -> Sent:
        world = self._world
        async with world.sending:
            try:
                contribution = await world.told(lambda: self._say(sent, planned))
            except LostAnswer as lost:
                if sent.url:
                    (found,) = await self._looked([sent])
                    if found.contribution is not None:
                        return found
                raise Unsure(f"{planned.name} at {sent.worker}: {lost.message}") from lost
            except Refused as refused:
                raise await self._refused(sent, planned, refused) from refused
        return replace(sent, contribution=contribution)

    async def _say(self, sent: Sent, planned: Planned) -> int:
        world = self._world
        dialect = _spelt(world.release.tables[planned.table].manifest.dialect)
        source = Source(self._transaction, planned.table, planned.chunk, planned.overlap, dialect)
        worker = world.worker(sent.worker_url)
        if sent.url:
            return (await worker.submit(source, sent.url)).id
        name = f"{planned.table}_{planned.chunk}_{planned.overlap:d}_{sent.ordinal}.txt"
        with Chained([world.release.folder / part.path for part in planned.parts]) as file:
            return (await worker.send(source, name, cast(BinaryIO, file), planned.bytes)).id

    async def _refused(self, sent: Sent, planned: Planned, refused: Refused) -> Exception:
        """What a refusal means: a transaction that is over is started anew, anything else is the data's fault."""
        found = await self._world.asked(lambda: self._world.controller.transaction(self._transaction))
        if found.state != "STARTED":
            return Unsure(f"transaction {self._transaction} is {found.state}")
        code = "release_load_failed" if "load failed" in refused.words else "release_not_started"
        return NotLoaded([Problem(code, f"{planned.name} at {sent.worker}: {refused.words}")])

    async def _looked(self, several: Sequence[Sent]) -> list[Sent]:
        """Find the ids of contributions by reference whose answers were lost."""
        found = list(several)
        for wait_s in _LOOKS_S:
            await asyncio.sleep(wait_s)
            there = await self._world.asked(
                lambda: self._world.controller.transaction(self._transaction, contributions=True)
            )
            contributions = self._held.planned.contributions
            by_what = {
                (each.worker, each.url, each.table, each.chunk, each.overlap): each for each in there.contributions
            }
            for number, sent in enumerate(found):
                planned = contributions[sent.ordinal]
                what = (sent.worker, sent.url, planned.table, planned.chunk, planned.overlap)
                if sent.contribution is None and sent.url and what in by_what:
                    found[number] = replace(sent, contribution=by_what[what].id)
            if all(each.contribution is not None for each in found):
                break
        return found

    async def _room(self, most: int) -> Transaction | None:
        """Where more than `most` of those that were sent are not over, wait for half of that, or for a failure."""
        if len(self._sent) - self._ended <= most:
            return None
        if self._world.limits.by_value:
            self._ended = len(self._sent)
            self._tell()
            return None
        clock = self._world.clock
        begun, still = clock.monotonic(), Deadline.after(clock, _STILL_S)
        before = self._ended
        while True:
            found = await self._world.asked(lambda: self._world.controller.transaction(self._transaction, counted=True))
            ended = sum(found.by_status.values()) - found.by_status.get(Status.IN_PROGRESS, 0)
            if found.by_status.get(Status.READ_FAILED, 0):
                ended -= await self._read_again()
            if ended != self._ended:
                self._ended, still = ended, Deadline.after(clock, _STILL_S)
                self._tell()
            if len(self._sent) - ended <= most // 2 or self._hopeless(found):
                self._world.usual_s = clock.monotonic() - begun
                return found
            if still.passed:
                await self._alive()
                still = Deadline.after(clock, _STILL_S)
            waited_s, left = clock.monotonic() - begun, len(self._sent) - ended - most // 2
            rest_s = waited_s * left / (ended - before) if ended > before else self._world.usual_s - waited_s
            await asyncio.sleep(_pause(waited_s, rest_s, last=self._world.ending))

    def _tell(self) -> None:
        planned = self._held.planned
        all_of_it = max(len(planned.contributions), len(self._sent))
        self._world.progress.under_way(self._ended / all_of_it, planned.key, self._bytes)

    @staticmethod
    def _hopeless(found: Transaction | None) -> bool:
        return found is not None and any(found.by_status.get(status, 0) for status in _HOPELESS)

    async def _read_again(self) -> int:
        """Have those read again that could not be read, at the same worker, so often; how many are under way."""
        world = self._world
        there = await world.asked(lambda: world.controller.transaction(self._transaction, contributions=True))
        ours = {each.contribution: each for each in self._sent.values()}
        again = 0
        for each in there.contributions:
            sent = ours.get(each.id)
            tried = self._readings.get(each.id, 0)
            if each.status is not Status.READ_FAILED or sent is None or tried >= world.limits.readings:
                continue
            self._readings[each.id] = tried + 1
            world.progress.says(f"{each.worker} could not read {each.url}, which it is asked to do again: {each.error}")
            await asyncio.sleep(0.1 * 2**tried)
            try:
                await world.told(partial(world.worker(sent.worker_url).retry, each.id))
            except (LostAnswer, Refused):
                continue  # its status will tell
            again += 1
        return again

    async def _alive(self) -> None:
        """Nothing has moved for a while: see that the workers answer, or wait for them."""
        for url in sorted({each.worker_url for each in self._sent.values()}):
            await self._world.asked(partial(self._world.wire.negotiate, url))


def _pause(waited_s: float, rest_s: float, *, last: bool) -> float:
    """Seconds until it is asked again, where it may take `rest_s` more.

    Each question costs both sides about a millisecond, of machines that have loading to do. Only of the `last`
    transactions it is asked often, since nothing else is loaded meanwhile.
    """
    pause_s = _SHARE_AT_END * waited_s if last else max(min(rest_s / 2, waited_s), _SHARE * waited_s)
    return min(max(pause_s, _LEAST_S), 1.0)


def _spelt(dialect: Dialect) -> LoadDialect:
    return LoadDialect(delimiter=dialect.delimiter, escape=dialect.escape)
