"""Made-up packets are valid, distinct, as big and as compressible as real ones, and the same for the same seed."""

from __future__ import annotations

import io
import json
import statistics
from itertools import islice
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
import zstandard
from astropy.io import fits

from producers.sources.synthetic import SyntheticVisits
from stream.codec.sources import open_schemas
from stream.errors import Fatal, Wrong
from stream.visit import Outgoing

SCHEMA = fastavro.parse_schema(json.loads(open_schemas(None).get(1000).text))


def _packets(count: int, **arguments: Any) -> list[Outgoing]:
    (visit,) = SyntheticVisits("lsst", alerts=count, **arguments)
    return list(visit.alerts)


def _record(value: bytes) -> dict[str, Any]:
    assert value[:5] == b"\0" + (1000).to_bytes(4, "big")
    datum = io.BytesIO(value[5:])
    record = fastavro.schemaless_reader(datum, SCHEMA, None)
    assert datum.tell() == len(value) - 5 and isinstance(record, dict)
    return record


@pytest.mark.parametrize("size", ["62k", pytest.param("265k", marks=pytest.mark.long), "real"])
def test_synthetic_packets_are_what_fastavro_would_write(size: str) -> None:
    for outgoing in _packets(70, size=size, seed=11):
        record = _record(outgoing.value)
        again = io.BytesIO()
        fastavro.schemaless_writer(again, SCHEMA, record)
        assert again.getvalue() == outgoing.value[5:]


@pytest.mark.parametrize(("size", "low", "high"), [("62k", 60e3, 63e3), ("265k", 255e3, 270e3), ("real", 195e3, 235e3)])
def test_synthetic_packets_have_the_sizes_and_ratios_of_real_ones(size: str, low: float, high: float) -> None:
    values = [outgoing.value for outgoing in _packets(400, size=size, seed=5)]
    assert low < statistics.fmean(map(len, values)) < high
    compressor = zstandard.ZstdCompressor(level=1)
    alone = sum(len(compressor.compress(value)) for value in values) / sum(map(len, values))
    whole = b"".join(values[:60])
    blocks = [whole[at : at + (1 << 20)] for at in range(0, len(whole), 1 << 20)]
    together = sum(len(compressor.compress(block)) for block in blocks) / len(whole)
    assert 0.40 < together < 0.48 and 0.40 < alone < 0.48, (together, alone)


def test_synthetic_real_packets_bracket_the_ratio(shared_data: Path) -> None:
    compressor = zstandard.ZstdCompressor(level=1)
    real = [path.read_bytes() for path in sorted((shared_data / "lsst").glob("*.wire"))]
    made = [outgoing.value for outgoing in _packets(64, size="265k", seed=5)]
    ratios = [sum(len(compressor.compress(one)) for one in some) / sum(map(len, some)) for some in (real, made)]
    assert abs(ratios[0] - ratios[1]) < 0.03, ratios


def test_synthetic_same_seed_same_bytes_and_another_seed_others() -> None:
    first, again = _packets(100, size="62k", seed=7), _packets(100, size="62k", seed=7)
    assert first == again
    other = _packets(100, size="62k", seed=8)
    assert {one.value for one in first}.isdisjoint(one.value for one in other)


def test_synthetic_visits_do_not_depend_on_the_order_in_which_they_are_taken() -> None:
    arguments: dict[str, Any] = {"alerts": 70, "visits": 3, "size": "62k", "seed": 2}
    in_order = [list(visit.alerts) for visit in SyntheticVisits("lsst", **arguments)]
    visits = list(SyntheticVisits("lsst", **arguments))
    mixed = zip(*(visit.alerts for visit in reversed(visits)))
    assert [list(column) for column in zip(*mixed)] == in_order[::-1]


def test_synthetic_every_packet_differs_in_id_position_fluxes_and_cutouts() -> None:
    records = [_record(outgoing.value) for outgoing in _packets(300, size="62k", seed=3)]
    sources = [record["diaSource"] for record in records]
    for name in ("diaSourceId", "ra", "dec", "psfFlux", "apFlux", "x"):
        assert len({source[name] for source in sources}) == len(sources), name
    assert all(record["cutoutTemplate"] is None for record in records)
    for name in ("cutoutDifference", "cutoutScience"):
        assert len({record[name][2880 + 800 : 2880 + 1200] for record in records}) == len(records), name


def test_synthetic_histories_belong_to_their_alert() -> None:
    fixed = 0
    for outgoing in _packets(64, size="real", seed=4):
        record = _record(outgoing.value)
        source = record["diaSource"]
        assert record["diaSourceId"] == source["diaSourceId"]
        if record["diaObject"] is None:
            assert source["diaObjectId"] is None and record["prvDiaSources"] is None
            assert source["ssObjectId"] == record["ssSource"]["ssObjectId"]
            continue
        fixed += 1
        assert record["ssSource"] is None and record["diaObject"]["diaObjectId"] == source["diaObjectId"]
        for past in (record["prvDiaSources"], record["prvDiaForcedSources"]):
            assert all(one["diaObjectId"] == source["diaObjectId"] for one in past)
            assert all(abs(one["ra"] - source["ra"]) < 1e-3 and abs(one["dec"] - source["dec"]) < 1e-3 for one in past)
            times = [one["midpointMjdTai"] for one in past]
            assert times == sorted(times) and all(time < source["midpointMjdTai"] for time in times)
    assert fixed > 50


def test_synthetic_missing_values_are_as_frequent_as_in_real_packets(shared_data: Path) -> None:
    paths = sorted((shared_data / "lsst").glob("*.wire"))
    real = [one for path in paths for one in _record(path.read_bytes())["prvDiaSources"]]
    made = [
        one for outgoing in _packets(20, size="265k", seed=6) for one in _record(outgoing.value)["prvDiaSources"] or []
    ]
    for name in real[0]:
        shares = [np.mean([one[name] is None for one in some]) for some in (real, made)]
        assert abs(shares[0] - shares[1]) < 0.05, (name, shares)


def test_synthetic_cutouts_are_fits_at_the_alerts_position() -> None:
    record = _record(_packets(1, size="real", seed=9)[0].value)
    for name, psf in (("cutoutDifference", 41), ("cutoutScience", 41), ("cutoutTemplate", 55)):
        with fits.open(io.BytesIO(record[name])) as images:
            images.verify("exception")
            assert [image.name for image in images] == ["PRIMARY", "UNCERT", "PSFIMAGE"]
            assert [image.data.shape for image in images] == [(30, 30), (30, 30), (psf, psf)]
            assert images[0].header["CRVAL1"] == pytest.approx(record["diaSource"]["ra"], abs=1e-11)
            assert np.isfinite(images[0].data).all()


def test_synthetic_a_model_that_does_not_fit_the_schema_is_refused(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "schemas" / "synthetic" / "lsst.toml"
    text = shipped.read_text()
    for old, new, named in (
        ("cutoutScience.stamp", "cutoutSky.stamp", "packet.cutoutSky"),
        ('record = "object"', 'record = "objects"', "no records.objects"),
        ("moving = 0.05", "moving = 5.0", "moving"),
        ("exposure = 30.0", "exposure = 30.0\nshutter = 1.0", "telescope.shutter"),
        ('diaSource.record = "source"', "", "packet.diaSource"),
    ):
        path = tmp_path / "wrong.toml"
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(Fatal) as refused:
            SyntheticVisits(path, alerts=1)
        assert refused.value.code == "synthetic_model" and named in refused.value.message


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"size": "9k"}, "unknown_size"),
        ({"visits": -1}, "bad_count"),
        ({"alerts": 2**20 + 1}, "bad_count"),
        ({"first_visit": -1}, "bad_count"),
    ],
)
def test_synthetic_wrong_use_is_said_at_once(arguments: dict[str, Any], code: str) -> None:
    with pytest.raises(Wrong) as refused:
        SyntheticVisits("lsst", **arguments)
    assert refused.value.code == code


def test_synthetic_an_unknown_model_names_those_that_are_shipped() -> None:
    with pytest.raises(Wrong, match="lsst") as refused:
        SyntheticVisits("nosuch")
    assert refused.value.code == "unknown_model"


def test_synthetic_packets_are_made_as_they_are_taken() -> None:
    (visit,) = SyntheticVisits("lsst", alerts=1_000_000, size="62k")
    assert len(list(islice(visit.alerts, 3))) == 3
