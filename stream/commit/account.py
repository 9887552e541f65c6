"""What is told of a commit itself, twice: beside its packets in the files, and in the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from stream.alert import Stream
from stream.commit.batch import Batch, Begin
from stream.commit.identity import Daemon
from stream.tables.model import table

_RANGE = ("stream", "kafkaPartition", "startOffset", "endOffset", "records", "tombstones")
_MOST_REASON = {"commits": 255, "accepted_gaps": 1024}


def for_files(
    batch: Batch,
    commit: int,
    daemon: Daemon,
    *,
    streams: Mapping[int, Stream],
    parts: Sequence[tuple[int, int]],
    begins: Sequence[Begin],
    at: float,
) -> dict[str, object]:
    """The note that each index batch of the commit carries, so that the files alone tell the whole story.

    Parameters
    ----------
    streams
        What the numbers of streams stand for; those of other batches may be among them.
    parts
        Number and records of each segment that the commit appends to.
    begins
        Where places begin of which a segment does not tell yet.
    at
        Seconds since 1970 UTC.
    """
    return {
        "commit": commit,
        "daemon": daemon.id,
        "survey": batch.survey,
        "streams": {
            str(number): [one.cluster, one.topic, one.topic_id]
            for number, one in sorted(streams.items())
            if number in batch.streams
        },
        "ranges": [[r.stream, r.partition, r.start, r.end, r.records, r.tombstones] for r in batch.ranges],
        "parts": [list(part) for part in parts],
        "redriven": [[r.stream, r.partition, r.offset] for r in batch.redriven],
        "accepted": batch.accepted,
        "retired": [[r.stream, r.partition, r.start, r.end] for r in batch.retired],
        "begins": [[b.stream, b.partition, b.next] for b in begins],
        "reason": batch.reason,
        "surveyDigest": batch.survey_digest,
        "at": at,
    }


async def for_tables(connection: AsyncConnection, batch: Batch, commit: int, daemon: Daemon, at: float) -> None:
    """Insert the commit's row, its ranges, and the gaps that it accepts."""
    row = {
        "commitId": commit,
        "daemon": daemon.id,
        "surveyDigest": batch.survey_digest,
        "committedAt": at,
        "records": batch.records,
        "reason": batch.reason[: _MOST_REASON["commits"]] or None,
    }
    await connection.execute(sa.insert(table("commits")), row)
    ranges = [
        dict(zip(_RANGE, (r.stream, r.partition, r.start, r.end, r.records, r.tombstones)), commitId=commit)
        for r in sorted(batch.ranges)
    ]
    if ranges:
        await connection.execute(sa.insert(table("commit_ranges")), ranges)
    if batch.accepted:
        more = {"commitId": commit, "reason": batch.reason[: _MOST_REASON["accepted_gaps"]], "acceptedAt": at}
        gaps = [{name: each[name] for name in _RANGE[:4]} | more for each in ranges]
        await connection.execute(sa.insert(table("accepted_gaps")), gaps)
