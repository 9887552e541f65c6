"""What a refused packet says of itself: where it can be read, its own ids and night go before what else tells them."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import fastavro
import numpy as np
from doubles.ingest_run import MJD, NIGHT, packet

from consumers.ingest.aside import put_aside
from consumers.ingest.flat import Flat
from consumers.ingest.pack import aside_share
from consumers.ingest.place import Placer
from stream.alert import Header, Refusal, Stream
from stream.codec.decoder import Decoder
from stream.codec.sources import open_schemas
from stream.commit.batch import Quarantined
from stream.sky import Layout
from stream.survey import load_survey

SURVEY = load_survey("lsst")
SCHEMAS = open_schemas(None)
DECODER = Decoder(SCHEMAS, SURVEY.paths)
VISIT = 2026030500001
STAMP_MS = 1_772_600_000_000
"""A Kafka timestamp two nights before the packets' own time."""
STAMPED = NIGHT - 2, "kafka", None


def headers(visit: int, detector: int, source: int) -> tuple[Header, ...]:
    return (("visit", b"%d" % visit), ("detector", b"%d" % detector), ("diaSourceId", b"%d" % source))


def aside(value: bytes, *said: Header, server: bool = False, announced: dict[int, int] | None = None) -> Quarantined:
    """One message put aside, on its own account or the server's; the index says of it what its row does."""
    one = np.zeros(1, np.int64)
    flat = Flat([None], [said], one + 1, one, one, one + STAMP_MS, {}, np.zeros((0, 2), np.int64))
    checked = DECODER.check([value])
    placed = [Placer(SURVEY, 1, Layout()).place(group, flat, (0,) if server else ()) for group in checked.groups]
    refused = [*checked.refused, *(refusal for each in placed for refusal in each.refused)]
    legible = {message: each for one in placed for message, each in one.legible.items()}
    if server:
        refused = [Refusal(0, "level1_refused", "Out of range")]
    (aside,) = put_aside(
        flat, checked, refused, legible, {1: Stream("c", "t", "i")}, SURVEY, announced or {}, STAMP_MS / 1000
    )
    (record,) = aside.records
    columns = aside_share(aside).level1
    told = (record.visit, record.detector, record.dia_source_id)
    for name, cell in zip(("visit", "detector", "diaSourceId"), told, strict=True):
        assert (None if columns[name].null[0] else columns[name].values[0]) == cell
    midpoint = columns["midpointMjdTai"]
    assert (None if midpoint.null[0] else midpoint.values[0]) == record.midpoint
    return record


def ids(record: Quarantined) -> tuple[int | None, ...]:
    return record.visit, record.detector, record.dia_source_id


def night(record: Quarantined) -> tuple[int, str, float | None]:
    return record.night, record.night_from, record.midpoint


def container(*packets: bytes) -> bytes:
    """A container file of these packets' records."""
    schema: Any = fastavro.parse_schema(json.loads(SCHEMAS.get(1000).text))
    out = io.BytesIO()
    fastavro.writer(out, schema, [fastavro.schemaless_reader(io.BytesIO(p[5:]), schema, None) for p in packets])
    return out.getvalue()


def test_a_packet_that_is_refused_for_a_value_keeps_its_own_ids_without_headers() -> None:
    bad = {"dec": 91.0}, {"ra": math.nan}, {"mjd": 1.0}, {"band": "ultraviolet"}
    for fields in bad:
        assert ids(aside(packet(-5, visit=VISIT, detector=7, **fields))) == (VISIT, 7, -5), fields
    assert ids(aside(packet(6), server=True)) == (VISIT, 7, 6)


def test_an_id_of_the_packet_goes_before_its_header_which_stands_in_where_it_does_not_fit() -> None:
    other = headers(9, 8, 10)
    assert ids(aside(packet(5, dec=91.0), *other)) == (VISIT, 7, 5)
    assert ids(aside(packet(5, detector=40_000), *other)) == (VISIT, 8, 5)
    assert ids(aside(packet(5, detector=40_000))) == (VISIT, None, 5)
    assert ids(aside(packet(5)[:-1], *other)) == (9, 8, 10), "nobody can read it"


def test_alerts_of_one_message_tell_what_they_agree_on() -> None:
    bad, good = packet(5, dec=91.0), packet(6)
    assert ids(aside(container(good, bad))) == (VISIT, 7, None)
    assert ids(aside(container(good, bad), *headers(9, 8, 10))) == (VISIT, 7, 10)
    assert ids(aside(container(bad, packet(5, visit=4)))) == (None, 7, 5)
    assert ids(aside(container(bad, packet(5, detector=40_000)))) == (VISIT, 7, 5)


def test_a_header_may_tell_a_negative_id_and_nothing_that_is_no_number_or_does_not_fit() -> None:
    assert ids(aside(b"no packet", *headers(-(2**63), -(2**15), -5))) == (-(2**63), -(2**15), -5)
    assert ids(aside(b"no packet", *headers(2**63, 2**15, -(2**63) - 1))) == (None, None, None)
    said = (("visit", b"--5"), ("detector", b" 5"), ("diaSourceId", b"5-"))
    assert ids(aside(b"no packet", *said)) == (None, None, None)


def test_a_packet_that_is_refused_for_another_value_than_its_time_keeps_its_own_night() -> None:
    own = NIGHT, "alert", MJD
    assert night(aside(packet(5, dec=91.0))) == night(aside(packet(5), server=True)) == own
    assert night(aside(packet(5, dec=91.0), announced={VISIT: NIGHT - 1})) == own, "before its visit's"
    assert night(aside(packet(5)[:-1])) == STAMPED, "nobody can read it"


def test_a_time_that_cannot_be_true_leaves_the_night_to_the_visit_that_the_packet_names() -> None:
    for mjd in (1.0, math.nan, math.inf, 1e300):
        assert night(aside(packet(5, mjd=mjd))) == STAMPED, mjd
        assert night(aside(packet(5, mjd=mjd), announced={VISIT: NIGHT})) == (NIGHT, "announced", None), mjd


def test_alerts_of_one_message_tell_the_night_that_their_times_agree_on() -> None:
    bad = packet(5, dec=91.0, mjd=MJD + 0.01)
    assert night(aside(container(packet(6), bad))) == (NIGHT, "alert", MJD)
    assert night(aside(container(packet(6, mjd=1.0), bad))) == (NIGHT, "alert", MJD + 0.01)
    assert night(aside(container(packet(6, mjd=MJD + 1), bad))) == STAMPED
