"""Packets whose writer schema cannot be had: their partition waits, or they go to quarantine, never a night of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from consumers.ingest.flat import Flat
from stream.alert import Refusal
from stream.codec.decoder import Checked, Decoder, Waiting
from stream.codec.frames import WIRE_HEAD
from stream.errors import Held, SkyburstError
from stream.transport.source import Partition

_KEPT_RUNS = 256


@dataclass(frozen=True, slots=True)
class Waits:
    """A partition that cannot go on at `offset`, because of one packet's schema.

    `others` says whether packets with schemas that are known arrived beside it. `behind` has the schema ids of packets
    behind it that a reachable source denies, too: their time runs as well, lest they wait one after the other.
    """

    offset: int
    schema_id: int
    error: SkyburstError
    others: bool
    behind: frozenset[int] = frozenset()


@dataclass(slots=True)
class UnknownSchemas:
    """Tells which packets with a schema that cannot be had go to quarantine, and where their partitions wait.

    Attributes
    ----------
    longest_run
        So many such packets in a row on a partition go to quarantine; the partition waits before the next.
    denied
        Schema ids that a reachable source has denied for so long that their packets go to quarantine.
    """

    longest_run: int = 100
    denied: set[int] = field(default_factory=set)
    _runs: dict[tuple[Partition, int], int] = field(default_factory=dict)

    def judge(
        self, checked: Checked, flat: Flat, topics: Mapping[int, str]
    ) -> tuple[dict[int, Refusal], dict[Partition, Waits]]:
        """Refusals by message, and the waits, one a partition: nothing of it is taken from there on."""
        waiting = {one.row: one for one in checked.waiting}
        refused: dict[int, Refusal] = {}
        waits: dict[Partition, Waits] = {}
        places = {(int(flat.stream[row]), int(flat.partition[row])) for row in waiting}
        for stream, partition in sorted(places):
            rows = np.flatnonzero((flat.stream == stream) & (flat.partition == partition))
            start, end = flat.bounds[stream, partition]
            part = (topics[stream], partition)
            run = self._runs.get((part, start), 0)
            ordered = rows[np.argsort(flat.offset[rows])].tolist()
            for at, row in enumerate(ordered):
                one = waiting.get(row)
                if one is None:
                    run = 0
                    continue
                error = self._reason(one, run)
                if error is not None:
                    end = int(flat.offset[row])
                    behind = self._behind(waiting[other] for other in ordered[at + 1 :] if other in waiting)
                    waits[part] = Waits(end, one.schema_id, error, bool(checked.groups), behind)
                    break
                refused[row] = Refusal(row, one.error.code, str(one.error))
                run += 1
            self._keep(part, end, run)
        return refused, waits

    def _reason(self, one: Waiting, run: int) -> SkyburstError | None:
        """Why the partition waits before this packet; None where it goes to quarantine."""
        if not isinstance(one.error, Held) or one.schema_id not in self.denied:
            return one.error
        if run < self.longest_run:
            return None
        text = f"{run} packets in a row have schemas that nobody knows, here id {one.schema_id}"
        return Held("schema_run", text, "register the schema: the partition then goes on by itself")

    def _behind(self, waiting: Iterable[Waiting]) -> frozenset[int]:
        """Ids that are denied, of no more packets than may go to quarantine in a row: each may have another one."""
        denied = (one.schema_id for one in waiting if isinstance(one.error, Held))
        return frozenset(islice(denied, self.longest_run))

    def _keep(self, part: Partition, end: int, run: int) -> None:
        """Remember how long the run is that ends before offset `end`, since the next batch may go on with it."""
        if run:
            self._runs[part, end] = run
        while len(self._runs) > _KEPT_RUNS:
            del self._runs[next(iter(self._runs))]


def asked(decoder: Decoder, schema_id: int) -> SkyburstError | None:
    """Why a schema cannot be had now; None where it can. Asked with a packet that is a frame and nothing else."""
    waiting = decoder.check([b"\x00" + schema_id.to_bytes(WIRE_HEAD - 1, "big")]).waiting
    return waiting[0].error if waiting else None
