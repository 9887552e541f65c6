"""Live: packets sent at the instants of a schedule, and when each was committed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.transport.kafka import KafkaPublisher
from tests.bench.daemon import daemon_on
from tests.bench.packets import Packets
from tests.bench.place import empty_place
from tests.bench.servers import PARTITIONS, Servers
from tests.bench.watch import LedgerWatch

LEAD_S = 1.5
WATCH_S = 0.01
DRAINED_S = 60.0


@dataclass(frozen=True, slots=True)
class Live:
    """What came of a schedule.

    Attributes
    ----------
    alerts, seconds
        How many were due within how many seconds.
    p50, p98, most
        Seconds from the instant at which the schedule says an alert is due to its commit being seen by another session.
    all_s
        Seconds from the first due instant until all were committed.
    late_s
        Seconds by which the sender was late at most: counted in the latencies.
    lost
        Packets without a row.
    cpu_s, peak
        Of the daemon: CPU seconds, bytes.
    """

    alerts: int
    seconds: float
    p50: float
    p98: float
    most: float
    all_s: float
    late_s: float
    lost: int
    cpu_s: float
    peak: int

    def line(self) -> str:
        """For the terminal."""
        return (
            f"p50 {self.p50:.3f}  p98 {self.p98:.3f}  max {self.most:.3f} s, all within {self.all_s:.2f} s of the"
            f" first, lost {self.lost}, sender late by {self.late_s * 1000:.0f} ms at most,"
            f" CPU {self.cpu_s:.2f} s, peak {self.peak / 1e6:.0f} MB"
        )


def live(servers: Servers, packets: Packets, seconds: float) -> Live:
    """Send all of `packets` evenly over `seconds`; a daemon with stock settings is there already."""
    topic = servers.topic()
    with (
        empty_place(servers, topic) as place,
        LedgerWatch(servers.connect(place.database), WATCH_S) as watch,
        daemon_on(place) as daemon,
    ):
        watch.wait(lambda: watch.partitions == PARTITIONS or not daemon.alive, 60.0, "no assignment")
        due: NDArray[Any] = time.time() + LEAD_S + np.arange(len(packets)) * (seconds / len(packets))
        late = send(servers, topic, packets, due)
        watch.wait(lambda: watch.committed >= len(packets) or not daemon.alive, DRAINED_S, "not committed")
        code = daemon.end()
        kept = place.count()
        if code:
            raise RuntimeError(f"the daemon's exit code is {code}")
        latency = _latencies(watch, due)
        all_s = watch.last - float(due[0])
        used = daemon.cpu_until(watch.last) - daemon.cpu_until(float(due[0]))
    servers.forget(topic)
    p50, p98 = np.percentile(latency, [50, 98]).tolist()
    most = float(latency.max())
    return Live(len(packets), seconds, p50, p98, most, all_s, late, len(packets) - kept, used, daemon.peak)


def send(servers: Servers, topic: str, packets: Packets, due: NDArray[Any]) -> float:
    """Send each packet at its instant (seconds since 1970 UTC), also its timestamp; the i-th to partition i mod 8.

    Returns
    -------
    float
        Seconds by which a packet was handed to librdkafka late, at most.
    """
    publisher = KafkaPublisher(servers.kafka.bootstrap)
    failed: list[object] = []
    late = 0.0
    try:
        for number, instant in enumerate(due.tolist()):
            while (ahead := instant - time.time()) > 0:
                publisher.poll()
                time.sleep(min(ahead, 0.002))
            late = max(late, -ahead)
            publisher.send(
                topic,
                packets.values[number],
                headers=packets.headers[number],
                timestamp_ms=int(instant * 1000),
                partition=number % PARTITIONS,
                on_delivery=lambda error, partition, offset: failed.append(error) if error else None,
            )
        if publisher.flush(60.0) or failed:
            raise RuntimeError(f"not all was sent: {failed[:3]}")
    finally:
        publisher.close()
    return late


def _latencies(watch: LedgerWatch, due: NDArray[Any]) -> NDArray[np.float64]:
    latency = np.empty(len(due))
    for partition in range(PARTITIONS):
        mine = due[partition::PARTITIONS]
        latency[partition::PARTITIONS] = watch.when(partition, np.arange(len(mine))) - mine
    return latency
