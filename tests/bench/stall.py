"""Memory where it is hardest: the largest packets while the database does not answer."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass

from tests.bench.daemon import daemon_on
from tests.bench.packets import Packets, fill
from tests.bench.place import empty_place
from tests.bench.servers import Servers
from tests.bench.watch import LedgerWatch

STALLED_S = 8.0
DRAINED_S = 240.0


@dataclass(frozen=True, slots=True)
class Stalled:
    """Most memory of the daemon (bytes, VmHWM), and packets without a row."""

    peak: int
    lost: int

    def line(self) -> str:
        """For the terminal."""
        return f"peak {self.peak / 1e6:.0f} MB, lost {self.lost}"


def stall(servers: Servers, packets: Packets) -> Stalled:
    """Drain `packets`; MariaDB is frozen for some seconds once a first commit stands."""
    topic = fill(servers, packets)
    with (
        empty_place(servers, topic) as place,
        LedgerWatch(servers.connect(place.database), 0.05) as watch,
        daemon_on(place) as daemon,
    ):
        watch.wait(lambda: watch.committed > 0 or not daemon.alive, 60.0, "nothing committed")
        servers.mariadb.process.send(signal.SIGSTOP)
        try:
            time.sleep(STALLED_S)
        finally:
            servers.mariadb.process.send(signal.SIGCONT)
        watch.wait(lambda: watch.committed >= len(packets) or not daemon.alive, DRAINED_S, "not committed")
        code = daemon.end()
        lost = len(packets) - place.count()
        if code:
            raise RuntimeError(f"the daemon's exit code is {code}")
    servers.forget(topic)
    return Stalled(daemon.peak, lost)
