"""Surveys, streams and segments as the headers and notes of the files name them: rows for a rebuild."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stream.alert import Stream
from stream.alertdb.segment import Sealed
from stream.audit.files import Files, digest_of
from stream.audit.found import FoundSegment, Lying
from stream.commit.segments import sealed_values
from stream.errors import Held
from stream.survey import Survey

Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class Surveys:
    """The surveys of a store, and the files by which their values are made.

    Attributes
    ----------
    numbers
        By name, as the commits tell them.
    files
        Those at hand, by digest, the strongest of a name last.
    other
        Whether a file of the same name may stand for one that is not at hand.
    """

    numbers: Mapping[str, int]
    files: Mapping[str, Survey]
    other: bool = False

    def file(self, name: str, digest: str) -> Survey:
        """The survey file that was used, or the one that stands for it.

        Raises
        ------
        Held
            ``rebuild_survey``: there is none.
        """
        found = self.files.get(digest)
        if found is not None and found.name == name:
            return found
        if self.other:
            return newest(self.files, name)
        advice = "give the one that was used with --survey-file, or say --other-survey to make values by another one"
        raise Held("rebuild_survey", f"there is no survey file for {name} with the digest {digest}", advice)


def newest(survey_files: Mapping[str, Survey], name: str) -> Survey:
    """Of the survey files at hand the strongest of a name; raises Held ``rebuild_survey``."""
    if mine := [survey for survey in survey_files.values() if survey.name == name]:
        return mine[-1]
    raise Held("rebuild_survey", f"there is no survey file for {name}", "give it with --survey-file")


def surveys_of(lying: Lying, survey_files: Mapping[str, Survey], other: bool) -> Surveys:
    """The surveys of all segments; raises as `Surveys.file`."""
    found = sorted(lying.segments.values(), key=lambda found: found.head.survey)
    surveys = Surveys({f.head.survey: f.gist.survey for f in found if f.gist.batches}, survey_files, other)
    for each in found:
        for digest in {digest or each.head.survey_digest for digest in each.gist.survey_digests}:
            surveys.file(each.head.survey, digest)
    return surveys


def survey_rows(lying: Lying, surveys: Surveys) -> list[Row]:
    """Rows of ``surveys``, each with the digest of the file that was used last."""
    last: dict[str, tuple[float, str]] = {}
    for found in lying.segments.values():
        if found.gist.batches:
            told = (found.gist.at, found.gist.survey_digest or found.head.survey_digest)
            last[found.head.survey] = max(told, last.get(found.head.survey, told))
    return [
        {"survey": number, "name": name, "digest": surveys.file(name, last[name][1]).digest}
        for name, number in surveys.numbers.items()
    ]


def stream_rows(lying: Lying) -> list[Row]:
    """Rows of ``streams``."""
    known: dict[int, Stream] = {}
    for found in lying.segments.values():
        if found.head.topic is not None:
            known[found.head.stream] = Stream(*found.head.topic)
        known |= found.gist.streams
    return [
        {"stream": number, "cluster": one.cluster, "topic": one.topic, "topicId": one.topic_id}
        for number, one in sorted(known.items())
    ]


def segment_rows(
    lying: Lying, surveys: Surveys, sealed: Mapping[int, Sealed], messages: Mapping[int, int]
) -> list[Row]:
    """Rows of ``segments``: for each of `sealed`, for the numbers of copies, and for retired segments."""
    rows: list[Row] = []
    for number, files in sealed.items():
        found = lying.segments[number]
        row = _row(found, surveys.numbers[found.head.survey]) | sealed_values(files)
        rows.append(row | {"segment": number, "records": messages.get(number, 0)})
        if files.number != number:
            rows.append(row | {"segment": files.number, "state": "copy", "copyOf": number, "records": 0})
    return rows + [_retired(number) for number in sorted(lying.retired - sealed.keys())]


def as_it_is(found: FoundSegment, files: Files) -> Sealed:
    """The files of a segment that was sealed when it was found."""
    data, index = files.open(found.data_name), files.open(found.index_name)
    try:
        return Sealed(
            number=found.file_number,
            data_name=found.data_name,
            index_name=found.index_name,
            data_length=found.data_size,
            index_length=found.index_size,
            records=0,
            digest=found.digest or digest_of(data, found.data_size),
            index_digest=digest_of(index, found.index_size),
        )
    finally:
        data.close()
        index.close()


def _row(found: FoundSegment, survey: int) -> Row:
    head = found.head
    return {
        "stream": head.stream,
        "survey": survey,
        "night": head.night,
        "kind": head.kind,
        "fingerprint": head.fingerprint,
        "schemaId": head.schema_id,
        "owner": found.gist.owner,
        "heartbeat": found.gist.at,
        "copyOf": None,
    }


def _retired(number: int) -> Row:
    unknown = ("stream", "survey", "night", "kind", "fingerprint", "schemaId", "dataName", "indexName")
    nothing: Row = dict.fromkeys((*unknown, "digest", "indexDigest", "copyOf"))
    zeros: Row = dict.fromkeys(("dataLength", "indexLength", "records", "heartbeat"), 0)
    return {**nothing, **zeros, "segment": number, "state": "retired", "owner": ""}
