"""Announced visits are stored once, whoever reads them; they date unreadable packets, and latency counts from them."""

from __future__ import annotations

import time
from pathlib import Path

from doubles.ingest_live import living, once, rows, until
from doubles.ingest_run import MJD, NIGHT, IngestRun, Sent, cut, sent

from stream import metrics
from stream.local import LocalKafka
from stream.transport.announcements import Announcement, DetectorClosed, VisitOpened, encode_announcement
from stream.transport.embedded import EmbeddedBroker

VISIT = 2026030500001


def opened(run: str, ago_s: float = 5.0, visit: int = VISIT) -> VisitOpened:
    return VisitOpened("lsst", visit, run, NIGHT, (7, 8), MJD, time.time() - ago_s)


def announce(run: IngestRun, topic: str, *told: Announcement | bytes) -> None:
    values = [one if isinstance(one, bytes) else encode_announcement(one) for one in told]
    IngestRun(run.bootstrap, topic, run.level1, run.alertdb).send([Sent(value) for value in values])


async def test_announcements_repeated_late_or_bad_are_stored_once_by_two_daemons(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    visits = f"{topic}-visits"
    kafka.create_topic(topic, 2)
    kafka.create_topic(visits, 1)
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    await run.migrate()
    first, closed = opened("a"), DetectorClosed("lsst", VISIT, 7, "a", 12)
    announce(run, visits, closed, first, first, b"nonsense", closed, opened("b"), VisitOpened("other", 5, "a", NIGHT))
    run.send([sent(1), sent(2, partition=1)])
    assert await once(run, visits_topic=visits) == 0
    announce(run, visits, first, opened("a", ago_s=500), DetectorClosed("lsst", VISIT, 8, "a", 0))
    assert await once(run, visits_topic=visits) == 0

    names = {row.survey: row.name for row in await rows(level1_url, "SELECT survey, name FROM surveys")}
    found = await rows(level1_url, "SELECT * FROM visits ORDER BY survey, visit, run")
    told = sorted((names[row.survey], row.visit, row.run, row.night, row.detectors) for row in found)
    assert told == [("lsst", VISIT, "a", NIGHT, 2), ("lsst", VISIT, "b", NIGHT, 2), ("other", 5, "a", NIGHT, None)]
    (kept,) = [row for row in found if row.run == "a" and row.visit == VISIT]
    assert (kept.standsForNow, kept.endOfReadout) == (first.standsForNow, MJD)
    closings = await rows(level1_url, "SELECT detector, run, alerts FROM detector_closed ORDER BY detector")
    assert [tuple(row) for row in closings] == [(7, "a", 12), (8, "a", 0)]
    places = await rows(level1_url, "SELECT next FROM ledger WHERE sink = 'visits'")
    assert [row.next for row in places] == [10]
    ranges = await rows(level1_url, "SELECT SUM(records) AS n FROM commit_ranges")
    assert ranges[0].n == 2, "announcements are no part of what the commits tell"


async def test_latency_counts_from_the_newest_announced_instant_and_the_unreadable_take_the_announced_night(
    tmp_path: Path,
) -> None:
    with EmbeddedBroker() as broker:
        broker.create_topic("alerts", 1)
        broker.create_topic("told", 1)
        run = IngestRun(broker.bootstrap, "alerts", f"sqlite:///{tmp_path}/l1.db", tmp_path / "alertdb")
        await run.migrate()
        before = metrics.VISIT_LATENCY.count()
        announce(run, "told", opened("a", ago_s=5000), opened("b", ago_s=20))
        async with living(run, visits_topic="told") as live:
            run.send([sent(k) for k in range(1, 41)])
            await until(lambda: metrics.VISIT_LATENCY.count() == before + 40, "the latency of 40 alerts")
            text = (await live.got("/metrics"))[1]
            run.send([cut(sent(90)), cut(sent(91, visit=4))])

            async def both() -> bool:
                return len(await rows(run.level1, "SELECT * FROM quarantine")) == 2

            await until(both, "both in quarantine")
        assert live.code == 0
    found = {row.visit: row for row in await rows(run.level1, "SELECT visit, night, nightFrom FROM quarantine")}
    assert (found[VISIT].night, found[VISIT].nightFrom) == (NIGHT, "announced")
    assert found[4].nightFrom == "kafka" and found[4].night != NIGHT
    buckets = {
        line.partition('le="')[2].partition('"')[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("skyburst_visit_latency_seconds_bucket")
    }
    assert buckets["60"] - buckets["10"] >= 40, "20 s and what the daemon took"


async def test_without_the_topic_alerts_are_taken_all_the_same(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        broker.create_topic("alerts", 1)
        run = IngestRun(broker.bootstrap, "alerts", f"sqlite:///{tmp_path}/l1.db", tmp_path / "alertdb")
        await run.migrate()
        run.send([sent(1)])
        assert await once(run, visits_topic="nobody-made-this") == 0
    assert len(await rows(run.level1, "SELECT * FROM level1")) == 1


async def test_latency_counts_from_the_end_of_readout_where_no_instant_stands_for_it(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        broker.create_topic("alerts", 1)
        broker.create_topic("told", 1)
        run = IngestRun(broker.bootstrap, "alerts", f"sqlite:///{tmp_path}/l1.db", tmp_path / "alertdb")
        await run.migrate()
        before, summed = metrics.VISIT_LATENCY.count(), latencies()
        ended = 40587.0 + (time.time() - 3000.0 + 37.0) / 86400.0
        announce(run, "told", VisitOpened("lsst", VISIT, "night", NIGHT, (7, 8), ended))
        async with living(run, visits_topic="told"):
            run.send([sent(k) for k in range(1, 41)])
            await until(lambda: metrics.VISIT_LATENCY.count() == before + 40, "the latency of 40 alerts")
    assert 3000.0 <= (latencies() - summed) / 40 < 3060.0


def latencies() -> float:
    """Sum of all latencies of visits so far, seconds."""
    (family,) = metrics.VISIT_LATENCY.collect()
    return sum(sample.value for sample in family.samples if sample.name.endswith("_sum"))
