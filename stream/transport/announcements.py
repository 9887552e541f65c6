"""What the topic ``visits`` carries: visit opened, detector closed (``schemas/visit.avsc``, single-object encoding).

The records may come in any order, repeated or late; a second run of a visit does not replace the first.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any

from stream.codec.encode import SingleObjects, encode_single
from stream.codec.schema import WriterSchema
from stream.errors import Poison
from stream.visit import is_night

LARGEST = 1 << 20
"""Bytes of an announcement."""


@dataclass(frozen=True, slots=True)
class VisitOpened:
    """A visit is about to bring alerts.

    Attributes
    ----------
    survey
        Name of the survey.
    run
        Id of the run (a night's stream, or one replay) that announces it.
    night
        YYYYMMDD, as the survey counts nights.
    detectors
        Those expected; none where unknown.
    endOfReadout
        End of readout of the last exposure, MJD TAI in days.
    standsForNow
        The instant of this run that stands for it, from which latency counts: seconds since 1970-01-01 UTC.
    """

    survey: str
    visit: int
    run: str
    night: int
    detectors: tuple[int, ...] = ()
    endOfReadout: float | None = None
    standsForNow: float | None = None


@dataclass(frozen=True, slots=True)
class DetectorClosed:
    """A detector of a visit has so many alerts, 0 included; `ids` are their diaSourceIds, where they are told."""

    survey: str
    visit: int
    detector: int
    run: str
    alerts: int
    ids: tuple[int, ...] | None = None


Announcement = VisitOpened | DetectorClosed
_KINDS: dict[str, type[VisitOpened] | type[DetectorClosed]] = {
    "VisitOpened": VisitOpened,
    "DetectorClosed": DetectorClosed,
}


def encode_announcement(announcement: Announcement) -> bytes:
    """The bytes of a message of the topic ``visits``."""
    fields = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(announcement).items()}
    return encode_single(_schemas()[type(announcement).__name__], fields)


def decode_announcement(message: bytes) -> Announcement:
    """What a message of the topic ``visits`` says.

    Raises
    ------
    stream.errors.Poison
        ``magic``, ``schema_unknown``, ``oversized``, ``truncated``, ``trailing_bytes``, …: no such announcement.
        ``out_of_range``: its night is no day of the calendar.
    """
    if len(message) > LARGEST:
        raise Poison("oversized", f"an announcement of {len(message)} bytes")
    fields = _decoder().decode(message)
    held: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    told = _KINDS["VisitOpened" if "night" in held else "DetectorClosed"](**held)
    if isinstance(told, VisitOpened) and not is_night(told.night):
        raise Poison("out_of_range", f"visit {told.visit} is announced for night {told.night}, which is no day")
    return told


@cache
def _schemas() -> dict[str, WriterSchema]:
    records = json.loads(resources.files("schemas").joinpath("visit.avsc").read_text(encoding="utf-8"))
    return {record["name"]: WriterSchema.of(json.dumps(record), None) for record in records}


@cache
def _decoder() -> SingleObjects:
    return SingleObjects(_schemas().values())
