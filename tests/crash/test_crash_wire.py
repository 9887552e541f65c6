"""COMMIT cut off on the wire: whether it stands is found out before anything else is done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from crash.daemons import Daemon
from crash.proxy import Cut, Plan, Proxy
from crash.servers import Field
from crash.story import Story

PUBLISHING = "INSERT INTO commits"
SEALING = "state='sealed'"
CUTS: tuple[Cut, ...] = ("before", "after", "late")


@pytest.fixture
def proxy(field: Field) -> Iterator[Proxy]:
    """Between daemons and MariaDB."""
    made = Proxy(field.servers.mariadb.port)
    yield made
    made.close()


def begin(story: Story, proxy: Proxy, **settings: str) -> Daemon:
    """A daemon behind the proxy that has committed something."""
    url = story.field.url.replace(f":{story.field.servers.mariadb.port}/", f":{proxy.port}/")
    daemon = story.daemons.start("wired", SKYBURST_LEVEL1=url, **settings).joined()
    story.send(1, wait=True)
    return daemon


def until_sealing(story: Story, plan: Plan) -> None:
    """Send until a segment is full and its seal is cut."""
    for _ in range(20):
        story.sender.batch([story.packets.sound(large=True) for _ in range(40)])
        if plan.fired.wait(0.5):
            return
    raise AssertionError(f"no COMMIT to cut {plan.cut}")


def test_a_commit_stands_once_wherever_the_wire_is_cut(story: Story, proxy: Proxy) -> None:
    daemon = begin(story, proxy)
    for cut in CUTS:
        plan = proxy.plan(PUBLISHING, cut)
        story.send(20)
        assert plan.fired.wait(20), f"no COMMIT to cut {cut}"
        story.caught_up()
    found = story.drained()
    assert found.sound, found
    assert daemon.lines("waiting"), "nothing was noticed"
    assert not daemon.lines("fenced"), daemon.last()


def test_a_seal_stands_wherever_the_wire_is_cut(story: Story, proxy: Proxy) -> None:
    begin(story, proxy, segment_bytes=str(1 << 20))
    for cut in CUTS:
        until_sealing(story, proxy.plan(SEALING, cut))
    story.send(20, wait=True)
    found = story.drained()
    assert found.sound, found


@pytest.mark.long
def test_a_daemon_that_is_stopped_while_its_commit_is_unknown_seals_nothing(story: Story, proxy: Proxy) -> None:
    daemon = begin(story, proxy, drain_deadline_s="1", max_poll_interval_ms="5000")
    plan = proxy.plan(PUBLISHING, "silent")
    story.send(20)
    assert plan.fired.wait(20)
    assert daemon.drain(within_s=60) == 1, daemon.last()
    assert daemon.lines("left_open"), daemon.last()
    story.daemons.start("next").joined()
    story.send(20, wait=True)
    found = story.drained()
    assert found.sound, found


@pytest.mark.long
def test_a_daemon_that_is_stopped_while_a_seal_is_unknown_ends_all_the_same(story: Story, proxy: Proxy) -> None:
    daemon = begin(story, proxy, segment_bytes=str(1 << 20))
    until_sealing(story, proxy.plan(SEALING, "silent"))
    story.caught_up()
    daemon.drain(within_s=60)
    assert daemon.lines("left_open"), daemon.last()
    story.daemons.start("next").joined()
    story.send(20, wait=True)
    found = story.drained()
    assert found.sound, found
