"""The two records of the topic ``visits``."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import Poison
from stream.transport.announcements import Announcement, DetectorClosed, VisitOpened
from stream.transport.announcements import decode_announcement as decode
from stream.transport.announcements import encode_announcement as encode

longs, ints = st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1)
nights = st.dates(date(1900, 1, 1)).map(lambda day: day.year * 10000 + day.month * 100 + day.day)
instants = st.none() | st.floats(allow_nan=False)
opened = st.builds(
    VisitOpened, st.text(), longs, st.text(), nights, st.lists(ints).map(tuple), instants, instants
)  # fmt: skip
closed = st.builds(DetectorClosed, st.text(), longs, ints, st.text(), ints, st.none() | st.lists(longs).map(tuple))


@given(opened | closed)
def test_an_announcement_comes_back_as_it_was_sent(announcement: Announcement) -> None:
    assert decode(encode(announcement)) == announcement


@given(opened | closed, st.data())
def test_a_damaged_announcement_is_poison_or_another_announcement(
    announcement: Announcement, data: st.DataObject
) -> None:
    message = bytearray(encode(announcement))
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] ^= data.draw(st.integers(1, 255))
    try:
        assert isinstance(decode(bytes(message)), VisitOpened | DetectorClosed)
    except Poison as error:
        assert error.code


def test_what_is_none_says_why() -> None:
    message = encode(DetectorClosed("lsst", 1, 2, "run", 3))
    for wrong, code in (
        (b"", "magic"),
        (message[:5], "magic"),
        (b"\x00" + message, "magic"),
        (message[:2] + bytes(8) + message[10:], "schema_unknown"),
        (message[:-1], "truncated"),
        (message + b"\x00", "trailing_bytes"),
        (message + bytes(1 << 20), "oversized"),
    ):
        with pytest.raises(Poison) as caught:
            decode(wrong)
        assert caught.value.code == code


def test_the_form_on_the_wire_never_changes() -> None:
    assert encode(VisitOpened("lsst", 5, "r", 20260305, (1,), 0.5, None)).hex() == WIRE


WIRE = "c301c3b80cef3252ded1086c7373740a0272a297a91302020002000000000000e03f00"


@pytest.mark.parametrize("night", [0, -1, 18991231, 20260230, 20261301, 100000101, 2**31 - 1])
def test_a_night_that_is_no_day_is_out_of_range(night: int) -> None:
    with pytest.raises(Poison, match="no day") as poison:
        decode(encode(VisitOpened("lsst", 5, "r", night)))
    assert poison.value.code == "out_of_range"
