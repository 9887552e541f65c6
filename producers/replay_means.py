"""What a replay needs beside its sources, made from the settings: attribution, stored nights, holding back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from producers.headroom import Headroom
from producers.ledger_gate import LedgerGate
from producers.sources.attribution import attribution_by
from producers.sources.nights import StoredNights
from producers.sources.opening import Means
from stream.alertdb.store import open_store
from stream.codec.sources import open_schemas
from stream.config import Settings
from stream.survey import load_survey
from stream.transport.admin import Topics


def survey_name(settings: Settings) -> str | None:
    """The name of the survey that is set, as its file has it."""
    return None if settings.survey is None else load_survey(settings.survey).name


def means_of(settings: Settings) -> Means:
    """What the sources get."""
    schemas = settings.value("schemas")
    if settings.survey is None:
        return Means(schemas)
    survey = load_survey(settings.survey)
    attribution = attribution_by(survey, open_schemas(schemas))
    level1, alertdb = settings.value("level1"), settings.value("alertdb")
    if level1 is None or alertdb is None:
        return Means(schemas, attribution, survey.digest)
    return Means(schemas, attribution, survey.digest, lambda: StoredNights(level1, open_store(alertdb), survey.name))


@contextmanager
def headroom_for(settings: Settings, cluster: Topics, topic: str, limit: int | None) -> Iterator[Headroom | None]:
    """Holds back by what the ledger says was taken; nothing where no limit is set."""
    if limit is None:
        yield None
        return
    with LedgerGate(settings.need("level1"), cluster.stream_of(topic)) as gate:
        yield Headroom(limit, cluster.describe(topic).partitions, gate)
