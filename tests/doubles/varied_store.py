"""A small store with everything in it that a store may hold, made by real daemons."""

from __future__ import annotations

import asyncio
import io
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fastavro
from doubles.ingest_run import MJD, NIGHT, IngestRun, Sent, cut, packet, real_packets, sent
from doubles.nursery import Nursery

from stream.local import LocalKafka

FIRST = 1 << 41
REPEATED, CONFLICTING, BAD = FIRST + 3, FIRST + 4, FIRST + 900


@dataclass(slots=True)
class VariedStore:
    """Two topics of two surveys in one database and one folder, taken in by several daemons.

    The LSST topic has two partitions, two nights, two schema ids, repeats, a conflict, bad packets and tombstones, a
    commit of tombstones alone among them; the ZTF topic has container files of one record and of several.
    """

    lsst: IngestRun
    ztf: IngestRun

    @classmethod
    async def make(
        cls, kafka: LocalKafka, nursery: Nursery, topic: str, level1: str, folder: Path, data: Path
    ) -> VariedStore:
        """Make it: some 200 messages in four runs."""
        lsst = IngestRun(kafka.bootstrap, topic, level1, folder)
        ztf = IngestRun(kafka.bootstrap, f"{topic}-z", level1, folder, survey="ztf")
        kafka.create_topic(lsst.topic, 2)
        kafka.create_topic(ztf.topic, 1)
        made = cls(lsst, ztf)
        await lsst.migrate()
        first = cls.first(data)
        assert await lsst.ingest_each([first[:50], first[50:], cls.second(), [Sent(None, b"gone", partition=1)]]) == 0
        ztf.send(Sent(value) for value in containers(data))
        assert await ztf.ingest() == 0
        await made.leave_open(nursery)
        return made

    async def leave_open(self, nursery: Nursery, first: int = FIRST + 700) -> None:
        """A daemon that is killed before it seals: it leaves open segments behind, with ids from `first` on."""
        messages = [sent(first + n, partition=n % 2, stamp=b"open") for n in range(20)]
        self.lsst.send([*messages, cut(sent(first + 99))])
        fired = self.lsst.alertdb.with_name(f"fired-{first}")
        log = fired.with_suffix(".log")
        daemon = self.lsst.start(nursery, log, "--until-idle-s", "0.2", failpoints="before_seal=kill", fired=fired)
        assert await asyncio.to_thread(daemon.wait, 60) == -signal.SIGKILL
        assert fired.read_text().split()[1:] == ["before_seal", "kill"]

    @staticmethod
    def first(data: Path) -> list[Sent]:
        """Real packets, made-up ones of two nights and schemas, bad ones."""
        alerts = [
            sent(
                FIRST + n,
                partition=n % 2,
                visit=NIGHT * 100_000 + n % 3,
                detector=n % 4,
                mjd=MJD + n % 2,
                ra=(n * 37.7) % 360,
                dec=-60 + n % 100,
                schema_id=1100 if n % 5 == 0 else 1000,
                psfFlux=float(n),
                stamp=bytes(n * 7 for n in range(30)) * 200,
            )
            for n in range(100)
        ]
        bad = [cut(sent(BAD + n, partition=n % 2)) for n in range(3)]
        again = [sent(REPEATED, partition=1, stamp=b"x"), sent(REPEATED, partition=0, stamp=b"x")]
        return [Sent(value) for value in real_packets(data)] + alerts + bad + again + [Sent(None, b"gone")]

    @staticmethod
    def second() -> list[Sent]:
        """The same ids once more, alike and not, and another bad one."""
        one = sent(CONFLICTING, partition=0, stamp=b"one", psfFlux=1.0)
        alerts = [sent(FIRST + 500 + n, partition=n % 2) for n in range(40)]
        return [
            one,
            one,
            replace(one, partition=1),
            sent(CONFLICTING, partition=1, stamp=b"two"),
            *alerts,
            cut(sent(BAD + 9)),
            Sent(packet(BAD + 10, dec=99.0)),
            Sent(b"\x01nothing that anybody knows", headers=(("visit", b"7"), ("odd", None))),
        ]


def containers(data: Path) -> list[bytes]:
    """Real ZTF messages, and container files of two records and of a compressed one made of them."""
    real = real_packets(data, "ztf")
    records: list[Any] = []
    schema: Any = None
    for message in real[:3]:
        reader = fastavro.reader(io.BytesIO(message))
        schema = reader.writer_schema
        records += list(reader)
    for number, record in enumerate(records):
        record["candid"] = record["candidate"]["candid"] = 77_000 + number
    return [*real[:8], *real[-4:], _container(schema, records[:2], "null"), _container(schema, records[2:], "deflate")]


def _container(schema: Any, records: list[Any], codec: str) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, schema, records, codec=codec)
    return out.getvalue()
