"""`skyburst replay` as a process on a real broker: what arrives, what is reported, what a resumed run sends."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from doubles.called import call, call_away
from doubles.ingest_run import IngestRun
from doubles.nursery import Forked, Nursery

from stream.transport.announcements import DetectorClosed, VisitOpened, decode_announcement
from stream.transport.kafka import KafkaSource

MANY = 1200


@pytest.fixture
def packets(tmp_path: Path) -> Path:
    folder = tmp_path / "packets"
    folder.mkdir()
    for number in range(MANY):
        (folder / f"{number:05}.wire").write_bytes(b"packet %d" % number)
    return folder


class Replays:
    """Calls of the command against one broker, with one state folder."""

    def __init__(self, nursery: Nursery, bootstrap: str, topic: str, folder: Path) -> None:
        self._env = {**os.environ, "SKYBURST_BOOTSTRAP": bootstrap, "XDG_STATE_HOME": str(folder / "state")}
        self._nursery = nursery
        self._topic = topic
        self._folder = folder
        self.state = folder / "state" / "skyburst" / "replay"

    def start(self, *arguments: str | Path) -> Forked:
        log = self._folder / f"{uuid.uuid4().hex}.log"
        command = ["replay", "--to", self._topic, "--json", *map(str, arguments)]
        return self._nursery.start(command, self._env, log, out=log.with_suffix(".out"))

    def ended(self, process: Forked, code: int) -> tuple[dict[str, Any], str]:
        """Wait for the end of a call; what it printed on stdout and on stderr."""
        assert process.wait(120) == code, process.said
        out = process.log.with_suffix(".out").read_text()
        return json.loads(out) if out else {}, process.said

    def run(self, *arguments: str | Path, code: int = 0) -> tuple[dict[str, Any], str]:
        return self.ended(self.start(*arguments), code)


@pytest.fixture
def replays(kafka: Any, nursery: Nursery, topic: str, tmp_path: Path) -> Iterator[Replays]:
    kafka.start()
    kafka.create_topic(topic, 3)
    yield Replays(nursery, kafka.bootstrap, topic, tmp_path)
    kafka.start()


def arrived(bootstrap: str, topic: str, partitions: int = 3) -> list[tuple[bytes | None, tuple[Any, ...]]]:
    """Value and headers of everything in a topic."""
    source = KafkaSource(bootstrap, f"look-{topic}-{time.monotonic_ns()}")
    source.subscribe([topic], lambda given: dict.fromkeys(given, 0), lambda _: None, lambda _: None)
    found: list[tuple[bytes | None, tuple[Any, ...]]] = []
    limit = time.monotonic() + 60
    while len(source.ends()) < partitions:
        assert time.monotonic() < limit
        for records in source.poll(1000, 0.2):
            found += zip(records.values, records.headers, strict=True)
    source.close()
    return found


def test_real_packets_arrive_byte_for_byte_and_their_visits_are_announced(
    kafka: Any, replays: Replays, topic: str, shared_data: Path
) -> None:
    visits = f"{topic}-v"
    kafka.create_topic(visits)
    folder = shared_data / "lsst"
    summary, said = replays.run(folder, "--pace", "max", "--survey", "lsst", "--visits-topic", visits)
    files = Counter(path.read_bytes() for path in folder.iterdir())
    found = arrived(kafka.bootstrap, topic)
    assert Counter(value for value, _ in found) == files
    assert (summary["alerts"], summary["acknowledged"], summary["not acknowledged"]) == (4, 4, 0)
    told = [decode_announcement(value or b"") for value, _ in arrived(kafka.bootstrap, visits, 1)]
    opened = {each.visit for each in told if isinstance(each, VisitOpened)}
    closed = {(each.visit, each.detector): each.alerts for each in told if isinstance(each, DetectorClosed)}
    by_headers = Counter((int(dict(h)["visit"]), int(dict(h)["detector"])) for _, h in found)
    assert closed == by_headers
    assert opened == {visit for visit, _ in by_headers}
    assert {each.run for each in told} == {summary["run"]}
    assert f"visit {min(opened)}" in said


def test_a_killed_run_is_resumed_and_nothing_is_missing(
    kafka: Any, replays: Replays, topic: str, packets: Path
) -> None:
    process = replays.start(packets, "--pace", "150")
    wait_for(lambda: acknowledged(replays.state) > 100)
    process.send(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    summary, _ = replays.run(packets, "--pace", "max", "--resume")
    found = Counter(value for value, _ in arrived(kafka.bootstrap, topic))
    assert set(found) == {b"packet %d" % number for number in range(MANY)}
    assert summary["acknowledged before"] > 100
    assert summary["acknowledged before"] + summary["acknowledged"] == MANY
    # Only what was acknowledged after the last receipt, written every second, may come twice.
    assert sum(found.values()) - MANY < 1000
    again, _ = replays.run(packets, "--pace", "max", "--resume")
    assert (again["acknowledged before"], again["sent"]) == (MANY, 0)


def test_a_terminated_run_keeps_its_receipt_and_nothing_comes_twice(
    kafka: Any, replays: Replays, topic: str, packets: Path
) -> None:
    process = replays.start(packets, "--pace", "150")
    wait_for(lambda: acknowledged(replays.state) > 50)
    process.send(signal.SIGTERM)
    stopped, err = replays.ended(process, 130)
    assert "--resume" in err
    assert 50 < stopped["acknowledged"] < MANY
    replays.run(packets, "--pace", "max", "--resume", "--run", stopped["run"])
    found = Counter(value for value, _ in arrived(kafka.bootstrap, topic))
    assert found == Counter({b"packet %d" % number: 1 for number in range(MANY)})


def test_a_broker_killed_under_way_delays_and_neither_loses_nor_doubles(
    kafka: Any, replays: Replays, topic: str, packets: Path
) -> None:
    process = replays.start(packets, "--pace", "400")
    wait_for(lambda: acknowledged(replays.state) > 50)
    kafka.kill()
    kafka.start()
    summary, _ = replays.ended(process, 0)
    assert summary["acknowledged"] == MANY
    found = Counter(value for value, _ in arrived(kafka.bootstrap, topic))
    assert found == Counter({b"packet %d" % number: 1 for number in range(MANY)})


def test_a_message_too_large_for_the_topic_is_named_and_kept(
    kafka: Any, nursery: Nursery, topic: str, tmp_path: Path, packets: Path
) -> None:
    kafka.create_topic(topic, 1, {"max.message.bytes": "2000"})
    few = tmp_path / "few"
    few.mkdir()
    (few / "a.wire").write_bytes(b"small")
    (few / "b.wire").write_bytes(os.urandom(5000))
    replays = Replays(nursery, kafka.bootstrap, topic, tmp_path)
    summary, err = replays.run(few, "--pace", "max", "--state", tmp_path / "kept", code=1)
    assert (summary["acknowledged"], summary["not acknowledged"]) == (1, 1)
    assert "--resume" in err
    (line,) = (tmp_path / "kept" / f"{summary['run']}.unacknowledged.jsonl").read_text().splitlines()
    assert (json.loads(line)["number"], json.loads(line)["code"], json.loads(line)["bytes"]) == (1, "too_large", 5000)
    (few / "b.wire").write_bytes(b"mended")
    _, changed = replays.run(few, "--pace", "max", "--state", tmp_path / "kept", "--resume", code=2)
    assert "not the one" in changed


def test_a_run_does_not_go_on_into_a_topic_that_was_made_again(
    kafka: Any, replays: Replays, topic: str, tmp_path: Path
) -> None:
    (tmp_path / "a.wire").write_bytes(b"one")
    replays.run(tmp_path / "a.wire", "--pace", "max")
    again, _ = replays.run(tmp_path / "a.wire", "--pace", "max", "--resume")
    assert (again["acknowledged before"], again["sent"]) == (1, 0)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.delete_topics([topic], operation_timeout=30)[topic].result(30)
    kafka.create_topic(topic, 3)
    _, said = replays.run(tmp_path / "a.wire", "--pace", "max", "--resume", code=2)
    assert "was made again" in said
    assert arrived(kafka.bootstrap, topic) == []


async def test_a_topic_that_is_not_there_and_a_broker_that_is_away_are_told_apart(
    kafka: Any, tmp_path: Path, packets: Path
) -> None:
    run = IngestRun(kafka.bootstrap, "no-such-topic", f"sqlite:///{tmp_path}/none.db", tmp_path / "none")
    gone = await call(run, "replay", str(packets))
    assert gone.code == 1 and "skyburst topics create" in gone.err
    away = await call_away(run, "replay", str(packets))
    assert away.code == 3 and "broker" in away.err


def acknowledged(state: Path) -> int:
    """What the receipts in the folder have."""
    return sum(
        end - start for path in state.glob("*.json") for start, end in json.loads(path.read_text())["acknowledged"]
    )


def wait_for(condition: Any, within_s: float = 60.0) -> None:
    limit = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.02)
