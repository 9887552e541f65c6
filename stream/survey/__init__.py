"""Reads ``schemas/surveys/*.toml``: which packet field feeds which Level-1 column, for whole columns at a time."""

from __future__ import annotations

from stream.survey.file import Survey, load_survey
from stream.survey.target import FLAG_BITS, TARGETS, Target

__all__ = ["FLAG_BITS", "TARGETS", "Survey", "Target", "load_survey"]
