"""The name of the survey that a verb reads: the setting may also be a survey file's path."""

from __future__ import annotations

from stream.config import Settings


def survey_name(settings: Settings) -> str | None:
    """The survey's name as Level-1 has it, None where the setting is not given."""
    setting = settings.survey
    if setting is None or not ("/" in setting or setting.endswith(".toml")):
        return setting
    from stream.survey import load_survey

    return load_survey(setting).name
