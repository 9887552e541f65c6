"""The checks of ``skyburst check``, in the order in which ingest needs what they look at."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from stream.cli.checks_level1 import level1_checks
from stream.cli.finding import Check, Finding
from stream.config import IngestSettings, Settings


def checks(settings: Settings) -> Iterator[tuple[str, str, Check]]:
    """Each check's name, the one that must have passed before it (empty: none), and the check."""
    ours = IngestSettings.load({}, config=settings.config)
    yield "survey", "", partial(_survey, settings)
    yield "schemas", "", partial(_schemas, settings)
    yield "kernel", "", partial(_kernel, ours)
    yield "broker", "", partial(_broker, settings)
    for topic in settings.topic or ("",):
        yield f"topic {topic}".rstrip(), "broker", partial(_topic, settings, ours, topic)
    yield from level1_checks(settings)
    yield "alertdb", "", partial(_alertdb, settings, ours)


def _survey(settings: Settings) -> Finding:
    from stream.survey import load_survey

    survey = load_survey(settings.need("survey"))
    return Finding("ok", f"{survey.name}, {len(survey.paths)} fields, digest {survey.digest[:12]}")


def _schemas(settings: Settings) -> Finding:
    from stream.codec.lookup import SchemaUnknown
    from stream.codec.sources import open_schemas

    named = settings.value("schemas") or "the shipped package"
    try:
        # No source has it: one that answers says so, one that is away or empty says that.
        open_schemas(settings.value("schemas")).get(2**31 - 1)
    except SchemaUnknown:
        return Finding("ok", f"{_shown(named)} answers and is not empty")
    return Finding("ok", f"{_shown(named)} answers")


def _shown(url: str) -> str:
    from stream.redact import redact

    return redact(url)


def _kernel(ours: IngestSettings) -> Finding:
    folder = ours.numba_cache or os.environ.get("NUMBA_CACHE_DIR")
    if folder is None:
        return Finding("ok", "the compiled kernel is kept where numba keeps it for this user")
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        advice = "give this user a writable numba_cache; without, every start compiles for many seconds"
        return Finding("fails", f"{path}: {error.strerror}", advice)
    return Finding("ok", f"the compiled kernel is kept in {path}")


def _broker(settings: Settings) -> Finding:
    from stream.transport.admin import Topics
    from stream.transport.security import security_of

    cluster = Topics(settings.need("bootstrap"), security_of(settings)).cluster()
    return Finding("ok", f"cluster {cluster}")


def _topic(settings: Settings, ours: IngestSettings, name: str) -> Finding:
    from stream.transport.admin import Topics, TopicWish
    from stream.transport.security import security_of

    settings.need_topics()
    ours.need_apart([name])
    state = Topics(settings.need("bootstrap"), security_of(settings)).describe(name)
    text = f"id {state.topic_id}, {state.partitions} partitions"
    largest = state.settings.get("max.message.bytes", "")
    if largest.isdigit() and int(largest) > ours.max_packet_bytes:
        advice = "raise max_packet_bytes above the topic's max.message.bytes: larger messages go to quarantine"
        return Finding(
            "fails", f"{text}; messages of {largest} bytes may come, {ours.max_packet_bytes} are taken", advice
        )
    differs = state.differs(TopicWish(name, 1, 1))
    if differs:
        told = "; ".join(f"{setting} is {is_}, wanted {wanted}" for setting, (is_, wanted) in differs.items())
        return Finding("warn", f"{text}; {told}", "see `skyburst topics describe`")
    return Finding("ok", text)


def _alertdb(settings: Settings, ours: IngestSettings) -> Finding:
    """Begin a segment, sync it and remove it: what ingest does first."""
    from stream.alertdb import quarantine
    from stream.alertdb.header import SegmentHeader, SegmentKey
    from stream.alertdb.index import empty_batch
    from stream.alertdb.names import random_number
    from stream.alertdb.store import open_store
    from stream.commit.identity import version

    store = open_store(settings.need("alertdb"))
    # The year 1: no survey has a night in it, and sweeping takes what a killed check leaves.
    key = SegmentKey(0, "check", 10101, "", "quarantine")
    header = SegmentHeader(random_number(), key, None, None, quarantine.schema_text(), "", version(), "")
    segment = store.create(header)
    try:
        segment.append((), empty_batch(), {})
        segment.sync()
    finally:
        segment.close()
        store.remove(segment.ref.data_name)
        store.remove(segment.ref.index_name)
    free = store.free()
    if free is not None and free < ours.disk_reserve_bytes:
        text = f"{free} bytes are free, {ours.disk_reserve_bytes} are wanted"
        return Finding("fails", text, "retire old nights, take a larger disk, or lower disk_reserve_bytes")
    room = "" if free is None else f"; {free / (1 << 30):.1f} GiB free"
    return Finding("ok", f"a file was written, synced and removed{room}")
