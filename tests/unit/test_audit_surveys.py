"""A rebuild makes values by the very survey file that was used, or by another one only where an operator says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from stream.audit.blocks import Head
from stream.audit.catalogue import Part
from stream.audit.found import FoundSegment, Gist, Lying
from stream.audit.headers import newest, survey_rows, surveys_of
from stream.audit.notes import shared_note
from stream.cli.verify import survey_files
from stream.config import Settings
from stream.errors import Held
from stream.survey import Survey, load_survey


def lying(*digests: str) -> Lying:
    """A store of one segment for each digest, all of the survey `lsst`."""
    segments = {}
    for number, digest in enumerate(digests, 1):
        told = {"commit": number, "ranges": [], "parts": [], "survey": 4, "at": float(number), "surveyDigest": digest}
        head = cast(Head, _Head("lsst", digest))
        gist = Gist()
        list(gist.of([Part(shared_note(json.dumps(told)), number, 0, 0, 0, True, 0, 0)]))
        segments[number] = FoundSegment(head, number, "", "", True, gist, number, 0, 0, None)
    return Lying(segments)


class _Head:
    def __init__(self, survey: str, survey_digest: str) -> None:
        self.survey, self.survey_digest = survey, survey_digest


@pytest.fixture
def edited() -> Survey:
    shipped = load_survey("lsst")
    return replace(shipped, text=shipped.text + "\n# another version\n")


def by_digest(*surveys: Survey) -> dict[str, Survey]:
    return {survey.digest: survey for survey in surveys}


def test_a_file_that_is_not_the_one_that_was_used_is_refused(edited: Survey) -> None:
    shipped = load_survey("lsst")
    store = lying(shipped.digest, edited.digest)
    with pytest.raises(Held) as raised:
        surveys_of(store, by_digest(edited), other=False)
    assert raised.value.code == "rebuild_survey" and shipped.digest in raised.value.message
    both = surveys_of(store, by_digest(shipped, edited), other=False)
    assert [both.file("lsst", one.digest) for one in (shipped, edited)] == [shipped, edited]
    assert survey_rows(store, both) == [{"survey": 4, "name": "lsst", "digest": edited.digest}]


def test_another_file_stands_for_it_on_a_word_and_its_digest_is_recorded(edited: Survey) -> None:
    shipped = load_survey("lsst")
    surveys = surveys_of(lying(shipped.digest), by_digest(load_survey("ztf"), edited), other=True)
    assert surveys.file("lsst", shipped.digest) == edited
    assert survey_rows(lying(shipped.digest), surveys)[0]["digest"] == edited.digest
    with pytest.raises(Held):
        surveys_of(lying(shipped.digest), by_digest(load_survey("ztf")), other=True)


def test_any_number_of_survey_files_may_be_given_and_the_last_is_the_strongest(edited: Survey, tmp_path: Path) -> None:
    path, other = tmp_path / "edited.toml", tmp_path / "other.toml"
    path.write_text(edited.text)
    other.write_text(edited.text.replace('name = "lsst"', 'name = "other"'))
    found: dict[str, Any] = survey_files(Settings.load({"survey": str(other)}), (path,))
    assert {survey.name for survey in found.values()} == {"lsst", "ztf", "other"}
    assert found[load_survey("lsst").digest] == load_survey("lsst")
    assert newest(found, "lsst") == edited
