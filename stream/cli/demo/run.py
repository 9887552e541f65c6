"""The demo's run: broker, tables, daemon, replay, drain, proof; what each part left behind."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.cli.demo.children import Children, Daemon
from stream.cli.demo.latency import LedgerWatch
from stream.cli.demo.packets import Sent, packets
from stream.cli.demo.stored import Stored
from stream.errors import Fatal
from stream.transport.embedded import SAFE_UNREAD, EmbeddedBroker

TOPIC, VISITS, PARTITIONS = "alerts", "visits", 4
PACE = 260
"""Alerts a second: the survey's mean rate."""
COMMITTED_WITHIN_S = 60.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Places:
    """The demo's files, all in one folder."""

    folder: Path

    @property
    def config(self) -> Path:
        """Config file that points the command's verbs at the demo's stores."""
        return self.folder / "skyburst.toml"

    @property
    def alertdb(self) -> Path:
        """Folder of the AlertDB."""
        return self.folder / "alertdb"

    @property
    def level1(self) -> str:
        """Level-1's URL."""
        return f"sqlite:///{self.folder / 'level1.db'}"


@dataclass(frozen=True, slots=True)
class Came:
    """What came of it.

    Attributes
    ----------
    replay
        What `skyburst replay` reported.
    counts
        Packets kept, by what came of them.
    latency
        Seconds from each message's Kafka timestamp until it was seen committed.
    disk, level1
        Bytes of the AlertDB's files and of Level-1's.
    lacking
        How many of the real packets did not come back byte for byte.
    alert, alert_bytes
        Level-1 columns of one alert, and the length of its message.
    verify, verify_code
        What `skyburst verify` reported and ended with.
    """

    replay: dict[str, Any]
    counts: dict[str, int]
    latency: NDArray[np.float64]
    disk: int
    level1: int
    lacking: int
    alert: dict[str, Any]
    alert_bytes: int
    verify: dict[str, Any]
    verify_code: int


def run(places: Places, sent: Sent, say: Say, *, bar: bool) -> Came:
    """Everything from the broker's start to its end.

    Parameters
    ----------
    say
        Called with what is being done.
    bar
        Let the replay's progress bar through.

    Raises
    ------
    stream.errors.Fatal
        ``demo_failed``: a part of it did not do its work.
    """
    with EmbeddedBroker() as broker:
        say(f"broker {broker.bootstrap}, in this process; topics {TOPIC} ({PARTITIONS} partitions) and {VISITS}")
        broker.create_topic(TOPIC, PARTITIONS)
        broker.create_topic(VISITS, 1)
        children = Children(places.folder, places.config, broker.bootstrap)
        say(f"skyburst level1 migrate: {places.level1}")
        children.must("level1", "migrate")
        say("skyburst ingest: starting (the first start on a machine compiles the packet kernel)")
        with children.daemon() as daemon, LedgerWatch(places.level1, TOPIC) as watch:
            say(f"skyburst replay: {sent.says()}; {PACE} alerts/s")
            replay = _replay(children, places, sent, bar)
            _until_committed(watch, daemon, int(replay["acknowledged"]))
            say("skyburst ingest: draining and sealing")
            daemon.drain()
        say("skyburst verify: reading everything back")
        verify_code, report = children.run("verify", "--json")
        if not report:
            raise children.failed("verify", verify_code)
        return _came(places, sent, replay, watch, dict(json.loads(report)), verify_code)


def choose(places: Places, alerts: int) -> Sent:
    """What will be sent; writes the config file."""
    sent = packets(alerts, places.folder)
    text = (
        "# Settings of a demo: point any verb at its stores with --config. Its broker ended with it.\n"
        f'survey = "{sent.survey}"\ntopic = "{TOPIC}"\nlevel1 = "{places.level1}"\nalertdb = "{places.alertdb}"\n\n'
        f'[ingest]\nvisits_topic = "{VISITS}"\ndisk_reserve_bytes = "64MiB"\n'
    )
    places.config.write_text(text, encoding="utf-8")
    return sent


def _replay(children: Children, places: Places, sent: Sent, bar: bool) -> dict[str, Any]:
    options = ("--to", TOPIC, "--pace", str(PACE), "--visits-topic", VISITS, "--state", str(places.folder / "replays"))
    # The embedded broker throws the oldest away beyond 5 MiB a partition, read or not.
    found = children.json("replay", *sent.sources, *options, "--unread-limit", str(SAFE_UNREAD), shows=bar)
    return dict(found)


def _until_committed(watch: LedgerWatch, daemon: Daemon, messages: int) -> None:
    limit = time.monotonic() + COMMITTED_WITHIN_S
    while watch.committed < messages:
        daemon.alive()
        if time.monotonic() > limit:
            text = f"{watch.committed} of {messages} messages are committed after {COMMITTED_WITHIN_S:.0f} s"
            raise Fatal("demo_failed", text, f"see {daemon.children.log('ingest')}")
        time.sleep(0.05)


def _came(
    places: Places, sent: Sent, replay: dict[str, Any], watch: LedgerWatch, verify: dict[str, Any], code: int
) -> Came:
    with Stored.opened(places.level1, places.alertdb) as stored:
        stamps = stored.stamps()
        alert = stored.first()
        return Came(
            replay=replay,
            counts=stored.counts(),
            latency=watch.latencies(stamps.partition, stamps.offset, stamps.ms),
            disk=stored.bytes_on_disk(),
            level1=(places.folder / "level1.db").stat().st_size,
            lacking=stored.lacking([path.read_bytes() for path in sent.real]),
            alert=alert,
            alert_bytes=len(stored.message(int(alert["diaSourceId"]))),
            verify=verify,
            verify_code=code,
        )
