"""A transaction whose state passes by itself is waited for, and one that takes long is told of."""

from __future__ import annotations

from typing import Any, cast

import pytest

from consumers.release.load import transaction
from consumers.release.load.world import World
from consumers.release.service import Transaction, TransactionState


class Told:
    """A world in which a transaction moves for so many looks; keeps what was said."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.said: list[str] = []
        self.controller = self.progress = self

    async def asked(self, ask: Any) -> Transaction:
        return cast(Transaction, await ask())

    async def transaction(self, number: int) -> Transaction:
        self.looks -= 1
        return at(number, TransactionState.IS_FINISHING if self.looks else TransactionState.FINISHED)

    def says(self, text: str) -> None:
        self.said.append(text)


def at(number: int, state: TransactionState) -> Transaction:
    return Transaction(number, "dr1", state)


@pytest.mark.parametrize(("looks", "words"), [(3, []), (40, ["waiting for transaction 7, which is IS_FINISHING"])])
async def test_what_moves_is_waited_for_and_told_of_once(
    looks: int, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(seconds: float) -> None:
        pass

    monkeypatch.setattr(transaction.asyncio, "sleep", at_once)
    told = Told(looks)
    found = await transaction.settled(cast(World, told), at(7, TransactionState.IS_FINISHING))
    assert found.state is TransactionState.FINISHED
    assert told.said == words
