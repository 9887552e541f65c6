"""Verifying while things move: daemons that seal, take over and sweep; a fence that was broken; files that moved."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from doubles.ingest_run import IngestRun, sent
from doubles.nursery import Nursery

from stream.alert import Stream
from stream.alertdb.store import open_store
from stream.audit.broker import Broker
from stream.audit.files import Absent, File, FolderFiles, open_files
from stream.audit.report import Report
from stream.audit.verify import Stores, verify
from stream.cli.verify import survey_files
from stream.clock import SystemClock
from stream.commit.failpoints import Failpoints
from stream.commit.takeover import take_over
from stream.config import Settings
from stream.local import LocalKafka
from stream.tables.engine import open_engine, open_reader
from stream.tables.model import table
from stream.transport.security import Plaintext


def judged(run: IngestRun, files: Any = None, broker: bool = True) -> Report:
    def connect(streams: Mapping[int, Stream]) -> Broker:
        return Broker(run.bootstrap, Plaintext(), streams)

    engine = open_reader(run.level1)
    found = files or open_files(str(run.alertdb))
    try:
        return verify(
            Stores(engine, found, connect if broker else None, survey_files(Settings.load({})), SystemClock())
        )
    finally:
        engine.dispose()


async def made(kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path) -> IngestRun:
    kafka.create_topic(topic, 2)
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    run.alertdb.mkdir()
    await run.migrate()
    return run


async def test_verify_holds_while_daemons_commit_seal_take_over_and_sweep(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    run = await made(kafka, topic, level1_url, tmp_path)
    stamp = bytes(range(256)) * 200
    pieces = [
        [sent((1 << 41) + 100 * piece + n, partition=n % 2, stamp=stamp[piece:]) for n in range(40)]
        for piece in range(5)
    ]
    quick = {"heartbeat_s": 0.1, "abandoned_s": 0.6, "sweep_after_s": 0.6, "segment_bytes": 1 << 20}
    reports: list[Report] = []

    async def seen() -> None:
        """One verify has begun, and come to its end, after this piece was committed."""
        upto = len(reports) + 2
        while len(reports) < upto:
            await asyncio.sleep(0.01)

    ingest = asyncio.ensure_future(
        asyncio.gather(run.ingest_each(pieces, seen, **quick), run.ingest(until_idle_s=3.0, **quick))
    )
    while not ingest.done():
        reports.append(await asyncio.to_thread(judged, run))
        assert reports[-1].sound, reports[-1].listed()
    assert await ingest == [0, 0]
    counted = [report.findings.counts["rows"] for report in reports]
    assert len({count for count in counted if 0 < count < 200}) >= 2, f"it was asked too seldom: {counted}"
    last = judged(run)
    assert last.sound, last.listed()
    assert last.findings.counts["rows"] == last.findings.counts["compared"] == 200


async def test_verify_finds_what_was_published_twice_where_the_fence_was_passed_by(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    run = await made(kafka, topic, level1_url, tmp_path)
    run.send([sent(n, partition=n % 2) for n in range(10)])
    assert await run.ingest() == 0
    engine = open_reader(run.level1)
    with engine.begin() as connection:
        connection.execute(sa.update(table("ledger")).values(next=2))
    engine.dispose()
    assert await run.ingest() == 0
    found = judged(run).findings.found
    assert found[2, "kept_twice"] == 6
    assert found[3, "ranges_overlap"] == 2


class Moving(FolderFiles):
    """A folder in which something happens just before a file is opened for the first time."""

    def __init__(self, root: Path, happens: Any) -> None:
        super().__init__(root)
        self.happens = happens
        self.absent: list[str] = []

    def open(self, name: str) -> File:
        happens, self.happens = self.happens, None
        if happens is not None:
            happens()
        try:
            return super().open(name)
        except Absent:
            self.absent.append(name)
            raise


async def test_verify_reads_the_row_again_where_a_file_has_moved(
    kafka: LocalKafka, nursery: Nursery, topic: str, level1_url: str, tmp_path: Path
) -> None:
    run = await made(kafka, topic, level1_url, tmp_path)
    run.send([sent(n, partition=n % 2) for n in range(10)])
    fired = tmp_path / "fired"
    log = tmp_path / "daemon.log"
    daemon = run.start(nursery, log, "--until-idle-s", "0.2", failpoints="before_seal=kill", fired=fired)
    await asyncio.to_thread(daemon.wait, 60)
    assert fired.exists()

    async def seal() -> None:
        engine, rows = open_engine(run.level1), table("segments")
        async with engine.connect() as connection:
            row = (await connection.execute(sa.select(rows).where(rows.c.state == "open"))).one()
        assert await take_over(engine, open_store(str(run.alertdb)), row, Failpoints()) is not None
        await engine.dispose()

    files = Moving(run.alertdb, lambda: asyncio.run(seal()))
    report = await asyncio.to_thread(judged, run, files)
    assert files.absent, "the row was stale"
    assert report.sound, report.listed()
    assert report.findings.counts["rows"] == 10
