"""One segment read from its beginning to its end; its rows go to those who judge the tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stream.alert import Stream
from stream.audit.aside import Quarantined
from stream.audit.blocks import DataFile, Head
from stream.audit.chunks import Chunks
from stream.audit.files import Absent, File, Files, Unreadable, digest_of
from stream.audit.findings import Findings
from stream.audit.indexes import read_index
from stream.audit.notes import Damaged
from stream.audit.packets import Packets
from stream.audit.places import Places
from stream.audit.rows import Alerts
from stream.audit.schema import fingerprint_of
from stream.audit.scratch import Scratch
from stream.audit.stored import Ledger, Place, Row, Stored
from stream.survey import Survey


@dataclass(slots=True)
class Around:
    """What every segment is judged with.

    Attributes
    ----------
    retained
        By partition the offsets [low, high) that the broker still has and that are judged.
    surveys
        Survey names by number.
    survey_files
        The survey files at hand, by digest.
    chunks
        The layout by which positions are placed again; None where they are not.
    matched
        By segment and table, the rows that lead to what was found in it.
    unread, retired
        Segments whose rows could not all be read; those of them whose packets went for good.
    """

    files: Files
    stored: Stored
    scratch: Scratch
    findings: Findings
    ledger: Ledger
    places: Places
    streams: dict[int, Stream]
    surveys: dict[int, str]
    survey_files: Mapping[str, Survey]
    chunks: Chunks | None
    retained: Mapping[Place, tuple[int, int]]
    matched: dict[int, Mapping[str, int]] = field(default_factory=dict)
    unread: set[int] = field(default_factory=set)
    retired: set[int] = field(default_factory=set)

    def survey_file(self, name: str, digest: str) -> Survey | None:
        """The survey file that was used, where it is at hand."""
        survey = self.survey_files.get(digest)
        return survey if survey is not None and survey.name == name else None


class Segment:
    """One segment under audit; `read` may be called once."""

    def __init__(self, around: Around, row: Row) -> None:
        self._around = around
        self._row = row
        self._findings = around.findings
        self._sound = True

    def read(self) -> None:
        """Read it and judge it; raises `Absent` where a file is not where the row says."""
        row = self._row
        try:
            data = self._around.files.open(row.dataName)
            try:
                index = self._around.files.open(row.indexName)
                try:
                    self._files(data, index)
                finally:
                    index.close()
            finally:
                data.close()
        except Unreadable as error:
            self._add(4, "file_unreadable", error.message)

    def _add(self, invariant: int, code: str, what: str, where: str = "") -> None:
        row = self._row
        if code in ("index_damaged", "file_unreadable", "file_short"):
            self._around.unread.add(row.segment)
        self._findings.add(invariant, code, what, f"segment {row.segment}, {where or row.dataName}")
        self._sound = False

    def _files(self, data: File, index: File) -> None:
        row = self._row
        self._findings.counts["segments"] += 1
        self._findings.counts["bytes"] += row.dataLength + row.indexLength
        for name, file, length in ((row.dataName, data, row.dataLength), (row.indexName, index, row.indexLength)):
            if file.size < length:
                self._add(4, "file_short", f"{length} bytes are published, the file has {file.size}", name)
            elif row.state != "open" and file.size > length:
                self._add(4, "file_long", f"{length} bytes are published, the sealed file has {file.size}", name)
        try:
            if row.state != "open" and digest_of(index, row.indexLength) != row.indexDigest:
                self._add(4, "index_damaged", "the sealed index does not have its digest", row.indexName)
            self._packets(DataFile(data, row.dataLength), data, index)
        except Damaged as error:
            self._around.unread.add(row.segment)
            self._add(4, "packet_damaged", str(error))

    def _packets(self, source: DataFile, data: File, index: File) -> None:
        row, head = self._row, source.head
        self._header(head)
        judge = self._judge(head)
        survey = self._around.survey_file(head.survey, head.survey_digest)
        reader = Packets(source, row, self._around.scratch, self._findings, survey, self._around.retained)
        try:
            for rows, note in read_index(row.indexName, index, row.indexLength):
                if note.start != source.at:
                    text = f"commit {note.commit} begins at byte {note.start}, the one before ended at {source.at}"
                    self._add(4, "index_damaged", text, row.indexName)
                if isinstance(judge, Quarantined):
                    judge.add(reader.commit(rows, note))
                else:
                    judge.add(note, reader.commit(rows, note))
        except Damaged as error:
            self._add(4, "index_damaged", str(error), row.indexName)
        judge.flush()
        self._around.matched[row.segment] = judge.matched
        self._end(source, data, judge.messages, reader.damaged)

    def _end(self, source: DataFile, data: File, messages: int, damaged: bool) -> None:
        row = self._row
        if source.at != row.dataLength and self._sound:
            self._add(4, "index_damaged", f"the index tells of {source.at} bytes, {row.dataLength} are published")
        if row.state != "open":
            whole = source.digest() if source.at == row.dataLength else digest_of(data, row.dataLength)
            if whole != row.digest:
                self._add(4, "packet_damaged", "the sealed file does not have its digest")
        if messages != row.records and self._sound and not damaged:
            self._add(3, "records_differ", f"its row counts {row.records} records, its commits published {messages}")

    def _judge(self, head: Head) -> Alerts | Quarantined:
        around, number = self._around, self._row.survey
        common = (around.stored, around.scratch, self._findings, around.ledger)
        if head.kind == "quarantine":
            return Quarantined(*common, number, around.streams)
        survey = around.survey_file(head.survey, head.survey_digest)
        return Alerts(*common, around.places, number, survey, around.chunks)

    def _header(self, head: Head) -> None:
        row, around = self._row, self._around
        stream = around.streams.get(row.stream)
        told = {
            "number": (head.number, row.segment),
            "kind": (head.kind, row.kind),
            "night": (head.night, row.night),
            "stream": (head.stream, row.stream),
            "survey": (head.survey, around.surveys.get(row.survey)),
            "schema id": (head.schema_id, row.schemaId),
            "fingerprint": (head.fingerprint, row.fingerprint),
            "topic": (head.topic, None if stream is None else (stream.cluster, stream.topic, stream.topic_id)),
        }
        wrong = [f"{name} {theirs!r}, the row {ours!r}" for name, (theirs, ours) in told.items() if theirs != ours]
        if wrong:
            self._add(4, "header_differs", f"the file says {'; '.join(wrong)}")
        if head.kind in ("wire", "container") and fingerprint_of(head.schema) != head.fingerprint:
            self._add(4, "header_differs", "the writer schema does not have its fingerprint")


def missing(around: Around, row: Row, error: Absent) -> None:
    """A file is not there, and the row still names it."""
    text = f"the file is not there; {row.records} records were in it"
    around.unread.add(row.segment)
    around.findings.add(4, "file_missing", text, f"segment {row.segment}, {error}")
