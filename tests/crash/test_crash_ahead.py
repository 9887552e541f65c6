"""A ledger that lies ahead of its log, over which daemons and operators are killed: nobody reads on in silence."""

from __future__ import annotations

import signal

from crash.daemons import Daemon
from crash.servers import Field
from crash.story import Story
from doubles.nursery import Nursery

MARKS = "SELECT aheadOf FROM ledger WHERE aheadOf IS NOT NULL"


def lose_two(field: Field) -> int:
    """As if the broker had lost the last two messages of partition 0 that were committed; gives its log's end."""
    end = field.committed()[0]
    with field.cursor() as cursor:
        cursor.execute(f"UPDATE ledger SET next = {end + 2} WHERE kafkaPartition = 0")
        cursor.execute("INSERT INTO commits (commitId, daemon, committedAt, records) VALUES (77, '', 0, 0)")
        cursor.execute(f"INSERT INTO commit_ranges VALUES (77, 1, 0, {end}, {end + 2}, 0, 0)")
    return end


def until_held(daemon: Daemon) -> None:
    daemon.wait(lambda: bool(daemon.lines("partition_held")), 20, "holds nothing")
    assert [line["code"] for line in daemon.lines("partition_held")] == ["ledger_ahead"]


def adoption(story: Story, nursery: Nursery, at: int, failpoint: str) -> None:
    """An adoption by an operator, which is killed there."""
    environment = story.field.environment() | {"SKYBURST_FAILPOINTS": f"{failpoint}=kill"}
    log = story.field.folder / f"adopt-{failpoint}.log"
    done = nursery.start(["ledger", "adopt", story.field.name, "--at", str(at)], environment, log)
    assert done.wait(30) == -signal.SIGKILL, done.said


def test_a_place_ahead_of_its_log_is_held_until_an_adoption_stands_whoever_is_killed(
    story: Story, nursery: Nursery
) -> None:
    field, start = story.field, story.daemons.start
    first = start("first").joined()
    story.send(20, wait=True)
    assert first.drain() == 0
    end = lose_two(field)
    second = start("second", group=f"{field.name}-2")
    until_held(second)
    story.wait_rows(MARKS)
    second.kill()
    story.send(40)
    third = start("third", group=f"{field.name}-3")
    until_held(third)

    adoption(story, nursery, end, "before_commit")
    assert field.rows(MARKS) == [{"aheadOf": end}]
    assert "ledger_ahead" in third.ready()[1]

    adoption(story, nursery, end, "after_commit")
    assert not field.rows(MARKS)
    story.caught_up()
    assert field.rows("SELECT COUNT(*) AS n FROM level1") == [{"n": 60}]
    third.wait(lambda: third.ready()[0], 20, "is not ready")
    assert third.drain() == 0
