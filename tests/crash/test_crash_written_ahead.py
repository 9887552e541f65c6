"""Daemons killed and frozen while one batch is written ahead of another's transaction."""

from __future__ import annotations

import signal

import pytest
from crash.daemons import Daemon
from crash.story import HASTY_GROUP, PATIENT_GROUP, Story

SMALL = {"batch_bytes": "1048576", "batch_age_s": "0.01"}
"""A backlog makes many batches."""


def struck(story: Story, failpoint: str, action: str, group: dict[str, str]) -> Daemon:
    """A daemon struck at `failpoint` with a backlog before it, in segments that have rows."""
    first = story.daemons.start("first", failpoints=f"{failpoint}={action}@2", **SMALL, **group).joined()
    story.send(1, wait=True)
    story.sender.batch([story.packets.sound(large=True) for _ in range(200)])
    if action == "kill":
        assert first.ended(20) == -signal.SIGKILL
    else:
        first.wait_stopped()
    assert first.fired(failpoint)
    return first


@pytest.mark.parametrize("failpoint", ["before_ahead", "after_ahead"])
def test_a_daemon_killed_beside_its_own_transaction_loses_and_doubles_nothing(story: Story, failpoint: str) -> None:
    struck(story, failpoint, "kill", HASTY_GROUP)
    story.daemons.start("second", **SMALL, **HASTY_GROUP).joined()
    story.caught_up()
    found = story.drained()
    assert found.sound, found


def test_what_was_written_ahead_into_a_segment_that_was_sealed_meanwhile_goes_into_another(story: Story) -> None:
    first = struck(story, "after_ahead", "stop", PATIENT_GROUP)
    story.daemons.start("second", **PATIENT_GROUP).up()
    story.wait_rows(f"SELECT 1 FROM segments WHERE state = 'sealed' AND owner = '{first.id}'")
    commits = story.commits_of(first)
    first.thaw()
    story.caught_up()
    assert story.commits_of(first) > commits
    found = story.drained()
    assert found.sound, found


def test_what_was_written_ahead_of_others_commits_is_dropped(story: Story) -> None:
    first = struck(story, "after_ahead", "stop", HASTY_GROUP)
    story.daemons.start("second", **SMALL, **HASTY_GROUP).joined()
    story.caught_up()
    first.thaw()
    first.wait(lambda: bool(first.lines("reset")), 20, "dropped nothing")
    story.send(20, wait=True)
    found = story.drained()
    assert found.sound, found
