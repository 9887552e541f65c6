"""Bad packets of every kind: each goes to quarantine whole under its code, and the stream goes on."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

from doubles.called import call
from doubles.ingest_live import execute, living, once, rows, until
from doubles.ingest_run import NIGHT, IngestRun, Sent, cut, packet, sent

from stream import metrics
from stream.level1.archive import AlertArchive
from stream.local import LocalKafka
from stream.transport.embedded import EmbeddedBroker

CAP = 64 << 10


def unframed(value: bytes | None) -> Sent:
    return Sent(value, b"k", (("visit", b"77"), ("detector", b"11"), ("diaSourceId", b"123")), 1_772_800_000_000)


def changed(source: int, **fields: float | str | int) -> Sent:
    return sent(source, **fields)


BAD: dict[str, list[Sent]] = {
    "truncated": [cut(sent(101)), unframed(packet(102)[:60])],
    "magic": [unframed(b"\x01" + packet(103)[1:]), unframed(b"no alert at all"), unframed(b"{}")],
    "trailing_bytes": [unframed(packet(104) + b"\0")],
    "oversized": [unframed(packet(105, stamp=b"s" * CAP))],
    "bad_position": [
        changed(110, dec=90.0001), changed(111, ra=math.inf), changed(112, dec=math.nan),
    ],
    "bad_time": [changed(120, mjd=1480360995.0), changed(121, mjd=math.nan), changed(122, mjd=-math.inf)],
    "schema_unknown": [unframed(b"\0" + (4242).to_bytes(4, "big") + b"x" * 80)],
    "too_long": [changed(130, band="ultraviolet")],
    "out_of_range": [changed(140, detector=40_000)],
}  # fmt: skip


async def test_each_kind_is_quarantined_under_its_code_and_the_good_ones_around_are_kept(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    kafka.create_topic(topic, 1, {"retention.ms": "-1"})
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    await run.migrate()
    messages = [sent(1)]
    for number, each in enumerate(bad for kind in BAD.values() for bad in kind):
        messages += [each, sent(2 + number)]
    good = sum(m.key is not None and int(m.key) < 100 for m in messages if m.key != b"k")
    messages += [unframed(b""), Sent(None, b"gone"), sent(99, psfFlux=math.nan, snr=math.inf)]
    before = {code: metrics.QUARANTINED.value(code=code) for code in BAD}
    assert await run.ingest_each([messages], max_packet_bytes=CAP, schema_hold_s=0.0) == 0
    kept = {(0, offset): message for offset, message in enumerate(messages)}

    found = await rows(level1_url, "SELECT * FROM quarantine ORDER BY kafkaOffset")
    counts = Counter(row.code for row in found)
    empty = next(row.code for row in found if row.bytes == 0)
    assert counts - Counter([empty]) == {code: len(bad) for code, bad in BAD.items()}
    told = {code: metrics.QUARANTINED.value(code=code) - before[code] for code in BAD}
    assert told == {code: len(bad) + (code == empty) for code, bad in BAD.items()}
    for row in found:
        message = kept[0, row.kafkaOffset]
        assert message.value is not None and row.bytes == len(message.value)
        headers = dict(message.headers)
        assert (row.visit, row.diaSourceId) == (int(headers["visit"] or 0), int(headers["diaSourceId"] or 0))
        assert row.detector == (None if headers["detector"] == b"40000" else int(headers["detector"] or 0))
        assert row.state == "held" and row.reason
        own = row.code in ("bad_position", "too_long", "out_of_range")
        assert row.nightFrom == ("alert" if own else "kafka") and (row.night == NIGHT or not own)

    level1 = {row.diaSourceId: row for row in await rows(level1_url, "SELECT * FROM level1")}
    assert len(level1) == good + 1 and (level1[99].psfFlux, level1[99].snr) == (None, None)
    with AlertArchive(level1_url, str(run.alertdb), "lsst") as archive:
        for offset, message in ((row.kafkaOffset, kept[0, row.kafkaOffset]) for row in found):
            source = int(dict(message.headers)["diaSourceId"] or 0)
            back = {archive.fetch_message(place).value for place in archive.places(source)}
            assert message.value in back, offset
    tombstones = await rows(level1_url, "SELECT SUM(tombstones) AS n, SUM(records) AS r FROM commit_ranges")
    assert (tombstones[0].n, tombstones[0].r) == (1, len(kept) - 1)


async def test_what_only_the_server_refuses_is_found_by_halving_and_it_alone_is_quarantined(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    kafka.create_topic(topic, 2, {"retention.ms": "-1"})
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    await run.migrate()
    await execute(level1_url, "ALTER TABLE level1 MODIFY detector TINYINT")
    messages = [sent(k, partition=k % 2, detector=200 if k in (13, 40) else 100) for k in range(1, 61)]
    run.send(messages)
    assert await once(run) == 0
    found = await rows(level1_url, "SELECT diaSourceId, code, reason FROM quarantine ORDER BY diaSourceId")
    assert [row.diaSourceId for row in found] == [13, 40]
    assert {row.code for row in found} == {"level1_refused"} and all("detector" in row.reason for row in found)
    kept = await rows(level1_url, "SELECT diaSourceId FROM level1")
    assert {row.diaSourceId for row in kept} == set(range(1, 61)) - {13, 40}
    ranges = await rows(level1_url, "SELECT SUM(records) AS n FROM commit_ranges")
    assert ranges[0].n == 60


async def test_too_many_bad_packets_stop_polling_until_an_operator_allows_more(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        broker.create_topic("alerts", 1)
        run = IngestRun(broker.bootstrap, "alerts", f"sqlite:///{tmp_path}/l1.db", tmp_path / "alertdb")
        await run.migrate()
        async with living(run, quarantine_allow=3) as live:
            run.send([sent(1), *(cut(sent(10 + k)) for k in range(3))])
            await until(lambda: "quarantine_limit" in live.reasons(), "the limit")
            status, body = await live.got("/readyz")
            assert status == 503 and "skyburst quarantine allow" in body
            run.send([sent(2), cut(sent(20)), sent(3)])
            place = "SELECT next FROM ledger"
            listed = await call(run, "quarantine", "list", "--json")
            assert len(listed.json) == 3, listed.err
            assert (await rows(run.level1, place))[0].next == 4, "nothing is polled while the limit stands"
            assert live.ingest.health.alive()
            called = await call(run, "quarantine", "allow", "5")
            assert called.code == 0, called.err

            async def all_taken() -> bool:
                return (await rows(run.level1, place))[0].next == 7

            await until(all_taken, "what came meanwhile")
            await until(live.ingest.health.ready, "ready again")
        assert live.code == 0
    assert {row.diaSourceId for row in await rows(run.level1, "SELECT diaSourceId FROM level1")} == {1, 2, 3}
    assert len(await rows(run.level1, "SELECT * FROM quarantine")) == 4


async def test_a_partition_of_nothing_but_bad_packets_is_read_to_its_end(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        broker.create_topic("alerts", 2)
        run = IngestRun(broker.bootstrap, "alerts", f"sqlite:///{tmp_path}/l1.db", tmp_path / "alertdb")
        await run.migrate()
        run.send([cut(sent(k, partition=k % 2)) for k in range(1, 300)])
        assert await once(run) == 0
    parts = "SELECT COUNT(*) AS n, SUM(quarantined) AS q, SUM(new) AS a FROM visit_part"
    (row,) = await rows(run.level1, parts)
    assert (row.q, row.a) == (299, 0)
