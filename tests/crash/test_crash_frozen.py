"""Daemons frozen at the worst instants while others go on, then thawed; and the same without either fence."""

from __future__ import annotations

import time

import pytest
from crash.story import HASTY_GROUP, PATIENT_GROUP, Story


def frozen_while_sealed(story: Story, *entry: str) -> None:
    """Frozen between sync and transaction until another daemon has sealed its segment; it keeps its partitions."""
    first = story.daemons.start("first", entry=entry, failpoints="after_sync=stop@2", **PATIENT_GROUP)
    first.joined()
    story.send(1, wait=True)
    story.send(60)
    first.wait_stopped()
    story.daemons.start("second", **PATIENT_GROUP).up()
    story.wait_rows(f"SELECT 1 FROM segments WHERE state = 'sealed' AND owner = '{first.id}'")
    first.thaw()
    story.caught_up()
    assert story.commits_of(first) > 1


def frozen_while_swept(story: Story, *entry: str) -> None:
    """Frozen between sync and its first transaction until another daemon has swept its files; it keeps partitions."""
    first = story.daemons.start("first", entry=entry, failpoints="after_sync=stop@1", **PATIENT_GROUP)
    first.joined()
    story.send(60)
    first.wait_stopped()
    story.daemons.start("second", **PATIENT_GROUP).up()
    story.wait_rows("SELECT 1 FROM segments WHERE state = 'swept'")
    first.thaw()
    story.caught_up()
    assert story.commits_of(first) > 0


def frozen_past_its_session(story: Story, *entry: str) -> None:
    """Frozen between sync and transaction until another daemon has its partitions and has committed its batch."""
    first = story.daemons.start("first", entry=entry, failpoints="after_sync=stop@2", **HASTY_GROUP).joined()
    story.send(1, wait=True)
    story.send(60)
    first.wait_stopped()
    commits = story.commits_of(first)
    story.daemons.start("second", **HASTY_GROUP).joined()
    story.caught_up()
    first.thaw()
    first.wait(lambda: first.lines("fenced") or story.commits_of(first) > commits, 20, "did nothing")
    story.send(10, wait=True)


def test_a_segment_that_was_sealed_for_its_frozen_owner_takes_nothing_more(story: Story) -> None:
    frozen_while_sealed(story)
    found = story.drained()
    assert found.sound, found


def test_without_the_second_fence_what_a_thawed_owner_appends_is_lost(story: Story) -> None:
    frozen_while_sealed(story, "no-segment-fence")
    found = story.count()
    assert found.missing, found


def test_a_file_that_was_swept_before_its_first_transaction_is_never_published(story: Story) -> None:
    frozen_while_swept(story)
    found = story.drained()
    assert found.sound, found


@pytest.mark.long
def test_without_the_second_fence_a_swept_file_is_published_and_lost(story: Story) -> None:
    frozen_while_swept(story, "no-segment-fence")
    found = story.count()
    assert found.missing, found


def test_a_daemon_frozen_past_its_session_commits_nothing_twice(story: Story) -> None:
    frozen_past_its_session(story)
    found = story.drained()
    assert found.sound, found


def test_without_the_first_fence_a_thawed_daemon_commits_twice(story: Story) -> None:
    frozen_past_its_session(story, "no-ledger-fence")
    found = story.count()
    assert found.doubled, found


@pytest.mark.parametrize("failpoint", [pytest.param("after_fence", marks=pytest.mark.long), "before_commit"])
def test_a_daemon_frozen_inside_its_transaction_holds_up_nobody_for_ten_seconds(story: Story, failpoint: str) -> None:
    first = story.daemons.start("first", failpoints=f"{failpoint}=stop@2", **HASTY_GROUP).joined()
    story.send(1, wait=True)
    story.send(100)
    first.wait_stopped()
    story.daemons.start("second", **HASTY_GROUP).joined()
    joined = time.monotonic()
    story.caught_up(within_s=10)
    assert time.monotonic() - joined < 10
    first.thaw()
    first.wait(lambda: bool(first.lines("fenced")), 20, "was not fenced")
    story.send(10, wait=True)
    found = story.drained()
    assert found.sound, found
