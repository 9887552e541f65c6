"""Made-up visits: their numbers, nights and counts, where on the sky their alerts lie, and what the headers say."""

from __future__ import annotations

import io
import json
from collections import Counter
from typing import Any

import fastavro
import numpy as np
import pytest

from producers.sources.synthetic import SyntheticVisits
from stream.codec.sources import open_schemas
from stream.sky import Layout, off_sky
from stream.visit import Visit

SCHEMA = fastavro.parse_schema(json.loads(open_schemas(None).get(1000).text))


def _sources(visit: Visit) -> list[dict[str, Any]]:
    records = [fastavro.schemaless_reader(io.BytesIO(one.value[5:]), SCHEMA, None) for one in visit.alerts]
    return [record["diaSource"] for record in records if isinstance(record, dict)]


def test_synthetic_counts_headers_and_packets_agree() -> None:
    visits = list(SyntheticVisits("lsst", alerts=300, visits=2, size="62k", seed=1))
    ids = set()
    for visit in visits:
        assert visit.detectors == tuple(range(189)) and visit.expected == 300
        outgoing = list(visit.alerts)
        by_header = Counter(int(dict(one.headers)["detector"] or b"") for one in outgoing)
        assert visit.counts == {detector: by_header[detector] for detector in range(189)}
        assert 0 in visit.counts.values()
        for one in outgoing:
            record = fastavro.schemaless_reader(io.BytesIO(one.value[5:]), SCHEMA, None)
            assert isinstance(record, dict)
            source = record["diaSource"]
            assert one.headers == tuple((name, b"%d" % source[name]) for name in ("visit", "detector", "diaSourceId"))
            assert source["visit"] == visit.visit and one.key is None and one.timestamp_ms is None
            ids.add(source["diaSourceId"])
    assert len(ids) == 600


def test_synthetic_visits_follow_the_survey_in_number_night_and_time() -> None:
    visits = list(SyntheticVisits("lsst", alerts=1, visits=3, size="62k"))
    assert [visit.visit for visit in visits] == [2026030500001, 2026030500002, 2026030500003]
    assert {visit.night for visit in visits} == {20260305}
    ends = [visit.end_of_readout for visit in visits]
    assert np.allclose(np.diff(ends) * 86400, 39.0, atol=1e-3)
    (source,) = _sources(visits[0])
    assert (ends[0] - source["midpointMjdTai"]) * 86400 == pytest.approx(17.0, abs=1e-3)


def test_synthetic_first_visit_and_start_can_be_given() -> None:
    (visit,) = SyntheticVisits("lsst", alerts=1, size="62k", first_visit=42, start_mjd=61200.75)
    assert (visit.visit, visit.night) == (42, 20260609)
    (source,) = _sources(visit)
    assert source["visit"] == 42 and source["midpointMjdTai"] == 61200.75


def test_synthetic_a_visits_alerts_lie_in_one_field_and_on_few_chunks() -> None:
    for visit in SyntheticVisits("lsst", alerts=500, visits=3, size="62k", seed=12):
        sources = _sources(visit)
        ra, dec = (np.array([source[name] for source in sources]) for name in ("ra", "dec"))
        assert not off_sky(ra, dec).any()
        x, y, z = (part.mean() for part in _vectors(ra, dec))
        middle = np.array([x, y, z]) / np.linalg.norm([x, y, z])
        apart = np.degrees(np.arccos(np.clip(np.stack(_vectors(ra, dec), axis=1) @ middle, -1, 1)))
        assert 1.4 < apart.max() < 2.1
        chunks, _sub_chunks = Layout().locate(ra, dec)
        assert 20 < len(set(chunks.tolist())) < 80


def _vectors(ra: Any, dec: Any) -> tuple[Any, Any, Any]:
    ra, dec = np.radians(ra), np.radians(dec)
    return np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)


def test_synthetic_a_detectors_alerts_come_together_and_lie_together() -> None:
    (visit,) = SyntheticVisits("lsst", alerts=400, size="62k", seed=13)
    sources = _sources(visit)
    order = [source["detector"] for source in sources]
    assert len([one for one, before in zip(order, [None, *order]) if one != before]) == len(set(order))
    assert order != sorted(order)
    for detector in set(order):
        dec = [source["dec"] for source in sources if source["detector"] == detector]
        assert max(dec) - min(dec) < 0.3


def test_synthetic_without_a_count_a_visit_has_what_its_field_has() -> None:
    visits = list(SyntheticVisits("lsst", alerts=None, visits=30, seed=1))
    assert {visit.expected for visit in visits} == {5100, 32000}


def test_synthetic_no_alerts_and_no_visits_are_possible() -> None:
    (visit,) = SyntheticVisits("lsst", alerts=0)
    assert visit.expected == 0 and list(visit.alerts) == []
    assert list(SyntheticVisits("lsst", visits=0)) == []
