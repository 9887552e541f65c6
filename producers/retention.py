"""Whether a topic keeps what is sent with a timestamp of long ago: else the broker soon deletes it, unasked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from producers.sources.opening import NIGHT, Means, night_number
from stream.errors import Wrong
from stream.transport.admin import TopicState

ADVICE = "raise retention.ms of the topic until all is ingested, or give --past-retention"


def need_retention(topic: TopicState, names: Sequence[str], means: Means, now: float) -> str | None:
    """Hold the oldest message of each stored night among `names` against how long `topic` keeps messages.

    Other sources are sent without timestamps, and get the broker's.

    Parameters
    ----------
    now
        Seconds since 1970 UTC.

    Returns
    -------
    str or None
        What should be said where the broker does not tell the topic's settings.

    Raises
    ------
    stream.errors.Wrong
        ``past_retention``: messages would be deleted as soon as they are there, ingested or not.
    """
    nights = [name for name in names if name.startswith(NIGHT)]
    if not nights:
        return None
    if not topic.settings:
        return f"the broker does not tell how long topic {topic.name} keeps messages: those that are older it deletes"
    kept_s = kept_for(topic)
    if kept_s is None:
        return None
    for name in nights:
        oldest = means.nights(name).oldest(night_number(name))
        if oldest is not None and oldest / 1000 < now - kept_s:
            raise _past(topic.name, name, oldest, kept_s)
    return None


def kept_for(topic: TopicState) -> float | None:
    """Seconds from a message's own timestamp for which `topic` keeps it; None where that decides nothing."""
    told = topic.settings
    if told.get("message.timestamp.type") == "LogAppendTime" or "delete" not in told.get("cleanup.policy", "delete"):
        return None
    retention = told.get("retention.ms", "")
    return int(retention) / 1000 if retention.isdigit() else None


def _past(topic: str, name: str, oldest_ms: int, kept_s: float) -> Wrong:
    # A timestamp is whatever the producer said: one that is no date is shown as a number.
    try:
        when = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=oldest_ms)).isoformat(timespec="seconds")
    except OverflowError:
        when = f"{oldest_ms} ms"
    return Wrong(
        "past_retention",
        f"{name} has messages as old as {when}, and topic {topic} keeps them {kept_s / 3600:g} h by their timestamps: "
        "the broker would delete them within minutes, ingested or not",
        ADVICE,
    )
