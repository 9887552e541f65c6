"""A night whose timestamps a topic does not keep is not sent to it unnoticed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from producers.retention import kept_for, need_retention
from producers.sources.opening import Means
from stream.errors import Wrong
from stream.transport.admin import ALERT_SETTINGS, DAY_MS, TopicState
from stream.visit import Visit

NOW = 1_790_000_000.0
WEEK_S = 7 * DAY_MS / 1000


@dataclass(frozen=True)
class Nights:
    """A stored night whose oldest message has this timestamp."""

    stamp: int | None

    def visits(self, night: int) -> Iterator[Visit]:
        raise AssertionError("no packet is read")

    def segments(self, night: int) -> list[tuple[int, int]]:
        raise AssertionError("nobody asks")

    def oldest(self, night: int) -> int | None:
        assert night == 20260305
        return self.stamp


def topic(**settings: str) -> TopicState:
    told = {name.replace("_", "."): value for name, value in settings.items()}
    return TopicState("alerts", "id", 4, 1, {**ALERT_SETTINGS, **told})


def asked(described: TopicState, age_s: float | None, source: str = "alertdb:20260305") -> str | None:
    stamp = None if age_s is None else int((NOW - age_s) * 1000)
    return need_retention(described, ["packets", source], Means(stored=lambda: Nights(stamp)), NOW)


def test_a_night_that_the_broker_would_delete_is_refused_with_what_to_do() -> None:
    with pytest.raises(Wrong, match=r"alertdb:20260305 has messages as old as 2026-09-") as raised:
        asked(topic(), WEEK_S + 1)
    assert raised.value.code == "past_retention"
    assert "alerts keeps them 168 h" in str(raised.value) and "--past-retention" in str(raised.value)


def test_what_is_kept_long_enough_or_has_no_timestamp_is_sent() -> None:
    assert asked(topic(), WEEK_S - 1) is None
    assert asked(topic(), None) is None
    assert asked(topic(), 10 * WEEK_S, "synthetic:visits=1") is None


@pytest.mark.parametrize(
    "settings",
    [
        {"retention_ms": "-1"},
        {"retention_ms": str(100 * 7 * DAY_MS)},
        {"message_timestamp_type": "LogAppendTime"},
        {"cleanup_policy": "compact"},
    ],
    ids=str,
)
def test_topics_that_keep_it_take_it(settings: dict[str, str]) -> None:
    assert asked(topic(**settings), 10 * WEEK_S) is None


def test_a_topic_that_is_compacted_and_deletes_keeps_for_its_retention() -> None:
    assert kept_for(topic(cleanup_policy="compact,delete")) == WEEK_S


def test_a_broker_that_tells_no_settings_is_said_to_be_one() -> None:
    bare = TopicState("alerts", "id", 4, 1, {})
    assert "does not tell" in (asked(bare, 10 * WEEK_S) or "")
    assert asked(bare, 10 * WEEK_S, "packets") is None


def test_a_timestamp_that_is_no_date_is_shown_as_a_number() -> None:
    with pytest.raises(Wrong, match="as old as -9000000000000000 ms"):
        need_retention(topic(), ["alertdb:20260305"], Means(stored=lambda: Nights(-9 * 10**15)), NOW)
