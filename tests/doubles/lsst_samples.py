"""The sample alerts that the package lsst-alert-packet carries for each schema version, framed as the wire has them."""

from __future__ import annotations

import io
import json
from functools import cache
from importlib import util
from pathlib import Path
from typing import Any

import fastavro
from doubles.ingest_run import MJD, Sent

from stream.codec.sources import open_schemas

VERSIONS = (700, 701, 702, 703, 704, 800, 900, 1000, 1100, 1101)


def schema_text(schema_id: int) -> str:
    """A version's whole schema, major * 100 + minor, as JSON."""
    return open_schemas(None).get(schema_id).text


def framed(schema_id: int, record: Any) -> bytes:
    """A record in the wire's frame."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, _parsed(schema_id), record)
    return b"\0" + schema_id.to_bytes(4, "big") + out.getvalue()


def sample(schema_id: int, source: int, *, mjd: float = MJD, **fields: Any) -> bytes:
    """The version's sample alert under another id, at another time: 7.x samples have one that is no MJD."""
    record = _sample(schema_id)
    more = {"diaSourceId": source, "midpointMjdTai": mjd} | fields
    top = {next(iter(record)): source, "diaSource": record["diaSource"] | more}
    return framed(schema_id, record | top)


def sent_sample(schema_id: int, source: int, partition: int = 0, **fields: Any) -> Sent:
    """The same as a message."""
    return Sent(sample(schema_id, source, **fields), b"%d" % source, partition=partition)


@cache
def _parsed(schema_id: int) -> Any:
    return fastavro.parse_schema(json.loads(schema_text(schema_id)))


@cache
def _sample(schema_id: int) -> Any:
    found = util.find_spec("lsst.alert.packet")
    assert found is not None and found.origin is not None
    folder = Path(found.origin).parent / f"schema/{schema_id // 100}/{schema_id % 100}/sample_data"
    (record,) = fastavro.reader(io.BytesIO((folder / "fakeAlert.avro").read_bytes()))
    return record
