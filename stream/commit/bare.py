"""What a commit leaves in the files that moves the ledger without a packet: an index batch of no rows."""

from __future__ import annotations

import numpy as np

from stream.alertdb import quarantine
from stream.alertdb.blocks import Placed
from stream.alertdb.header import SegmentKey
from stream.alertdb.index import empty_batch
from stream.commit.batch import SegmentWork
from stream.survey import Survey

_UNIX_EPOCH_MJD = 40587.0
_TAI_MINUS_UTC_S = 37.0
_LAST_MS = 253_402_000_000_000
"""Some days before the year 10000, as what counts microseconds looks."""


def night_at(survey: Survey, unix_s: float) -> int:
    """The night (YYYYMMDD) of an instant, in seconds since 1970-01-01 UTC."""
    mjd = _UNIX_EPOCH_MJD + (unix_s + _TAI_MINUS_UTC_S) / 86400.0
    return int(survey.night_of(np.array([mjd]))[0])


def stamped_night(survey: Survey, timestamp_ms: int) -> int | None:
    """The night of a Kafka timestamp (ms since 1970 UTC); None where it has none: it is negative, or in no calendar."""
    if not 0 <= timestamp_ms < _LAST_MS:
        return None
    return night_at(survey, timestamp_ms / 1000.0)


def night_from(night: int, midpoint: float | None, stamped: int | None) -> str:
    """Where the night of a quarantined record is from, as table ``quarantine`` says it.

    Nothing is asked but what the files keep, so that a rebuild says the same: `midpoint`, the alert's own time where
    the night is of it, and the night `stamped_night` of its timestamp. Where the visit's night is that, too, or the
    timestamp says nothing, they could not tell which was asked.
    """
    if midpoint is not None:
        return "alert"
    return "kafka" if stamped is None or night == stamped else "announced"


def bare_work(survey: str, night: int) -> SegmentWork:
    """Work of no rows for the quarantine segment of `night` (YYYYMMDD).

    Holes and tombstones, an accepted gap, an adoption: without it the files would not tell of them, and a rebuild would
    find a gap.
    """
    none = np.zeros(0, np.int64)
    small = none.astype(np.int32)
    return SegmentWork(
        key=SegmentKey(0, survey, night, "", "quarantine"),
        source=None,
        schema_id=None,
        schema_text=quarantine.schema_text(),
        blocks=(),
        rows=empty_batch(),
        placed=Placed(none, small, small, small, np.zeros((0, 16), np.uint8)),
        records=0,
        level1={},
        part=none,
        timestamp=none,
    )
