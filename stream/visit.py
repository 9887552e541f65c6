"""A visit of the telescope and the alerts that it sends out: what every source of alerts yields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from stream.alert import Header


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message on its way to Kafka.

    Attributes
    ----------
    key
        The Kafka key; None for none.
    value
        The message bytes: a framed packet, or a whole Avro container file.
    headers
        Kafka headers. Producers say ``visit``, ``detector`` and ``diaSourceId`` there, as ASCII decimals, so that
        a packet which nobody can read still has a visit.
    timestamp_ms
        Milliseconds since 1970-01-01 UTC; None lets the producer take the instant of sending.
    """

    key: bytes | None
    value: bytes
    headers: tuple[Header, ...] = ()
    timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Visit:
    """One visit, announced and sent.

    Attributes
    ----------
    visit
        The survey's number of the visit.
    night
        YYYYMMDD, as the survey counts nights.
    detectors
        The detectors expected, in order; empty where the source cannot tell.
    counts
        Alerts of each detector, 0 included; None where they are only known once the alerts have gone by.
    end_of_readout
        End of readout of the visit's last exposure, MJD TAI in days; None where the source cannot tell.
    alerts
        The messages, made as they are taken: they can be taken once.
    """

    visit: int
    night: int
    detectors: tuple[int, ...]
    counts: Mapping[int, int] | None
    end_of_readout: float | None
    alerts: Iterator[Outgoing]

    @property
    def expected(self) -> int | None:
        """How many alerts the visit has, where its counts are known."""
        return None if self.counts is None else sum(self.counts.values())


def is_night(night: int) -> bool:
    """Whether `night` is a calendar day written as YYYYMMDD, from 1900 on: what may name a folder."""
    try:
        return date(night // 10000, night // 100 % 100, night % 100).year >= 1900
    except (ValueError, OverflowError):
        return False


def alert_headers(visit: int, detector: int, source_id: int) -> tuple[Header, ...]:
    """The Kafka headers by which an alert keeps its visit even where its packet cannot be read."""
    return (
        ("visit", b"%d" % visit),
        ("detector", b"%d" % detector),
        ("diaSourceId", b"%d" % source_id),
    )
