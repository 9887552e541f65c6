"""Placing: what a checked packet says becomes Level-1 columns, and its position a chunk and a HEALPix cell."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumers.ingest.flat import Flat
from consumers.ingest.legible import Legible, legible_of
from stream.alert import Level1Column, Refusal
from stream.codec.decoder import Group
from stream.sky import Layout, healpix29, reduce_ra
from stream.survey import Survey
from stream.tables.limits import refused


@dataclass(frozen=True, slots=True)
class PlacedGroup:
    """The alerts of a group that Level-1 can hold, and those that it cannot.

    Attributes
    ----------
    rows
        ``int64[k]``: rows of `group` that are taken.
    level1
        Their Level-1 columns, but for where the packet will lie.
    refused
        The others, by message.
    legible
        What each message that is not taken says of itself, whoever refused it.
    """

    group: Group
    rows: NDArray[np.int64]
    level1: dict[str, Level1Column]
    refused: tuple[Refusal, ...]
    legible: Mapping[int, Legible]


@dataclass(frozen=True, slots=True)
class Placer:
    """Places alerts of one survey under one layout of the sky."""

    survey: Survey
    number: int
    layout: Layout

    def place(self, group: Group, flat: Flat, besides: Collection[int] = ()) -> PlacedGroup:
        """Convert and place every alert of `group` but those of the messages `besides`.

        A message is refused whole where one of its alerts is.
        """
        n = len(group.message)
        columns, wrong = self.survey.convert(group.columns, group.buffer, n)
        refusals = {refusal.row: refusal for refusal in (*refused(columns), *wrong)}
        bad = np.zeros(n, np.bool_)
        bad[list(refusals)] = True
        message = np.asarray(group.message, np.int64)
        if besides:
            bad |= np.isin(message, list(besides))
        if bad.any():
            bad = np.isin(message, message[bad])
        rows = np.flatnonzero(~bad)
        level1 = {name: Level1Column(c.values[rows], c.null[rows]) for name, c in columns.items()}
        present = np.zeros(len(rows), np.bool_)
        ra, dec = reduce_ra(_floats(level1["ra"])), _floats(level1["dec"])
        chunk, sub_chunk = self.layout.locate(ra, dec)
        records = message[rows]
        more: dict[str, NDArray[np.float64] | NDArray[np.int64]] = {
            "survey": np.full(len(rows), self.number, np.int64),
            "ra": ra,
            "chunk": chunk.astype(np.int64),
            "subChunk": sub_chunk.astype(np.int64),
            "healpix": healpix29(ra, dec).astype(np.int64),
            "stream": flat.stream[records],
            "kafkaPartition": flat.partition[records],
            "kafkaOffset": flat.offset[records],
        }
        level1 |= {name: Level1Column(values, present) for name, values in more.items()}
        said = {int(message[row]): refusal for row, refusal in sorted(refusals.items(), reverse=True)}
        legible = legible_of(columns, message, np.flatnonzero(bad), self.survey)
        others = tuple(Refusal(m, r.code, r.reason) for m, r in sorted(said.items()))
        return PlacedGroup(group, rows, level1, others, legible)


def _floats(column: Level1Column) -> NDArray[np.float64]:
    return column.values.astype(np.float64, copy=False)
