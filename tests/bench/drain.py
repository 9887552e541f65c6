"""The drain, and beside it what bounds it: plain consumption, and one core that compresses the same packets."""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass

import zstandard
from confluent_kafka import Consumer, TopicPartition

from stream.transport.kafka.limits import STOCK_FETCH
from tests.bench.daemon import daemon_on
from tests.bench.packets import Packets
from tests.bench.place import Place
from tests.bench.process import cpu_seconds, machine_busy_seconds
from tests.bench.servers import PARTITIONS, Servers
from tests.bench.watch import LedgerWatch

MB = 1e6
WATCH_S = 0.02


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast something went over `alerts` packets of `nbytes` in all.

    Attributes
    ----------
    seconds
        From the first assignment to the last commit, for a drain.
    whole_s
        From the start of the process; the same as `seconds` for what is no process of its own.
    cpu_s
        CPU seconds of what is measured; for a drain the daemon's within `seconds`.
    servers_cpu_s
        Of MariaDB and of Kafka meanwhile.
    others_cpu_s
        Of everything else on the machine meanwhile: what disturbed the measurement.
    peak
        Bytes (VmHWM); 0 where not measured.
    """

    alerts: int
    nbytes: int
    seconds: float
    whole_s: float
    cpu_s: float
    servers_cpu_s: tuple[float, float] = (0.0, 0.0)
    others_cpu_s: float = 0.0
    peak: int = 0

    @property
    def alerts_s(self) -> float:
        """Alerts a second."""
        return self.alerts / self.seconds

    @property
    def mb_s(self) -> float:
        """Megabytes (10^6) of packets a second."""
        return self.nbytes / MB / self.seconds

    def line(self) -> str:
        """For the terminal."""
        text = f"{self.alerts_s:8.0f} alerts/s {self.mb_s:7.1f} MB/s  {self.seconds:6.2f} s  CPU {self.cpu_s:6.2f} s"
        if self.peak:
            maria, kafka = self.servers_cpu_s
            text += (
                f" (MariaDB {maria:.2f}, Kafka {kafka:.2f}, others {self.others_cpu_s:.2f})"
                f"  peak {self.peak / MB:.0f} MB, {self.whole_s:.2f} s from process start"
            )
        return text


def consume(servers: Servers, topic: str, packets: Packets) -> Rate:
    """Plain librdkafka: every message handed to Python and let go."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers.kafka.bootstrap,
            "group.id": uuid.uuid4().hex,
            "enable.auto.commit": False,
            **STOCK_FETCH.librdkafka(),
        }
    )
    started, cpu = time.perf_counter(), time.process_time()
    try:
        consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
        count = nbytes = 0
        while count < len(packets):
            for message in consumer.consume(200, 0.1):
                value = message.value()
                count += 1
                nbytes += len(value or b"")
        seconds, spent = time.perf_counter() - started, time.process_time() - cpu
    finally:
        consumer.close()
    return Rate(count, nbytes, seconds, seconds, spent)


def compress(packets: Packets) -> Rate:
    """One core, zstd level 1, each packet by itself, from memory."""
    compressor = zstandard.ZstdCompressor(level=1)
    started, cpu = time.perf_counter(), time.process_time()
    for value in packets.values:
        compressor.compress(value)
    seconds = time.perf_counter() - started
    return Rate(len(packets), packets.nbytes, seconds, seconds, time.process_time() - cpu)


def drain(place: Place, packets: Packets, *, within_s: float = 300.0) -> Rate:
    """`skyburst ingest` over the whole topic; the rows are counted at the end."""
    servers = place.servers
    pids = servers.mariadb.process.pid, servers.kafka.process.pid
    with LedgerWatch(servers.connect(place.database), WATCH_S) as watch, daemon_on(place) as daemon:
        watch.wait(lambda: watch.first is not None or not daemon.alive, 60.0, "no assignment")
        cpus, own, busy = [cpu_seconds(pid) for pid in pids], cpu_seconds(os.getpid()), machine_busy_seconds()
        watch.wait(lambda: watch.committed >= len(packets) or not daemon.alive, within_s, "not drained")
        spent = [cpu_seconds(pid) - was for pid, was in zip(pids, cpus, strict=True)]
        own, busy = cpu_seconds(os.getpid()) - own, machine_busy_seconds() - busy
        first, last = watch.first or 0.0, watch.last
        code = daemon.end()
        used = daemon.cpu_until(last) - daemon.cpu_until(first)
    kept = place.count()
    if code or kept != len(packets):
        raise RuntimeError(f"drained {kept} of {len(packets)} packets, exit code {code}")
    return Rate(
        alerts=kept,
        nbytes=packets.nbytes,
        seconds=last - first,
        whole_s=last - daemon.started,
        cpu_s=used,
        servers_cpu_s=(spent[0], spent[1]),
        others_cpu_s=max(0.0, busy - sum(spent) - own - used),
        peak=daemon.peak,
    )
