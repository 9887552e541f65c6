"""A store of many commits that moved the ledger without a packet: a file's worth of notes, and next to no data."""

from __future__ import annotations

from pathlib import Path

from stream.alertdb.header import SegmentHeader, SegmentKey
from stream.alertdb.index import empty_batch
from stream.alertdb.local import LocalStore
from stream.alertdb.quarantine import schema_text
from stream.survey import load_survey

OF_A_SEGMENT = 10


def many_commits(folder: Path, count: int, note_bytes: int) -> None:
    """Write `count` commits of one offset each, `OF_A_SEGMENT` a segment, each with a note of about `note_bytes`.

    All segments are sealed but the last, which is open.
    """
    store, survey = LocalStore(folder), load_survey("lsst")
    for first in range(0, count, OF_A_SEGMENT):
        number = first + 1
        segment = store.create(
            SegmentHeader(
                number=number,
                key=SegmentKey(0, survey.name, 20260305, "ab" * 32, "quarantine", b""),
                source=None,
                schema_id=None,
                schema_text=schema_text(),
                survey_digest=survey.digest,
                version="0.1.0",
                instance="ef" * 16,
            )
        )
        for offset in range(first, min(first + OF_A_SEGMENT, count)):
            note = {
                "commit": 1 + offset * 7919 % 1_000_003,
                "daemon": f"daemon {number}",
                "ranges": [[1, 0, offset, offset + 1, 0, 0]],
                "parts": [[number, 0]],
                "reason": f"holes {offset} ".ljust(note_bytes, "."),
                "begins": [[1, 0, 0]] if offset == first else [],
                "survey": 4,
                "streams": {"1": ["cluster", "alerts", "topic-id"]},
                "surveyDigest": survey.digest,
                "at": 1_772_700_000.0 + offset,
            }
            segment.publish(segment.append([], empty_batch(), note))
        if first + OF_A_SEGMENT < count:
            segment.seal()
        else:
            segment.close()
