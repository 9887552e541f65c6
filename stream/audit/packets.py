"""The packets of a segment, commit by commit: each held against its digest, and what is wanted of it decoded."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import fastavro
from xxhash import xxh3_128, xxh3_128_digest

from stream.audit.blocks import DataFile, Inflated
from stream.audit.derive import decoder_of, message_fields
from stream.audit.findings import Findings
from stream.audit.notes import Damaged, Note
from stream.audit.schema import kept_whole
from stream.audit.scratch import Scratch
from stream.audit.seen import Decoded, Seen, record_text, rest_digest
from stream.audit.stored import Place, Row
from stream.survey import Survey

_Rows = list[dict[str, Any]]


class Packets:
    """Reads one segment's packets.

    Parameters
    ----------
    source
        The segment's data.
    row
        Its row in ``segments``.
    survey
        The survey file by which values are derived; None where it is not at hand.
    retained
        By partition the offsets [low, high) whose digests are kept for the comparison with the broker.

    Attributes
    ----------
    damaged
        Whether a packet or block was.
    """

    def __init__(
        self,
        source: DataFile,
        row: Row,
        scratch: Scratch,
        findings: Findings,
        survey: Survey | None,
        retained: Mapping[Place, tuple[int, int]],
    ) -> None:
        self._source = source
        self._row = row
        self._scratch = scratch
        self._findings = findings
        self._retained = retained
        self._survey = survey
        kind, schema = source.head.kind, source.head.schema
        self._kind = kind
        self._schema = kept_whole(kind, schema)
        try:
            self._decoder = decoder_of(schema, survey.paths) if survey and self._schema is None else None
        except Exception as error:  # whatever fastavro raises on what is no schema
            raise Damaged(f"the writer schema in the header cannot be used: {error!r}"[:300]) from error
        self.damaged = False

    def commit(self, rows: Any, note: Note) -> list[Seen]:
        """Hold one commit's part against its digests, and give its rows with what their packets say."""
        row, head = self._row, self._source.head
        listed: _Rows = rows.to_pylist()
        messages = sum(one["part"] == 0 for one in listed)
        if not self._scratch.note(note.commit, row.segment, messages, note.body):
            where = f"segment {row.segment}, {row.indexName}"
            self._findings.add(3, "commit_differs", f"commit {note.commit} says other things in another part", where)
        decoded = self._decoded(listed, note)
        return [
            Seen(
                commit=note.commit,
                segment=row.segment,
                kind=head.kind,
                night=head.night,
                record=(one["stream"], one["partition"], one["offset"]),
                index=one,
                decoded=decoded.get((one["blockOffset"], one["slot"], one["part"])),
            )
            for one in listed
        ]

    def _decoded(self, listed: _Rows, note: Note) -> dict[tuple[int, int, int], Decoded]:
        found: dict[tuple[int, int, int], Decoded] = {}
        by_block: defaultdict[int, _Rows] = defaultdict(list)
        for one in listed:
            by_block[one["blockOffset"]].append(one)
        kept: list[tuple[int, int, int, int, bytes, bytes, int]] = []
        try:
            for block in self._source.blocks(note):
                self._findings.counts["blocks"] += 1
                for mine, datum in self._datums(block, by_block.pop(block.offset, [])):
                    alerts = self._packet(datum, mine[0], kept)
                    if alerts is not None:
                        self._parts(mine, len(alerts))
                        place = block.offset, mine[0]["slot"]
                        found |= {(*place, part): each for part, each in enumerate(alerts) if each is not None}
        except Damaged as error:
            self._damage(f"{error}; it holds {_some(listed)}")
        else:
            if by_block:
                lost = [one for rows in by_block.values() for one in rows]
                self._damage(f"the index names blocks that are not there; they hold {_some(lost)}")
        self._scratch.keep(kept)
        return found

    def _damage(self, what: str) -> None:
        self._findings.add(4, "packet_damaged", what, f"segment {self._row.segment}, {self._row.dataName}")
        self.damaged = True

    def _parts(self, mine: _Rows, alerts: int) -> None:
        """The index must have a row for each alert of a packet, and none more."""
        parts = [one["part"] for one in mine]
        if parts != list(range(alerts)):
            text = f"the message of {_some(mine[:1])} has {alerts} alerts, the index rows of its parts {parts}"
            self._findings.add(5, "index_damaged", text, f"segment {self._row.segment}, {self._row.indexName}")

    def _datums(self, block: Inflated, rows: _Rows) -> Iterator[tuple[_Rows, memoryview]]:
        """Each datum of a block with its index rows, in the order of parts; datums lie one behind the other."""
        by_slot: defaultdict[int, _Rows] = defaultdict(list)
        for one in sorted(rows, key=lambda one: one["part"]):
            by_slot[one["slot"]].append(one)
        at = 0
        for slot in range(block.count):
            mine = by_slot[slot]
            if not mine or mine[0]["datumStart"] != at:
                self._damage(f"the index does not say where datum {slot} of the block at byte {block.offset} lies")
                return
            size = mine[0]["datumSize"]
            yield mine, memoryview(block.data)[at : at + size]
            at += size
        if at != len(block.data) or len(by_slot) != block.count:
            self._damage(f"the block at byte {block.offset} holds other datums than the index says")

    def _packet(self, datum: memoryview, one: dict[str, Any], kept: list[Any]) -> Sequence[Decoded | None] | None:
        """What is wanted of each alert in a packet (None: nothing is); None where the packet is damaged."""
        packet: Any = datum
        value: Any = datum
        if self._schema is not None:
            try:
                packet = fastavro.schemaless_reader(io.BytesIO(datum), self._schema, None)
            except Exception as error:  # whatever fastavro raises on bytes that are no datum
                self._damage(f"{_some([one])} cannot be decoded: {error!r}"[:300])
                return None
            value = packet if isinstance(packet, bytes) else packet["value"]
        self._findings.counts["packets"] += 1
        if xxh3_128_digest(value) != one["digest"]:
            self._damage(f"the packet of {_some([one])} does not have its digest")
            return None
        self._keep(value, one, kept)
        if self._kind == "quarantine":
            names = tuple(sorted(packet))
            return [(names, tuple(len(value) if name == "value" else packet[name] for name in names))]
        return self._fields(packet, one)

    def _keep(self, value: Any, one: dict[str, Any], kept: list[Any]) -> None:
        """Remember a message for the comparison with the broker, where the broker still has it."""
        stream, partition, offset = one["stream"], one["partition"], one["offset"]
        low, high = self._retained.get((stream, partition), (0, 0))
        if not low <= offset < high:
            return
        whole = xxh3_128()
        pieces = (value,) if self._schema is not None else (self._source.head.prefix, one["head"], value, one["tail"])
        for piece in pieces:
            whole.update(piece)
        headers = [(header["key"], header["value"]) for header in one["headers"]]
        row = (stream, partition, offset, self._row.segment, whole.digest(), rest_digest(one["key"], headers))
        kept.append((*row, one["timestamp"]))

    def _fields(self, packet: Any, one: dict[str, Any]) -> Sequence[Decoded | None] | None:
        try:
            if self._decoder is not None:
                return [(self._decoder.slots, self._decoder.datum(packet))]
            if self._kind != "raw":
                return [None]
            slots, records = message_fields(packet, self._survey.paths if self._survey else frozenset())
            return [(slots, record) if self._survey else None for record in records]
        except Damaged as error:
            self._damage(f"{_some([one])}: {error}")
            return None


def _some(rows: list[dict[str, Any]]) -> str:
    """Some of the records of index rows, for people."""
    names = [record_text((one["stream"], one["partition"], one["offset"])) for one in rows[:5]]
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return ", ".join(names) + more if names else "no record"
