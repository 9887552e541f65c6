"""The naive way: poll one, decode it whole, write one file, one INSERT and COMMIT. A process of its own."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
import uuid
from functools import cache
from pathlib import Path
from typing import Any

import fastavro
import pymysql
from confluent_kafka import Consumer, TopicPartition

from stream.codec.sources import open_schemas
from tests.bench.drain import Rate
from tests.bench.packets import NIGHT, Packets
from tests.bench.place import Place
from tests.bench.servers import PARTITIONS

_TAKEN = (
    "diaSourceId", "diaObjectId", "visit", "detector", "band", "midpointMjdTai", "ra", "dec", "raErr", "decErr",
    "psfFlux", "psfFluxErr", "apFlux", "apFluxErr", "scienceFlux", "scienceFluxErr", "snr", "reliability",
    "extendedness", "timeProcessedMjdTai",
)  # fmt: skip
_NONE = ("flags", "chunk", "subChunk", "healpix", "segment", "blockOffset", "slot", "stream", "commitId")
"""Columns that Level-1 asks for and that the naive way does not compute."""


def naive(place: Place, packets: Packets, count: int) -> Rate:
    """Run it over the first `count` packets of a topic."""
    mariadb = place.servers.mariadb
    given = {
        "bootstrap": place.bootstrap,
        "topic": place.topic,
        "port": mariadb.port,
        "password": mariadb.password,
        "database": place.database,
        "folder": str(place.folder),
        "count": count,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.naive"], input=json.dumps(given), capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout)
    kept = place.count()
    if kept != count:
        raise RuntimeError(f"the naive way kept {kept} of {count}")
    mean = packets.nbytes / len(packets)
    return Rate(count, int(mean * count), said["seconds"], said["seconds"], said["cpu"])


def main() -> None:
    """Read the settings from stdin, print seconds (first message to last COMMIT) and CPU seconds."""
    given = json.loads(sys.stdin.read())
    folder, schemas = Path(given["folder"]), open_schemas(None)
    schema_of = cache(lambda number: schemas.get(number).parsed)
    names = ("survey", "night", "kafkaPartition", "kafkaOffset", "digest", *_NONE, *_TAKEN)
    sql = f"INSERT INTO level1 ({', '.join(f'`{n}`' for n in names)}) VALUES ({', '.join(['%s'] * len(names))})"
    database = pymysql.connect(
        host="127.0.0.1", port=given["port"], user="skyburst", password=given["password"], database=given["database"]
    )
    consumer = Consumer({"bootstrap.servers": given["bootstrap"], "group.id": uuid.uuid4().hex})
    consumer.assign([TopicPartition(given["topic"], number, 0) for number in range(PARTITIONS)])
    cursor = database.cursor()
    started, cpu = 0.0, 0.0
    count = 0
    while count < given["count"]:
        message = consumer.poll(1.0)
        if message is None or message.error():
            continue
        if not count:
            started, cpu = time.perf_counter(), time.process_time()
        value = message.value() or b""
        schema = schema_of(int.from_bytes(value[1:5], "big"))
        packet: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
        source = packet["diaSource"]
        (folder / f"{source['diaSourceId']}.avro").write_bytes(value)
        row = (1, NIGHT, message.partition(), message.offset(), "0" * 16, *[0] * len(_NONE))
        cursor.execute(sql, row + tuple(source[name] for name in _TAKEN))
        database.commit()
        count += 1
    print(json.dumps({"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}))
    consumer.close()


if __name__ == "__main__":
    main()
