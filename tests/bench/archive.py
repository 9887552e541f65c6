"""One packet back by its id, again and again in one process."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from stream.level1.archive import AlertArchive
from tests.bench.packets import Packets
from tests.bench.place import Place


@dataclass(frozen=True, slots=True)
class Looked:
    """Seconds a look-up takes: median and 99th percentile over `ids` look-ups."""

    ids: int
    median: float
    p99: float

    def line(self) -> str:
        """For the terminal."""
        return f"median {self.median * 1000:.2f} ms, p99 {self.p99 * 1000:.2f} ms over {self.ids} random ids"


def look_up(place: Place, packets: Packets, count: int) -> Looked:
    """`AlertArchive.packet` for `count` random ids of drained `packets`; each is compared with what was sent."""
    rng = np.random.default_rng(7)
    ids, spent = packets.ids, []
    with AlertArchive(place.url, str(place.alertdb)) as archive:
        for row in rng.choice(len(ids), count, replace=False).tolist():
            started = time.perf_counter()
            packet = archive.packet(ids[row])
            spent.append(time.perf_counter() - started)
            if packet.datum != packets.values[row][5:]:
                raise RuntimeError(f"alert {ids[row]} came back with other bytes")
    median, p99 = np.percentile(spent, [50, 99]).tolist()
    return Looked(count, median, p99)
