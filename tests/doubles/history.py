"""A store with a past, made once a run by real daemons: varied, fenced, taken over, re-driven, killed."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from doubles.called import call
from doubles.ingest_run import IngestRun, packet, sent
from doubles.nursery import Nursery
from doubles.varied_store import VariedStore

from stream.codec.sources import open_schemas
from stream.local import LocalKafka, LocalMariadb
from stream.tables.engine import open_reader
from stream.tables.model import metadata

Tables = dict[str, list[dict[str, Any]]]
LATER = 4242
"""The id of a schema that is published after its first packets."""


@dataclass(frozen=True, slots=True)
class History:
    """The store, and its tables. Nobody changes it: tests break copies."""

    run: IngestRun
    tables: Tables


@cache
def history(kafka: LocalKafka, mariadb: LocalMariadb, nursery: Nursery, data: Path) -> History:
    """Make it at the first call: a varied store; two daemons at once, one of which seals for a dead one; a re-drive; a
    commit that was durable and never published, its offsets taken by another; open segments of a killed daemon."""
    home = Path(tempfile.mkdtemp(prefix="history-", dir=mariadb.folder))
    mariadb.create_database("history")
    run = asyncio.run(_made(kafka, mariadb.url("history"), nursery, home, data))
    return History(run, all_rows(run.level1))


def all_rows(url: str) -> Tables:
    """All rows of all tables, in the order of their keys."""
    engine = open_reader(url)
    with engine.connect() as connection:
        rows = {
            name: [
                dict(row._mapping) for row in connection.execute(sa.select(each).order_by(*each.primary_key.columns))
            ]
            for name, each in metadata().tables.items()
        }
    engine.dispose()
    return rows


def killed(run: IngestRun, nursery: Nursery, failpoint: str, fired: Path) -> None:
    """Run a daemon until it is killed at a failpoint."""
    daemon = run.start(nursery, fired.with_suffix(".log"), failpoints=f"{failpoint}=kill", fired=fired)
    assert daemon.wait(60) == -signal.SIGKILL
    assert fired.read_text().split()[1] == failpoint


async def _made(kafka: LocalKafka, url: str, nursery: Nursery, home: Path, data: Path) -> IngestRun:
    folder, topic = home / "alertdb", home.name
    made = await VariedStore.make(kafka, nursery, topic, url, folder, data)
    run = made.lsst
    run.send(sent((1 << 42) + n, partition=n % 2) for n in range(60))
    quick = {"heartbeat_s": 0.1, "abandoned_s": 1.0, "sweep_after_s": 1.0, "until_idle_s": 2.0}
    assert await asyncio.gather(run.ingest(**quick), run.ingest(**quick)) == [0, 0]
    await _redriven(kafka, f"{topic}-later", url, folder)
    run.send(sent((1 << 43) + n, partition=n % 2) for n in range(20))
    await asyncio.to_thread(killed, run, nursery, "after_sync", home / "fired")
    assert await run.ingest() == 0
    await made.leave_open(nursery, 1 << 45)
    return run


async def _redriven(kafka: LocalKafka, topic: str, url: str, folder: Path) -> None:
    schemas = folder.with_name("schemas")
    schemas.mkdir()
    (schemas / "1000.avsc").write_text(open_schemas(None).get(1000).text)
    kafka.create_topic(topic)
    run = IngestRun(kafka.bootstrap, topic, url, folder, schemas=str(schemas))
    late = [sent(77 + n, visit=2026030500009) for n in range(3)]
    framed = b"\0" + LATER.to_bytes(4, "big")
    messages = [sent(76), *(replace(m, value=framed + packet(77 + n)[5:]) for n, m in enumerate(late)), sent(81)]
    assert await run.ingest_each([messages], schema_hold_s=0) == 0
    shutil.copy(schemas / "1000.avsc", schemas / f"{LATER}.avsc")
    assert (await call(run, "quarantine", "redrive", "--all", "--json")).json["taken"] == 3
