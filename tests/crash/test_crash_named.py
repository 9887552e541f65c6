"""Named cases with real processes: rebalances, servers that go away, a full disk, an orderly end."""

from __future__ import annotations

import resource
from random import Random

import pytest
from crash.daemons import Daemon, Daemons, daemons_on
from crash.servers import Field, ends_of
from crash.story import Story

from stream.local.process import wait_until


def until_not_ready(daemon: Daemon, reason: str) -> None:
    """Wait until readiness is false for this reason; the daemon lives on."""
    daemon.wait(lambda: reason in daemon.ready()[1], 20, f"was not unready for {reason}")
    assert not daemon.ready()[0]


def until_ready(daemon: Daemon) -> None:
    """Wait until nothing holds against readiness."""
    assert wait_until(lambda: daemon.ready()[0], 20, every_s=0.1), daemon.ready()[1]


@pytest.mark.parametrize("deadline", ["within", pytest.param("past", marks=pytest.mark.long)])
def test_a_rebalance_while_a_batch_is_compressed_loses_and_doubles_nothing(story: Story, deadline: str) -> None:
    """Within the revoke's deadline the batch is committed; past it, it is dropped."""
    seconds, interval = ("0.05", "25000") if deadline == "within" else ("0.5", "2000")
    entry = (f"slow-compress={seconds}",)
    first = story.daemons.start("first", entry=entry, max_poll_interval_ms=interval, compress_threads="1").joined()
    story.send(60)
    first.wait(lambda: story.commits_of(first) > 0, 20, "has committed nothing")
    story.sender.batch([story.packets.sound(large=True) for _ in range(60)])
    second = story.daemons.start("second").joined()
    story.caught_up()
    assert bool(first.lines("revoke_deadline")) == (deadline == "past"), first.last()
    assert wait_until(lambda: story.send(40, wait=True) or story.commits_of(second) > 0, 60), "the second has none"
    found = story.drained()
    assert found.sound, found


def test_a_database_killed_inside_the_transaction_is_waited_for(story: Story) -> None:
    daemon = story.daemons.start("one", failpoints="after_rows=stop@2").joined()
    story.send(1, wait=True)
    story.send(60)
    daemon.wait_stopped()
    story.field.servers.mariadb.kill()
    daemon.thaw()
    until_not_ready(daemon, "level1_away")
    story.field.servers.mariadb.start()
    story.caught_up()
    until_ready(daemon)
    found = story.drained()
    assert found.sound, found


def test_a_broker_that_goes_away_is_waited_for(story: Story) -> None:
    daemon = story.daemons.start("one").joined()
    story.send(60, wait=True)
    story.field.servers.kafka.kill()
    until_not_ready(daemon, "broker_away")
    story.field.servers.kafka.start()
    story.send(60, wait=True)
    until_ready(daemon)
    found = story.drained()
    assert found.sound, found


def test_a_full_disk_is_waited_for(story: Story) -> None:
    """A limit on file sizes cuts a write short and then refuses it, as a full disk does."""
    daemon = story.daemons.start("one", segment_bytes=str(64 << 20)).joined()
    story.send(20, wait=True)
    _, most = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (400_000, most))
    before = story.field.committed()
    story.sender.batch([story.packets.sound(large=True) for _ in range(60)])
    until_not_ready(daemon, "disk_full")
    assert not story.field.reached(ends_of(story.sender.acknowledged))
    assert story.field.reached(before)
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (most, most))
    story.caught_up()
    until_ready(daemon)
    found = story.drained()
    assert found.sound, found


def test_sigterm_drains_and_seals_and_the_next_start_goes_on(field: Field, chance: Random, story: Story) -> None:
    """The very command, started as anybody would."""
    with daemons_on(field, None) as real:
        daemon = real.start("real").joined()
        for _ in range(5):
            story.send(100)
        daemon.wait(lambda: story.commits_of(daemon) > 0, 20, "has committed nothing")
        assert daemon.drain() == 0, daemon.last()
    assert daemon.lines("stopped")[0]["drained"], daemon.last()
    assert not field.rows("SELECT 1 FROM segments WHERE state = 'open'")
    story.daemons.start("next").joined()
    story.caught_up()
    found = story.drained()
    assert found.sound, found


def test_on_sqlite_a_second_daemon_is_refused(field: Field, daemons: Daemons) -> None:
    from stream.tables.lock import only_daemon

    url = f"sqlite:///{field.folder}/level1.db"
    with only_daemon(url):
        second = daemons.start("second", SKYBURST_LEVEL1=url)
        assert second.ended(within_s=20) != 0
    assert "SQLite serves one daemon" in second.last(), second.last()
