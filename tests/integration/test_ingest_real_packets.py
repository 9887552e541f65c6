"""Real packets through real Kafka into MariaDB and the AlertDB, and back: the very bytes, and the values they say."""

from __future__ import annotations

import io
import json
import math
import struct
from pathlib import Path
from typing import Any

import fastavro
import pytest
from astropy import units as u
from astropy.time import Time, TimeDelta
from doubles.called import call
from doubles.ingest_live import once, rows
from doubles.ingest_run import IngestRun, Sent

from stream.codec.sources import open_schemas
from stream.local import LocalKafka
from stream.survey import FLAG_BITS
from stream.transport.embedded import EmbeddedBroker

HEADERS = (("visit", b"7"), ("note", None), ("note", b"\xff\x00"))
STORES = {"lsst": 4, "ztf": 24}


def files(shared_data: Path, survey: str) -> list[Path]:
    found = [path for path in sorted((shared_data / survey).iterdir()) if path.suffix in (".wire", ".avro")]
    assert len(found) == STORES[survey]
    return found


def decoded(survey: str, message: bytes) -> dict[str, Any]:
    if survey == "lsst":
        (schema_id,) = struct.unpack(">i", message[1:5])
        schema = fastavro.parse_schema(json.loads(open_schemas(None).get(schema_id).text))
        return fastavro.schemaless_reader(io.BytesIO(message[5:]), schema, None)  # type: ignore[return-value]
    (record,) = fastavro.reader(io.BytesIO(message))
    return record  # type: ignore[return-value]


def lsst_row(packet: dict[str, Any]) -> dict[str, Any]:
    """What Level-1 should say of an LSST packet, by hand."""
    source = packet["diaSource"]
    same = "diaSourceId visit detector band midpointMjdTai dec raErr decErr psfFlux psfFluxErr apFlux apFluxErr"
    same += " scienceFlux scienceFluxErr snr reliability extendedness timeProcessedMjdTai"
    row = {name: source[name] for name in same.split()}
    row |= {name: source[name] or None for name in ("diaObjectId", "ssObjectId", "parentDiaSourceId")}
    row["ra"] = source["ra"] % 360.0
    day = Time(source["midpointMjdTai"], format="mjd", scale="tai") - TimeDelta(12 * u.hour)
    row["night"] = int(day.isot[:10].replace("-", ""))
    named = {
        "negative": "isNegative", "dipole": "isDipole", "centroid": "centroid_flag", "psfFlux": "psfFlux_flag",
        "apFlux": "apFlux_flag", "shape": "shape_flag", "forcedPsfFlux": "forced_PsfFlux_flag",
        "edge": "pixelFlags_edge", "saturated": "pixelFlags_saturated", "bad": "pixelFlags_bad",
        "cosmicRay": "pixelFlags_cr", "interpolated": "pixelFlags_interpolated", "suspect": "pixelFlags_suspect",
        "streak": "pixelFlags_streak", "noData": "pixelFlags_nodata", "injected": "pixelFlags_injected",
        "injectedTemplate": "pixelFlags_injected_template", "trail": "trail_flag_edge", "glintTrail": "glint_trail",
    }  # fmt: skip
    row["flags"] = sum(1 << FLAG_BITS[name] for name, field in named.items() if source[field])
    return row


def ztf_row(packet: dict[str, Any]) -> dict[str, Any]:
    """What Level-1 should say of a ZTF packet, by hand."""
    one = packet["candidate"]
    start = Time(2450000.5, one["jd"] - 2450000.5, format="jd", scale="utc")
    middle = start.tai + TimeDelta(one["exptime"] / 2 * u.s)
    sign = 1 if one["isdiffpos"] in ("t", "1") else -1
    row = {
        "diaSourceId": one["candid"], "objectName": packet["objectId"], "visit": one["pid"] // 10000,
        "ssObjectName": None if one["ssnamenr"] == "null" else one["ssnamenr"],
        "detector": one["pid"] // 100 % 100, "band": " gri"[one["fid"]], "midpointMjdTai": middle.mjd,
        "ra": one["ra"], "dec": one["dec"], "snr": one["scorr"], "flags": int(sign < 0),
        "reliability": one["rb"] if one["drb"] is None else one["drb"],
        "night": int((middle.utc - TimeDelta(20 * u.hour)).isot[:10].replace("-", "")),
        "psfFlux": sign * 10 ** ((31.4 - one["magpsf"]) / 2.5), "apFlux": sign * 10 ** ((31.4 - one["magap"]) / 2.5),
    }  # fmt: skip
    row["psfFluxErr"] = abs(row["psfFlux"]) * one["sigmapsf"] * math.log(10) / 2.5
    row["apFluxErr"] = abs(row["apFlux"]) * one["sigmagap"] * math.log(10) / 2.5
    return row | dict.fromkeys(("diaObjectId", "raErr", "decErr", "scienceFlux", "extendedness"))


BY_HAND = {"lsst": lsst_row, "ztf": ztf_row}


async def check_rows(url: str, survey: str, messages: dict[int, bytes]) -> None:
    found = {row.diaSourceId: row._mapping for row in await rows(url, "SELECT * FROM level1")}
    assert found.keys() == messages.keys()
    for source, message in messages.items():
        for name, value in BY_HAND[survey](decoded(survey, message)).items():
            told = found[source][name]
            if isinstance(value, float):
                assert told == pytest.approx(value, rel=1e-14, abs=2e-11 if "Mjd" in name else 0), name
            else:
                assert told == value, name


@pytest.mark.parametrize("survey", STORES)
async def test_real_packets_come_back_byte_for_byte_and_their_values_are_in_level1(
    survey: str, kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path, shared_data: Path
) -> None:
    kafka.create_topic(topic, 3, {"max.message.bytes": "4194304", "retention.ms": "-1"})
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb", survey)
    await run.migrate()
    paths = files(shared_data, survey)
    sent = run.send(
        Sent(path.read_bytes(), path.name.encode(), HEADERS, 1_772_800_000_000 + k, k % 3)
        for k, path in enumerate(paths)
    )
    assert await once(run) == 0
    names = {int(BY_HAND[survey](decoded(survey, p.read_bytes()))["diaSourceId"]): p for p in paths}
    await check_rows(level1_url, survey, {source: path.read_bytes() for source, path in names.items()})

    folder = tmp_path / "back"
    called = await call(run, "alert", *map(str, names), "--format", "wire", "--output", str(folder))
    assert called.code == 0, called.err
    back = {path.name.partition("-")[0]: path.read_bytes() for path in folder.iterdir()}
    assert back == {str(source): path.read_bytes() for source, path in names.items()}

    found = await rows(level1_url, "SELECT diaSourceId, kafkaPartition, kafkaOffset FROM level1")
    assert {(row.kafkaPartition, row.kafkaOffset): names[row.diaSourceId].name.encode() for row in found} == {
        place: message.key for place, message in sent.items()
    }


async def test_real_packets_through_the_embedded_broker_into_sqlite(tmp_path: Path, shared_data: Path) -> None:
    with EmbeddedBroker() as broker:
        broker.create_topic("alerts", 2)
        run = IngestRun(broker.bootstrap, "alerts", f"sqlite:///{tmp_path}/level1.db", tmp_path / "alertdb", "ztf")
        await run.migrate()
        messages = [path.read_bytes() for path in files(shared_data, "ztf")]
        run.send(Sent(message, partition=k % 2) for k, message in enumerate(messages))
        assert await once(run) == 0
        by_id = {decoded("ztf", message)["candid"]: message for message in messages}
        await check_rows(run.level1, "ztf", by_id)
        (first, *_) = by_id
        called = await call(run, "alert", str(first), "--format", "wire", "--output", str(tmp_path / "one"))
        assert called.code == 0, called.err
        assert (tmp_path / "one").read_bytes() == by_id[first]
