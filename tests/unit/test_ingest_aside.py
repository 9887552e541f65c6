"""The night of a packet that cannot tell its own: its visit's, else its timestamp's, else that of now; always a day."""

from __future__ import annotations

import numpy as np
import pytest

from consumers.ingest.aside import put_aside
from consumers.ingest.flat import Flat
from stream.alert import Header, Refusal, Stream
from stream.codec.decoder import Checked
from stream.codec.messages import Messages
from stream.commit.bare import stamped_night
from stream.survey import load_survey

SURVEY = load_survey("lsst")
NOW, TONIGHT = 1_772_800_000.0, 20260306
VISIT: tuple[Header, ...] = (("visit", b"5"),)


def night_of(timestamp: int, headers: tuple[Header, ...] = (), announced: int | None = None) -> tuple[int, str]:
    """Night and where it is from of one refused message."""
    one = np.zeros(1, np.int64)
    flat = Flat([None], [headers], one + 1, one, one, np.array([timestamp]), {}, np.zeros((0, 2), np.int64))
    checked = Checked(Messages.of([b"bad"]), (), (), ())
    told = {} if announced is None else {5: announced}
    refused = [Refusal(0, "magic", "no frame")]
    (aside,) = put_aside(flat, checked, refused, {}, {1: Stream("c", "t", "i")}, SURVEY, told, NOW)
    (record,) = aside.records
    assert aside.key.night == record.night and record.timestamp == timestamp
    return record.night, record.night_from


@pytest.mark.parametrize("timestamp", [-1, -(2**63), 253_402_300_800_000, 1_772_800_000_000_000, 2**63 - 1])
def test_a_timestamp_of_no_calendar_leaves_a_packet_in_the_night_in_which_it_is_polled(timestamp: int) -> None:
    assert stamped_night(SURVEY, timestamp) is None and stamped_night(load_survey("ztf"), timestamp) is None
    assert night_of(timestamp) == (TONIGHT, "kafka")
    assert night_of(timestamp, VISIT, 20260101) == (20260101, "kafka"), "the files alone tell no more"


def test_an_announced_night_goes_before_the_timestamps_where_it_is_a_day() -> None:
    stamp = int((NOW - 86400) * 1000)
    assert night_of(stamp) == night_of(stamp, VISIT) == (TONIGHT - 1, "kafka")
    assert night_of(stamp, VISIT, 20260101) == (20260101, "announced")
    assert night_of(stamp, VISIT, TONIGHT - 1) == (TONIGHT - 1, "kafka")
    assert night_of(stamp, VISIT, 20261301) == night_of(stamp, VISIT, 0) == (TONIGHT - 1, "kafka")


def test_the_last_timestamp_of_the_calendar_is_a_night() -> None:
    assert stamped_night(SURVEY, 253_401_999_999_999) == 99991228
