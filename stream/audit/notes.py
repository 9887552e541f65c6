"""Commits as the files tell them: the note beside each batch of index rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xxhash import xxh3_128

from stream.alert import RecordId, Stream
from stream.errors import Held


class Damaged(Held):
    """Bytes are not what was published; the message says which and how."""

    def __init__(self, what: str) -> None:
        super().__init__("segment_damaged", what)

    def __reduce__(self) -> tuple[type[Damaged], tuple[str]]:  # type: ignore[override]
        return type(self), (self.message,)


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """Offsets [start, end) of a partition: `records` messages that are kept, and `tombstones` without a value."""

    stream: int
    partition: int
    start: int
    end: int
    records: int
    tombstones: int


@dataclass(frozen=True, slots=True)
class Note:
    """What a commit said of itself in each of its index batches.

    Attributes
    ----------
    parts
        (segment, messages) of each of its parts.
    streams
        What the stream numbers in it stand for: cluster, topic, topic id.
    accepted
        Whether the ranges are gaps that an operator accepted.
    begins
        Where the ledger began: stream, partition, offset. Of an adoption, and of the first commit of a partition in
        each segment.
    retired
        Ranges of which no packet stays: stream, partition, start, end.
    survey
        The survey's number; 0 where the note does not tell.
    start, end, digest
        Bytes of this data file that the part is, and their xxh3-128 (hex).
    rows
        Digest (hex) of the part's index rows.
    body
        What all parts of the commit say alike, as JSON.
    """

    commit: int
    daemon: str
    ranges: tuple[Range, ...]
    parts: tuple[tuple[int, int], ...]
    redriven: tuple[RecordId, ...]
    reason: str
    accepted: bool
    begins: tuple[tuple[int, int, int], ...]
    retired: tuple[tuple[int, int, int, int], ...]
    survey: int
    streams: Mapping[int, Stream]
    survey_digest: str
    at: float
    start: int
    end: int
    digest: str
    rows: str
    body: str


_OWN = ("data", "rows", "note")


def read_note(text: bytes | str) -> Note:
    """Read a note as it stands in a batch's metadata; raises `Damaged`."""
    try:
        return parse_note(json.loads(text))
    except ValueError as error:
        raise Damaged(f"the note of a commit is no JSON: {error}") from error


def parse_note(told: Any) -> Note:
    """Read a note out of its JSON value, its own digest checked; raises `Damaged`."""
    try:
        rest = {key: value for key, value in told.items() if key != "note"}
        if xxh3_128(_compact(rest)).hexdigest() != told["note"]:
            raise Damaged(f"the note of commit {told.get('commit')} does not have its digest")
        shared = {key: value for key, value in rest.items() if key not in _OWN}
        return _note(rest, _compact(shared).decode())
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Damaged(f"the note of a commit is not one: {error!r}") from error


def shared_note(body: str) -> Note:
    """Read what all parts of a commit say alike (`Note.body`) again."""
    return _note({"data": [0, 0, ""], "rows": "", **json.loads(body)}, body)


def _note(told: Mapping[str, Any], body: str) -> Note:
    start, end, digest = told["data"]
    return Note(
        commit=int(told["commit"]),
        daemon=str(told.get("daemon", "")),
        ranges=tuple(Range(*map(int, one)) for one in told["ranges"]),
        parts=tuple((int(segment), int(messages)) for segment, messages in told["parts"]),
        redriven=tuple(RecordId(*map(int, one)) for one in told.get("redriven", ())),
        reason=str(told.get("reason") or ""),
        accepted=bool(told.get("accepted")),
        begins=tuple((int(s), int(p), int(o)) for s, p, o in told.get("begins", ())),
        retired=tuple((int(s), int(p), int(low), int(high)) for s, p, low, high in told.get("retired", ())),
        survey=int(told.get("survey") or 0),
        streams={int(number): Stream(*one) for number, one in told.get("streams", {}).items()},
        survey_digest=str(told.get("surveyDigest") or ""),
        at=float(told.get("at", 0.0)),
        start=int(start),
        end=int(end),
        digest=str(digest),
        rows=str(told["rows"]),
        body=body,
    )


def _compact(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
