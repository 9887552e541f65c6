"""A third survey is a survey file and a schema, no Python: from Kafka to Level-1 and back."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import fastavro
import pytest
from doubles.ingest_live import once, rows
from doubles.ingest_run import IngestRun, Sent

from stream.level1.archive import AlertArchive
from stream.local import LocalKafka

SURVEY = """
name = "nightjar"
topics = ["nightjar.events"]
night_starts = { hours = 6.0, scale = "utc" }
valid_mjd = [60000.0, 62000.0]

[columns]
diaSourceId = { field = "what.serial" }
objectName = { field = "what.star", text = true, none = ["-"] }
visit = { field = "when.frame", div = 100 }
detector = { field = "when.frame", mod = 100 }
band = { field = "when.filter", map = { blue = "g", red = "r" } }
ra = { field = "where.hours", scale = 15 }
dec = { field = "where.height", offset = -90.0 }
midpointMjdTai = { field = "when.microseconds", time = { format = "unix_us", scale = "utc" } }

[columns.psfFlux]
field = "what.brightness"
magnitude = "ab"
sign = { field = "what.rising", positive = [true], negative = [false] }

[flags]
negative = { field = "what.rising", values = [false] }
"""


def group(name: str, *fields: tuple[str, object]) -> dict[str, object]:
    of = [{"name": field, "type": kind} for field, kind in fields]
    return {"name": name, "type": {"type": "record", "name": f"{name}_t", "fields": of}}


SCHEMA = {
    "type": "record",
    "name": "event",
    "fields": [
        group("what", ("serial", "long"), ("star", "string"), ("brightness", "double"), ("rising", "boolean")),
        group("where", ("hours", "double"), ("height", "float")),
        {"name": "trail", "type": {"type": "array", "items": {"type": "map", "values": ["null", "double"]}}},
        group("when", ("frame", "long"), ("filter", {"type": "enum", "name": "f", "symbols": ["red", "blue"]}),
              ("microseconds", "long")),
    ],
}  # fmt: skip


def event(serial: int, **changes: object) -> bytes:
    record = {
        "what": {"serial": serial, "star": "-", "brightness": 20.0, "rising": serial % 2 == 0},
        "where": {"hours": 12.5, "height": 100.0},
        "trail": [{"a": 1.0, "b": None}] * (serial % 5),
        "when": {"frame": 123407, "filter": "blue", "microseconds": 1_700_000_000_000_000},
    }
    for name, value in changes.items():
        next(part for part in record.values() if isinstance(part, dict) and name in part)[name] = value
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(SCHEMA), record)
    return b"\0" + (7).to_bytes(4, "big") + out.getvalue()


async def test_an_invented_survey_goes_from_kafka_to_level1_and_back(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    kafka.create_topic(topic, 2)
    (tmp_path / "nightjar.toml").write_text(SURVEY)
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas/7.avsc").write_text(json.dumps(SCHEMA))
    run = IngestRun(
        kafka.bootstrap, topic, level1_url, tmp_path / "db", str(tmp_path / "nightjar.toml"), str(tmp_path / "schemas")
    )
    await run.migrate()
    messages = {serial: event(serial) for serial in range(1, 31)}
    messages[31] = event(31, star="V838", filter="red")
    bad = [event(40, microseconds=0), event(41, height=200.0), messages[30][:-1]]
    run.send(Sent(value, partition=k % 2) for k, value in enumerate([*messages.values(), *bad]))
    assert await once(run) == 0

    found = {row.diaSourceId: row for row in await rows(level1_url, "SELECT * FROM level1")}
    assert found.keys() == messages.keys()
    for serial, row in found.items():
        assert (row.visit, row.detector, row.night, row.ra, row.dec) == (1234, 7, 20231114, 187.5, 10.0)
        assert row.midpointMjdTai == pytest.approx(60262 + (80000 + 37) / 86400, rel=0, abs=1e-10)
        assert row.psfFlux == pytest.approx((1 if serial % 2 == 0 else -1) * 10**4.56, rel=1e-12)
        assert (row.objectName, row.band) == (("V838", "r") if serial == 31 else (None, "g"))
        assert row.flags == serial % 2 and not math.isnan(row.healpix)
    codes = [row.code for row in await rows(level1_url, "SELECT code FROM quarantine ORDER BY code")]
    assert codes == ["bad_position", "bad_time", "truncated"]
    (name,) = await rows(level1_url, "SELECT name FROM surveys")
    with AlertArchive(level1_url, str(run.alertdb), name[0]) as archive:
        assert {serial: archive.message(serial).value for serial in messages} == messages
