"""The gate: what must hold of a super-transaction before it may be committed.

The service commits whatever it has (qserv.md, 1.7): failed contributions, rows that a ``nan`` turned to 0, a chunk
that is there twice. So every contribution that it names must be one of ours and each of ours must be there once,
FINISHED, with the manifest's rows read and loaded, its bytes, and no warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from consumers.release.load.ledger import Sent
from consumers.release.load.plan import Planned, PlannedTransaction
from consumers.release.service import Contribution, Status, Transaction
from stream.errors import SkyburstError

_CODES = {
    Status.LOAD_FAILED: "release_load_failed",
    Status.READ_FAILED: "release_read_failed",
    Status.CREATE_FAILED: "release_not_started",
    Status.START_FAILED: "release_not_started",
    Status.CANCELLED: "release_not_started",
    Status.IN_PROGRESS: "release_not_ended",
}
_ADVICE = {
    "release_load_failed": "MySQL refused rows: mend the catalogue or the description, and partition again",
    "release_read_failed": "see that every worker can read the file under that URL (--release-url)",
    "release_not_started": "see what the service says, then load again",
    "release_not_ended": "load again",
    "release_rows": "partition again, or see whether the file was cut while it was read",
    "release_warnings": "MySQL changed values: mend the catalogue or the description, and partition again",
    "release_unknown_contribution": "load again: the transaction was aborted",
    "release_file_changed": "partition the table again",
}
_TOLD = 5


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a transaction may not be committed; `code` is an error's."""

    code: str
    text: str


class NotLoaded(SkyburstError):
    """A super-transaction did not pass the gate; nothing of it is in Qserv."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        first = problems[0].code
        said = "; ".join(problem.text for problem in problems[:_TOLD])
        more = f"; and {len(problems) - _TOLD} more" if len(problems) > _TOLD else ""
        super().__init__(first, said + more, _ADVICE[first])
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[type[SkyburstError], tuple[Any, ...]]:
        return NotLoaded, (self.problems,)

    @property
    def unsure(self) -> bool:
        """Whether it is not the data's fault, so that the same may be tried again at once."""
        return all(problem.code in ("release_unknown_contribution", "release_not_ended") for problem in self.problems)


def problems(
    planned: PlannedTransaction, sent: Sequence[Sent], found: Transaction, workers: Sequence[str] | None
) -> list[Problem]:
    """All that speaks against a commit.

    Parameters
    ----------
    planned
        What was to be loaded.
    sent
        What the workers were given, with the ids that they gave.
    found
        The transaction with all its contributions, as the service tells it.
    workers
        Those that must have a regular table; None for a partitioned one.
    """
    return [*_given(planned, sent, workers), *_told(planned, sent, found)]


def _given(planned: PlannedTransaction, sent: Sequence[Sent], workers: Sequence[str] | None) -> Iterator[Problem]:
    given: dict[int, list[str]] = {}
    for each in sent:
        given.setdefault(each.ordinal, []).append(each.worker)
    for ordinal, one in enumerate(planned.contributions):
        have = given.get(ordinal, [])
        wanted = len(workers) if workers is not None else 1
        if len(have) != wanted or (workers is not None and set(have) != set(workers)):
            yield Problem("release_unknown_contribution", f"{one.name} was given to {len(have)} of {wanted} workers")


def _told(planned: PlannedTransaction, sent: Sequence[Sent], found: Transaction) -> Iterator[Problem]:
    ours = {each.contribution: each for each in sent}
    there = {each.id for each in found.contributions}
    for each in sent:
        if each.contribution is None or each.contribution not in there:
            name = planned.contributions[each.ordinal].name
            text = f"{name}: transaction {found.id} does not have the contribution that {each.worker} took"
            yield Problem("release_unknown_contribution", text)
    for contribution in found.contributions:
        mine = ours.get(contribution.id)
        if mine is None:
            text = (
                f"transaction {found.id} has a contribution that is not ours: {contribution.id} to table"
                f" {contribution.table}, chunk {contribution.chunk}, at {contribution.worker} ({contribution.status})"
            )
            yield Problem("release_unknown_contribution", text)
        else:
            yield from _wrong(planned.contributions[mine.ordinal], mine, contribution)


def _wrong(planned: Planned, sent: Sent, found: Contribution) -> Iterator[Problem]:
    where = f"{planned.name} at {found.worker}"
    place = (found.worker, found.table, found.chunk, found.overlap)
    if place != (sent.worker, planned.table, planned.chunk, planned.overlap):
        yield Problem("release_unknown_contribution", f"{where}: contribution {found.id} is another one")
    elif found.status is not Status.FINISHED:
        why = found.error.strip() or f"HTTP {found.http_error}, errno {found.system_error}"
        yield Problem(_CODES[found.status], f"{where}: {found.status}: {why}{_warned(found)}")
    elif not planned.rows == found.rows == found.loaded:
        text = f"{where}: {planned.rows} rows in the manifest, {found.rows} read, {found.loaded} loaded"
        yield Problem("release_rows", text)
    elif found.num_warnings:
        yield Problem("release_warnings", f"{where}: {found.num_warnings} warnings{_warned(found)}")
    elif found.bytes != planned.bytes:
        text = f"{where}: {planned.bytes} bytes in the manifest, {found.bytes} read"
        yield Problem("release_rows", text)


def _warned(found: Contribution) -> str:
    several = [f"{each.get('code')} {each.get('message')}" for each in found.warnings[:3]]
    return f" ({', '.join(several)})" if several else ""
