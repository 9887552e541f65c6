"""The roll of a source's alerts: how many each detector had, where the source could not tell it before."""

from __future__ import annotations

from collections.abc import Iterator

from stream.transport.announcements import DetectorClosed
from stream.visit import Outgoing, Visit

Place = tuple[int, int]
"""Visit and detector."""


class Roll:
    """Counts distinct ids by visit and detector as they go by, for visits that did not tell their counts.

    A stream may come back to a visit, so that its counts are known only at the stream's end.
    """

    def __init__(self) -> None:
        self._ids: dict[Place, set[bytes]] = {}
        self._counts: dict[Place, DetectorClosed] = {}

    def count(self, visit: Visit, message: Outgoing) -> None:
        """One alert goes by."""
        if visit.counts is not None:
            return
        headers = dict(message.headers)
        detector, source_id = headers.get("detector"), headers.get("diaSourceId")
        if visit.visit >= 0 and detector is not None and source_id is not None:
            self._ids.setdefault((visit.visit, int(detector)), set()).add(source_id)

    def close(self, visit: Visit, survey: str, run: str) -> None:
        """The visit's alerts have gone by, for now; detectors expected and not seen have none."""
        if visit.counts is not None:
            return
        for detector in visit.detectors:
            self._ids.setdefault((visit.visit, detector), set())
        for place, ids in self._ids.items():
            before = self._counts[place].alerts if place in self._counts else 0
            self._counts[place] = DetectorClosed(survey, place[0], place[1], run, before + len(ids))
        self._ids.clear()

    def left(self) -> Iterator[DetectorClosed]:
        """What is to be announced at the end."""
        yield from self._counts.values()
