"""Warm start: from the start of the process to its first commit."""

from __future__ import annotations

from tests.bench.daemon import daemon_on
from tests.bench.packets import Packets, fill
from tests.bench.place import empty_place
from tests.bench.servers import Servers
from tests.bench.watch import LedgerWatch


def first_commit(servers: Servers, packets: Packets) -> float:
    """Seconds; the topic holds one packet, the kernel was compiled before."""
    topic = fill(servers, packets.first(1))
    with (
        empty_place(servers, topic) as place,
        LedgerWatch(servers.connect(place.database), 0.02) as watch,
        daemon_on(place) as daemon,
    ):
        watch.wait(lambda: watch.committed > 0 or not daemon.alive, 60.0, "nothing committed")
        seconds = watch.last - daemon.started
        daemon.end()
        if place.count() != 1:
            raise RuntimeError("the packet has no row")
    servers.forget(topic)
    return seconds
