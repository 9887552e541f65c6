"""Level-1 columns made from stored packets again, by the packet kernel and the survey file that ingest uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.alert import Level1Column, RecordId
from stream.audit.blocks import Head
from stream.audit.messages import Batch
from stream.codec.decoder import Checked, Decoder, Group
from stream.codec.lookup import SchemaUnknown
from stream.codec.schema import WriterSchema
from stream.commit.bare import night_from, stamped_night
from stream.commit.batch import Quarantined
from stream.errors import Held
from stream.level1.rows import Values
from stream.sky import Layout, healpix29, reduce_ra
from stream.survey import Survey

_MOST = 1 << 30
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class HeadSchemas:
    """A source of writer schemas that knows the one in a segment's header."""

    head: Head
    known: dict[int, WriterSchema] = field(default_factory=dict)

    def get(self, schema_id: int) -> WriterSchema:
        """See `stream.codec.lookup.SchemaSource`."""
        if schema_id != self.head.schema_id:
            raise SchemaUnknown(schema_id, f"segment {self.head.number}")
        if schema_id not in self.known:
            self.known[schema_id] = WriterSchema.of(self.head.schema, schema_id)
        return self.known[schema_id]


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes the columns of one segment's alerts.

    Attributes
    ----------
    survey, number
        The survey file and the survey's number.
    layout
        How the sky was cut into chunks.
    """

    survey: Survey
    number: int
    layout: Layout
    decoder: Decoder

    @classmethod
    def of(cls, head: Head, survey: Survey, number: int, layout: Layout) -> Maker:
        """The maker for a segment."""
        return cls(survey, number, layout, Decoder(HeadSchemas(head), survey.paths, max_packet=_MOST))

    def columns(self, batch: Batch, rows: Rows) -> dict[str, Values]:
        """The columns of ``level1`` but for ``commitId``, for alerts of a batch; raises Held ``rebuild_refused``."""
        places = list(dict.fromkeys((one["blockOffset"], one["slot"]) for one in rows))
        checked = self.decoder.check([batch.values[place] for place in places])
        self._refused(checked, batch)
        message = {place: k for k, place in enumerate(places)}
        wanted = [(message[one["blockOffset"], one["slot"]], one["part"]) for one in rows]
        pieces = [(group, self._group(group, batch)) for group in checked.groups]
        found = {
            key: (piece, row)
            for piece, (group, _) in enumerate(pieces)
            for row, key in enumerate(zip(group.message.tolist(), group.part.tolist(), strict=True))
        }
        if any(key not in found for key in wanted):
            text = f"segment {batch.head.number}: a message has fewer alerts than its index rows"
            raise Held("rebuild_refused", text)
        columns = _gathered([columns for _, columns in pieces], [found[key] for key in wanted])
        self._layout_fits(columns, rows, batch)
        return columns | self._where(batch, rows)

    def _group(self, group: Group, batch: Batch) -> dict[str, Level1Column]:
        columns, refused = self.survey.convert(group.columns, group.buffer, len(group))
        if refused:
            text = f"the survey file {self.survey.name} refuses an alert of segment {batch.head.number} that was taken"
            advice = f"rebuild with the survey file whose digest is {batch.head.survey_digest}"
            raise Held("rebuild_refused", f"{text}: {refused[0].code}, {refused[0].reason}", advice)
        ra, dec = (columns[name].values.astype(np.float64) for name in ("ra", "dec"))
        ra = reduce_ra(ra)
        chunk, sub_chunk = self.layout.locate(ra, dec)
        there = np.zeros(len(group), np.bool_)
        more: dict[str, NDArray[np.float64] | NDArray[np.int64]] = {
            "survey": np.full(len(group), self.number, np.int64),
            "ra": ra,
            "chunk": chunk.astype(np.int64),
            "subChunk": sub_chunk.astype(np.int64),
            "healpix": healpix29(ra, dec).astype(np.int64),
        }
        return columns | {name: Level1Column(values, there) for name, values in more.items()}

    def _refused(self, checked: Checked, batch: Batch) -> None:
        bad = [(one.code, one.reason) for one in checked.refused] + [("", str(one.error)) for one in checked.waiting]
        if bad:
            text = f"segment {batch.head.number}, commit {batch.note.commit}: a packet that was taken is refused now"
            raise Held("rebuild_refused", f"{text}: {' '.join(bad[0])}")

    def _layout_fits(self, columns: Mapping[str, Level1Column], rows: Rows, batch: Batch) -> None:
        told = np.array([one["chunk"] for one in rows], np.int64)
        if len(told) and not (columns["chunk"].values == told).all():
            text = f"the chunks of segment {batch.head.number} are not those of this layout"
            raise Held("rebuild_layout", text, "set the stripes, sub-stripes and overlap that ingest had")

    def _where(self, batch: Batch, rows: Rows) -> dict[str, Values]:
        names = {
            "stream": "stream",
            "kafkaPartition": "partition",
            "kafkaOffset": "offset",
            "blockOffset": "blockOffset",
            "slot": "slot",
        }
        where: dict[str, Values] = {
            name: np.array([one[theirs] for one in rows], np.int64) for name, theirs in names.items()
        }
        digest = np.frombuffer(b"".join(one["digest"] for one in rows), np.uint8).reshape(-1, 16)
        return where | {"segment": np.full(len(rows), batch.head.number, np.int64), "digest": digest}


def quarantined(batch: Batch, rows: Rows, survey: Survey) -> list[tuple[Quarantined, tuple[int, int, int]]]:
    """Records of a quarantine segment as table ``quarantine`` has them, each with where it lies."""
    out = []
    for one in rows:
        value = batch.values[one["blockOffset"], one["slot"]]
        own = one["midpointMjdTai"]
        framed = value[:1] == b"\0" and len(value) > 4
        record = Quarantined(
            record=RecordId(one["stream"], one["partition"], one["offset"]),
            night=batch.head.night,
            night_from=night_from(batch.head.night, own, stamped_night(survey, one["timestamp"])),
            visit=one["visit"],
            detector=one["detector"],
            dia_source_id=one["diaSourceId"],
            code=one["code"],
            reason=one["reason"],
            size=len(value),
            schema_id=int.from_bytes(value[1:5], "big", signed=True) if framed else None,
            timestamp=one["timestamp"],
            digest=one["digest"],
            midpoint=own,
        )
        out.append((record, (batch.head.number, one["blockOffset"], one["slot"])))
    return out


def _gathered(pieces: Sequence[Mapping[str, Level1Column]], rows: Sequence[tuple[int, int]]) -> dict[str, Level1Column]:
    """One table out of several: row i is row ``rows[i][1]`` of piece ``rows[i][0]``."""
    starts = np.cumsum([0, *(len(piece["night"].values) for piece in pieces)])
    at: NDArray[np.int64] = np.array([starts[piece] + row for piece, row in rows], np.int64)
    return {
        name: Level1Column(
            np.concatenate([piece[name].values for piece in pieces])[at],
            np.concatenate([piece[name].null for piece in pieces])[at],
        )
        for name in pieces[0]
    }
