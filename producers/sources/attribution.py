"""Which visit, detector and source a packet is of, as its survey's file reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stream.codec.decoder import Decoder
from stream.codec.lookup import SchemaAway
from stream.codec.sources import SchemaSource
from stream.survey import Survey
from stream.visit import Outgoing, alert_headers


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Of one packet: its time (MJD TAI, days), visit, detector, diaSourceId, and night (YYYYMMDD)."""

    midpoint: float
    visit: int
    detector: int
    source_id: int
    night: int


Attribution = Callable[[Sequence[bytes]], list[Place | None]]
"""The place of each message; None where it cannot be read."""


def attribution_by(survey: Survey, schemas: SchemaSource) -> Attribution:
    """Reads packets as the survey's file says; a message with several alerts has the place of its first.

    What it gives raises `SchemaAway` where the source of schemas does not answer: the order of what is sent, by whose
    numbers a run is resumed, is not to hang on that.
    """
    decoder = Decoder(schemas, survey.paths)

    def attribute(values: Sequence[bytes]) -> list[Place | None]:
        found: list[Place | None] = [None] * len(values)
        checked = decoder.check(values)
        for waiting in checked.waiting:
            if isinstance(waiting.error, SchemaAway):
                raise waiting.error
        for group in checked.groups:
            rows = len(group.message)
            columns, refusals = survey.convert(group.columns, group.buffer, rows)
            refused = {refusal.row for refusal in refusals}
            taken = [
                columns[name].values.tolist()
                for name in ("midpointMjdTai", "visit", "detector", "diaSourceId", "night")
            ]
            for row, message in enumerate(group.message.tolist()):
                if row not in refused and found[message] is None:
                    found[message] = Place(*(column[row] for column in taken))
        return found

    return attribute


def outgoing(value: bytes, place: Place | None) -> Outgoing:
    """The message for a packet, with the headers of its place."""
    headers = () if place is None else alert_headers(place.visit, place.detector, place.source_id)
    return Outgoing(None, value, headers)
