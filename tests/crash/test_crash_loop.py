"""Kills and freezes at random over a long stream: afterwards everything is there, once."""

from __future__ import annotations

import time
from random import Random

import pytest
from crash.daemons import Daemons, daemons_on
from crash.loop import Loop, blows
from crash.packets import Packets
from crash.sender import Sender
from crash.servers import Field, Servers, ends_of
from doubles.nursery import Nursery

from stream.commit.failpoints import NAMES


async def play(
    servers: Servers,
    nursery: Nursery,
    chance: Random,
    *,
    packets: int,
    kills: int,
    freezes: int,
    database_restarts: int,
    broker_restarts: int,
    seconds: float,
) -> None:
    """Deal all blows in about `seconds`, send `packets` meanwhile, and count."""
    field = await Field(servers, partitions=6).make()
    sender = Sender(servers.kafka.bootstrap, field.name, Packets(Random(chance.getrandbits(64))).draw)
    began = time.monotonic()
    with daemons_on(field, nursery) as daemons:
        try:
            loop = Loop(field, daemons, chance, blows(chance, kills, freezes))
            sender.begin(packets / seconds)
            loop.run(database_restarts, broker_restarts, seconds / (database_restarts + broker_restarts + 1))
            sender.end(at_least=packets)
            dealt = time.monotonic() - began
            finish(field, daemons, sender)
        finally:
            sender.close()
    verify(field, nursery)
    found = field.count(sender.acknowledged)
    spent = time.monotonic() - began
    print(
        f"{loop.tally}; {len(sender.acknowledged)} packets, {sender.large} large; {dealt:.0f} + {spent - dealt:.0f} s"
    )
    print(f"{found}\n{dict(loop.tally.fired)}, armed and not fired: {loop.tally.missed}")
    assert found.sound, found
    assert loop.tally.fired.keys() == set(NAMES)
    assert loop.tally.kills + loop.tally.freezes >= kills + freezes
    assert sender.large >= packets // 4
    assert len(sender.acknowledged) >= packets


def finish(field: Field, daemons: Daemons, sender: Sender) -> None:
    """Let two daemons that nobody disturbs come to the log's end, and drain."""
    last = [daemons.start(f"last-{name}") for name in "ab"]
    field.wait_reached(ends_of(sender.acknowledged), within_s=90)
    for daemon in last:
        assert daemon.drain() == 0, daemon.last()


def verify(field: Field, nursery: Nursery) -> None:
    """What skyburst itself says of it."""
    done = nursery.start(["verify"], field.environment(), field.folder / "verify.log")
    assert done.wait(120) == 0, done.said


async def test_twenty_two_kills_and_freezes_lose_and_double_nothing(
    servers: Servers, nursery: Nursery, chance: Random
) -> None:
    await play(
        servers,
        nursery,
        chance,
        packets=4000,
        kills=16,
        freezes=6,
        database_restarts=1,
        broker_restarts=1,
        seconds=45.0,
    )


@pytest.mark.long
async def test_a_hundred_kills_and_freezes_lose_and_double_nothing(
    servers: Servers, nursery: Nursery, chance: Random
) -> None:
    await play(
        servers,
        nursery,
        chance,
        packets=22_000,
        kills=74,
        freezes=36,
        database_restarts=6,
        broker_restarts=4,
        seconds=300.0,
    )
