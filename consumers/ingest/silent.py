"""Asking where logs begin and end, of brokers that may not answer: polling must go on meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from stream.clock import Deadline
from stream.errors import Held, SkyburstError, Transient
from stream.transport.source import Partition, Source

SHORT_S = 0.2
"""Seconds that are waited for a broker that did not answer before."""
PATIENT_S = 1.0
PATIENT_EACH = 10
"""Each so many times such a broker is waited for longer, in case that it only became slow."""


class Silent:
    """The partitions whose brokers did not answer, the one that was asked longest ago first.

    Parameters
    ----------
    usual_s
        Seconds that a broker may take that was not found silent before.
    """

    def __init__(self, usual_s: float) -> None:
        self._usual_s = usual_s
        self._times: dict[Partition, int] = {}

    def ask(
        self, source: Source, parts: Collection[Partition], deadline: Deadline
    ) -> tuple[dict[Partition, tuple[int, int]], dict[Partition, SkyburstError]]:
        """The watermarks of `parts`, and what was in the way; those in neither were not asked.

        The round ends with the deadline, or with the first of the partitions known to be silent that still is.
        """
        found: dict[Partition, tuple[int, int]] = {}
        missed: dict[Partition, SkyburstError] = {}
        for part in self._in_order(parts):
            if deadline.passed:
                break
            known = self._times.pop(part, 0)
            try:
                found[part] = source.watermarks(*part, self._patience(known, bool(missed)))
            except (Transient, Held) as error:
                missed[part] = error
                self._times[part] = known + 1
                if known:
                    break
        return found, missed

    def forget(self, parts: Collection[Partition]) -> None:
        """These are not ours any more."""
        for part in parts:
            self._times.pop(part, None)

    def _in_order(self, parts: Collection[Partition]) -> Sequence[Partition]:
        """Those that did not answer come last, so that the others need not wait for them."""
        wanted = set(parts)
        return sorted(wanted - self._times.keys()) + [part for part in self._times if part in wanted]

    def _patience(self, times: int, missed: bool) -> float:
        if times:
            return PATIENT_S if times % PATIENT_EACH == 0 else SHORT_S
        return SHORT_S if missed else self._usual_s
