"""A database made again from what killed daemons left in the files."""

from __future__ import annotations

from crash.story import Story
from doubles.nursery import Nursery


def test_lost_segments_in_front_of_all_others_are_missed_where_every_daemon_was_killed(
    story: Story, nursery: Nursery
) -> None:
    field = story.field
    ends = []
    for name in ("first", "second"):
        # So patient that the second leaves the segments of the first as they are.
        daemon = story.daemons.start(name, group=f"{field.name}-{name}", abandoned_s="60").joined()
        story.send(20, wait=True)
        daemon.kill()
        ends.append(field.committed()[0])
    assert field.rows(f"SELECT 1 FROM commit_ranges WHERE kafkaPartition = 0 AND startOffset = {ends[0]}")
    for lost in field.rows(f"SELECT dataName, indexName FROM segments WHERE owner = '{story.daemons.all[0].id}'"):
        for name in lost.values():
            (field.alertdb / name).unlink()
    environment = field.environment() | {"SKYBURST_LEVEL1": f"sqlite:///{field.folder}/new.db"}
    made = nursery.start(["level1", "migrate"], environment, field.folder / "migrate.log")
    assert made.wait(60) == 0, made.said
    done = nursery.start(["level1", "rebuild"], environment, field.folder / "rebuild.log")
    assert done.wait(60) == 1, done.said
    assert f"partition 0: [0, {ends[0]})" in done.said
