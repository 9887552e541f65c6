"""What a segment says of itself: the key by which alerts share it, and the metadata in its file's header."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Literal

from stream.alert import Stream
from stream.alertdb.container import encode_header, parse_header

Kind = Literal["wire", "container", "raw", "quarantine"]
KINDS: tuple[Kind, ...] = ("wire", "container", "raw", "quarantine")
FORMAT = 1
RAW_SCHEMA = '"bytes"'


@dataclass(frozen=True, slots=True)
class SegmentKey:
    """What all alerts of a segment have in common.

    Attributes
    ----------
    stream
        The stream's small number (table ``streams``). For quarantine, which takes records of any stream, 0.
    survey
        Name of the survey.
    night
        YYYYMMDD.
    fingerprint
        SHA-256 (hex) of the writer schema's parsing canonical form.
    kind
        ``wire`` (Confluent frames), ``container`` (messages that are Avro files of one record), ``raw`` (messages
        kept whole) or ``quarantine``.
    prefix
        Bytes that every message of the segment begins with: the container header of a ``container``, else empty.
    """

    stream: int
    survey: str
    night: int
    fingerprint: str
    kind: Kind
    prefix: bytes = b""


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """A segment's header: written once, at its birth.

    Attributes
    ----------
    number
        The segment's random 63-bit number. A copy keeps it, although its files carry a number of their own.
    key
        As above.
    source
        The topic that `key.stream` stands for; None for quarantine.
    schema_id
        The writer schema's id in its registry; None where messages carry their schema.
    schema_text
        The Avro schema of the datums in the file, as it came (``"bytes"`` for raw).
    survey_digest
        SHA-256 (hex) of the survey file by which the night was told.
    version
        skyburst's version.
    instance
        The database's instance id.
    """

    number: int
    key: SegmentKey
    source: Stream | None
    schema_id: int | None
    schema_text: str
    survey_digest: str
    version: str
    instance: str

    def encode(self, sync: bytes) -> bytes:
        """Return the container file's header with this metadata and `sync` as its marker."""
        text = {
            "skyburst.format": str(FORMAT),
            "skyburst.number": str(self.number),
            "skyburst.stream": str(self.key.stream),
            "skyburst.survey": self.key.survey,
            "skyburst.night": str(self.key.night),
            "skyburst.fingerprint": self.key.fingerprint,
            "skyburst.kind": self.key.kind,
            "skyburst.surveyDigest": self.survey_digest,
            "skyburst.version": self.version,
            "skyburst.instance": self.instance,
        }
        if self.source is not None:
            text["skyburst.cluster"] = self.source.cluster
            text["skyburst.topic"] = self.source.topic
            text["skyburst.topicId"] = self.source.topic_id
        if self.schema_id is not None:
            text["skyburst.schemaId"] = str(self.schema_id)
        metadata = {"avro.schema": self.schema_text.encode(), "avro.codec": b"zstandard"}
        metadata |= {key: value.encode() for key, value in text.items()}
        # Readers of Avro (fastavro is one) decode all metadata as UTF-8, which a container's header need not be.
        metadata["skyburst.prefix"] = b64encode(self.key.prefix)
        return encode_header(metadata, sync)


@dataclass(frozen=True, slots=True)
class FileHeader:
    """A segment header as read from a file, with the file's sync marker and the header's length in bytes."""

    header: SegmentHeader
    sync: bytes
    length: int


def parse_segment_header(data: bytes) -> FileHeader:
    """Return the segment header that `data` begins with.

    Raises
    ------
    Incomplete
        `data` ends before the header does.
    ValueError
        `data` is not the beginning of a segment of this format.
    """
    container = parse_header(data)
    meta = container.metadata

    def text(key: str) -> str:
        if (value := meta.get(f"skyburst.{key}")) is None:
            raise ValueError(f"the header lacks skyburst.{key}")
        return value.decode()

    if text("format") != str(FORMAT):
        raise ValueError(f"segment format {text('format')}, this version reads {FORMAT}")
    kind = text("kind")
    if kind not in KINDS:
        raise ValueError(f"a segment of the unknown kind {kind!r}")
    source = None
    if "skyburst.topic" in meta:
        source = Stream(text("cluster"), text("topic"), text("topicId"))
    key = SegmentKey(
        stream=int(text("stream")),
        survey=text("survey"),
        night=int(text("night")),
        fingerprint=text("fingerprint"),
        kind=kind,
        prefix=b64decode(text("prefix"), validate=True),
    )
    header = SegmentHeader(
        number=int(text("number")),
        key=key,
        source=source,
        schema_id=int(text("schemaId")) if "skyburst.schemaId" in meta else None,
        schema_text=meta["avro.schema"].decode(),
        survey_digest=text("surveyDigest"),
        version=text("version"),
        instance=text("instance"),
    )
    return FileHeader(header, container.sync, container.length)
