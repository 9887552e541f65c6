"""Visits from packet files: grouped and ordered by time where each packet is a file, as they come from an archive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, groupby, islice
from pathlib import Path
from typing import TypeVar

from producers.sources.attribution import Attribution, Place, outgoing
from producers.sources.packet_files import Packet, find_files, read_archive, read_packet
from stream.visit import Outgoing, Visit

T = TypeVar("T")
Placed = tuple[Place | None, Packet]
TOGETHER = 32
"""Packets read at a time to tell their visits."""
NO_VISIT = -1
"""The number of a visit whose alerts have none that can be told: sent, not announced."""


def visits_in_files(paths: list[Path], attribution: Attribution | None) -> Iterator[Visit]:
    """The visits in message files, folders of them and archives.

    Message files are read twice: first to tell their visits and counts, then to be sent, visit by visit in the order
    of time. Archives are read once, a visit being what follows one another; its counts are not known before. What no
    survey file can read comes as the alerts of visit -1.

    Raises
    ------
    stream.errors.Wrong
        ``source_missing``, ``source_unreadable``, ``source_oversized``.
    """
    files, archives = find_files(paths)
    if attribution is None:
        if files:
            yield _unplaced(outgoing(read_packet(path).value, None) for path in files)
    else:
        yield from _grouped(files, attribution)
    for archive in archives:
        yield from _streamed(read_archive(archive), attribution)


def _grouped(files: list[Path], attribution: Attribution) -> Iterator[Visit]:
    placed: dict[int, list[tuple[Place, Path]]] = {}
    unplaced: list[Path] = []
    for some in _batches(files, TOGETHER):
        for path, place in zip(some, attribution([read_packet(path).value for path in some]), strict=True):
            if place is None:
                unplaced.append(path)
            else:
                placed.setdefault(place.visit, []).append((place, path))
    for visit, entries in sorted(placed.items(), key=lambda item: min(item[1])[0]):
        distinct = {(place.detector, place.source_id) for place, _ in entries}
        counts = Counter(detector for detector, _ in distinct)
        yield Visit(
            visit,
            entries[0][0].night,
            tuple(sorted(counts)),
            dict(sorted(counts.items())),
            None,
            (outgoing(read_packet(path).value, place) for place, path in entries),
        )
    if unplaced:
        yield _unplaced(outgoing(read_packet(path).value, None) for path in unplaced)


def _streamed(packets: Iterator[Packet], attribution: Attribution | None) -> Iterator[Visit]:
    if attribution is None:
        yield _unplaced(outgoing(packet.value, None) for packet in packets)
        return
    for number, alerts in groupby(_placed(packets, attribution), key=_visit_of):
        place, packet = next(alerts)
        night = NO_VISIT if place is None else place.night
        yield Visit(number, night, (), None, None, _outgoing(chain([(place, packet)], alerts)))  # noqa: B031


def _visit_of(placed: Placed) -> int:
    return NO_VISIT if placed[0] is None else placed[0].visit


def _outgoing(placed: Iterable[Placed]) -> Iterator[Outgoing]:
    return (outgoing(packet.value, place) for place, packet in placed)


def _placed(packets: Iterator[Packet], attribution: Attribution) -> Iterator[Placed]:
    for some in _batches(packets, TOGETHER):
        yield from zip(attribution([packet.value for packet in some]), some, strict=True)


def _unplaced(alerts: Iterator[Outgoing]) -> Visit:
    return Visit(NO_VISIT, NO_VISIT, (), None, None, alerts)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    left = iter(items)
    while some := list(islice(left, size)):
        yield some
