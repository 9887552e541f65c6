"""Putting aside: what is still known of a record that cannot be taken, and its place in the quarantine segment."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from xxhash import xxh3_128_digest

from consumers.ingest.flat import Flat
from consumers.ingest.legible import Legible, fitting
from stream.alert import Header, RecordId, Refusal, Stream
from stream.alertdb import quarantine
from stream.alertdb.blocks import BlockPlan
from stream.alertdb.header import SegmentKey
from stream.codec.decoder import Checked
from stream.commit.bare import night_at, night_from, stamped_night
from stream.commit.batch import Quarantined
from stream.survey import Survey
from stream.visit import is_night

_NO_FINGERPRINT = ""
_DECIMAL = re.compile(rb"-?[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Aside:
    """The quarantined records of one night, planned into blocks."""

    key: SegmentKey
    plan: BlockPlan
    message: tuple[int, ...]
    records: tuple[Quarantined, ...]


def put_aside(
    flat: Flat,
    checked: Checked,
    refused: Sequence[Refusal],
    legible: Mapping[int, Legible],
    streams: Mapping[int, Stream],
    survey: Survey,
    announced: Mapping[int, int],
    now: float,
) -> list[Aside]:
    """Plan the refused messages of a batch (`Refusal.row` is the message) by night; `announced` gives each visit's.

    What is `legible` of a message goes before what its headers say. Where neither it nor
    its visit nor its timestamp tells a record's night, it takes that of `now` (s since 1970 UTC).
    """
    nights: defaultdict[int, list[tuple[bytes, int, Quarantined]]] = defaultdict(list)
    for refusal in sorted(refused, key=lambda r: r.row):
        value = message_bytes(checked, refusal.row)
        record = _quarantined(flat, value, refusal, legible.get(refusal.row, Legible()), survey, announced, now)
        nights[record.night].append((value, refusal.row, record))
    out = []
    for night, items in sorted(nights.items()):
        datums = quarantine.quarantined([_message(flat, *item, streams) for item in items])
        plan = BlockPlan.of(datums, np.zeros(len(items), np.int64))
        key = quarantine_key(survey.name, night)
        out.append(Aside(key, plan, tuple(item[1] for item in items), tuple(item[2] for item in items)))
    return out


def quarantine_key(survey: str, night: int) -> SegmentKey:
    """The quarantine segment of one night: it takes records of any stream."""
    return SegmentKey(0, survey, night, _NO_FINGERPRINT, "quarantine")


def kafka_night(survey: Survey, timestamp_ms: int) -> int:
    """The night (YYYYMMDD) of a Kafka timestamp, for records whose own night nobody can read."""
    return night_at(survey, timestamp_ms / 1000.0)


def message_bytes(checked: Checked, row: int) -> bytes:
    """One message, whole."""
    messages = checked.messages
    return messages.buffer[messages.starts[row] : messages.ends[row]].tobytes()


def _quarantined(
    flat: Flat,
    value: bytes,
    refusal: Refusal,
    own: Legible,
    survey: Survey,
    announced: Mapping[int, int],
    now: float,
) -> Quarantined:
    row = refusal.row
    headers, timestamp = flat.headers[row], int(flat.timestamp[row])
    visit, stamped = _first(own.visit, _number(headers, "visit")), stamped_night(survey, timestamp)
    told = None if visit is None else announced.get(visit)
    nights = (own.night, told, stamped, night_at(survey, now))
    night = next(n for n in nights if n is not None and is_night(n))
    return Quarantined(
        record=RecordId(int(flat.stream[row]), int(flat.partition[row]), int(flat.offset[row])),
        night=night,
        night_from=night_from(night, own.midpoint, stamped),
        visit=visit,
        detector=_first(own.detector, _number(headers, "detector")),
        dia_source_id=_first(own.dia_source_id, _number(headers, "diaSourceId")),
        code=refusal.code,
        reason=refusal.reason,
        size=len(value),
        schema_id=int.from_bytes(value[1:5], "big", signed=True) if value[:1] == b"\0" and len(value) > 4 else None,
        timestamp=timestamp,
        digest=xxh3_128_digest(value),
        midpoint=own.midpoint,
    )


def _message(
    flat: Flat, value: bytes, row: int, record: Quarantined, streams: Mapping[int, Stream]
) -> quarantine.Quarantined:
    return quarantine.Quarantined(
        source=streams[record.record.stream],
        partition=record.record.partition,
        offset=record.record.offset,
        timestamp=record.timestamp,
        value=value,
        key=flat.keys[row],
        headers=flat.headers[row],
        code=record.code,
        reason=record.reason,
    )


def _number(headers: Sequence[Header], name: str) -> int | None:
    """The ASCII decimal that a producer put into header `name`, where it is one and fits the column of that name."""
    for key, value in headers:
        if key == name and value is not None and _DECIMAL.fullmatch(value):
            number = int(value)
            return number if number in fitting(name) else None
    return None


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
