"""``skyburst ledger``: the place in each partition, and an operator's word where the log cannot go on from it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import click

from stream.cli.options import json_option, shared_options
from stream.cli.output import show, show_fields, show_json
from stream.config import Settings
from stream.errors import SkyburstError

if TYPE_CHECKING:
    from stream.alert import Stream
    from stream.commit.committer import Committer
    from stream.commit.gap import Adopted, Where

T = TypeVar("T")
_LARGEST = (1 << 31) - 1
_NUMBER, _OFFSET = click.IntRange(0, _LARGEST), click.IntRange(0, (1 << 63) - 1)
_GAPS = ("stream", "kafkaPartition", "startOffset", "endOffset", "reason")


@click.group()
def ledger() -> None:
    """The next offset of each partition; accepting gaps, adopting topics that were made again."""


@ledger.command("show")
@json_option
@shared_options
def show_(settings: Settings, as_json: bool) -> int:
    """Where each partition stands, beside the broker's log, and the gaps that were accepted.

    Ends with 1 where a partition waits for an operator; works without a broker, and says so.
    """
    from stream.cli.standing import COLUMNS, Places, asked, gaps
    from stream.tables.engine import open_reader
    from stream.transport.admin import Topics
    from stream.transport.security import security_of

    engine = open_reader(settings.need("level1"))
    try:
        topics = Topics(settings.need("bootstrap"), security_of(settings)) if settings.bootstrap else None
        found, away = asked(Places.read(engine), topics, settings.topic)
        accepted = gaps(engine)
    finally:
        engine.dispose()
    rows = [each.row() for each in found]
    if as_json:
        show_json({"partitions": rows, "acceptedGaps": accepted, "broker": away or "answers"})
    else:
        show(rows, columns=COLUMNS, as_json=False, title="ledger")
        if accepted:
            click.echo()
            show(accepted, columns=_GAPS, as_json=False, title="accepted gaps")
        if away:
            click.echo(f"skyburst: the log was not looked at: {away}", err=True)
    return 1 if any(each.trouble for each in found) else 0


@ledger.command("accept-gap")
@click.argument("stream", type=_NUMBER)
@click.argument("partition", type=_NUMBER)
@click.argument("start", type=_OFFSET)
@click.argument("end", type=_OFFSET)
@click.option("--reason", required=True, help="Why these offsets are given up; `verify` shows it every time.")
@click.option("--unchecked", is_flag=True, help="Do not ask the broker whether its log reaches to END.")
@shared_options
def accept_gap(
    settings: Settings, stream: int, partition: int, start: int, end: int, reason: str, unchecked: bool
) -> None:
    """Give up the offsets START to END (END is the next that is wanted) of PARTITION of STREAM, for good.

    Only where the ledger stands at START, and not beyond the end of the broker's log: what comes there later would be
    left out, too. Where the topic is gone or was made again, the old stream has no log to look at. Running daemons go
    on by themselves.
    """
    from stream.commit.batch import OffsetRange
    from stream.commit.gap import accept_gap as accept

    gap = OffsetRange(stream, partition, start, end, 0)
    log_end = None if unchecked else partial(_log_end, settings)
    commit = asyncio.run(publish(settings, lambda committer, where: accept(committer, where, gap, reason, log_end)))
    click.echo(f"stream {stream}, partition {partition}: [{start}, {end}) is an accepted gap (commit {commit})")


async def _log_end(settings: Settings, stream: Stream, partition: int) -> int | None:
    """Where the broker's log of a partition of `stream` ends; None where the stream's topic is gone."""
    try:
        return await asyncio.to_thread(_asked_end, settings, stream, partition)
    except SkyburstError as error:
        if error.code == "topic_gone":
            return None
        error.advice = "; ".join(filter(None, (error.advice, "--unchecked does not ask the broker")))
        raise


def _asked_end(settings: Settings, stream: Stream, partition: int) -> int | None:
    from stream.commit.identity import told_id
    from stream.transport.admin import Topics
    from stream.transport.security import security_of

    topics = Topics(settings.need("bootstrap"), security_of(settings))
    cluster = topics.cluster()
    if cluster != stream.cluster:
        raise SkyburstError("other_cluster", f"the broker is of cluster {cluster}, the stream of {stream.cluster}")
    told = topics.describe(stream.topic)
    if told.topic_id != told_id(stream):
        return None
    # A partition that the broker does not have has no record.
    return topics.offsets(stream.topic, told.partitions).get(partition, (0, 0))[1]


@ledger.command()
@click.argument("stream", metavar="STREAM")
@click.option("--at", type=_OFFSET, help="Begin at this offset; the log's start if not given.")
@click.option(
    "--ahead",
    type=_NUMBER,
    multiple=True,
    metavar="PARTITION",
    help="A partition whose log grew past a ledger that lay ahead before a daemon saw it; name each of them.",
)
@click.option(
    "--visits-topic", help="Topic with the announcements, where a flag tells it to the daemons; never adopted."
)
@json_option
@shared_options
def adopt(
    settings: Settings, stream: str, at: int | None, ahead: tuple[int, ...], visits_topic: str | None, as_json: bool
) -> None:
    """Go on with the topic of STREAM (a number, or the topic's name) as it is at the broker now.

    For a topic that was made again, and for a log that ends before the ledger (a broker restored from an older
    state). What is kept stays; nothing of the new log is left out, unless --at says so. Only a topic whose alerts the
    ledger has, or that the setting topic names.
    """
    from stream.commit.gap import adopt as take
    from stream.config import IngestSettings
    from stream.transport.admin import Topics
    from stream.transport.security import security_of

    ours = IngestSettings.load({"visits_topic": visits_topic}, config=settings.config)
    topics = Topics(settings.need("bootstrap"), security_of(settings))

    async def adopted(committer: Committer, where: Where) -> Adopted:
        topic = await _topic(committer, stream)
        ours.need_apart([topic])
        await _need_alerts(committer, topic, settings.topic)
        told = await asyncio.to_thread(topics.stream_of, topic)
        count = (await asyncio.to_thread(topics.describe, topic)).partitions
        bounds = await asyncio.to_thread(topics.offsets, topic, count)
        return await take(committer, where, told, bounds, at, ahead)

    done = asyncio.run(publish(settings, adopted))
    show_fields(
        {
            "stream": done.number,
            "topic": done.stream.topic,
            "topicId": done.stream.topic_id,
            "begins": {str(begin.partition): begin.next for begin in done.begins},
            "closed": [[r.stream, r.partition, r.start, r.end] for r in done.closed],
        },
        as_json=as_json,
    )


async def _topic(committer: Committer, stream: str) -> str:
    from stream.commit.identity import streams_by_number

    if not stream.isdecimal():
        return stream
    wanted = [int(stream)] if int(stream) <= _LARGEST else []
    found: dict[int, Stream] = await streams_by_number(committer.engine, wanted)
    if int(stream) not in found:
        raise SkyburstError("stream_unknown", f"there is no stream {stream}", "see `skyburst ledger show`")
    return found[int(stream)].topic


async def _need_alerts(committer: Committer, topic: str, wanted: tuple[str, ...]) -> None:
    """Refuse a topic of which nobody has said that alerts are in it: no verb takes an adoption back."""
    from stream.commit.ledger import has_topic

    if topic in wanted or await has_topic(committer.engine, topic):
        return
    advice = "see `skyburst ledger show`; a topic that ingest is to begin belongs into the setting topic"
    raise SkyburstError("stream_unknown", f"the ledger has no alerts of a topic {topic}", advice)


async def publish(settings: Settings, work: Callable[[Committer, Where], Awaitable[T]]) -> T:
    """Do `work` with a committer of its own, and tell it in which segment the files are to say so."""
    from stream.alertdb.store import open_store
    from stream.clock import SystemClock
    from stream.commit.bare import night_at
    from stream.commit.gap import Where
    from stream.commit.identity import survey_number
    from stream.commit.publishing import publishing
    from stream.survey import load_survey
    from stream.tables.engine import open_engine
    from stream.tables.trouble import translated

    survey, clock = load_survey(settings.need("survey")), SystemClock()
    store = open_store(settings.need("alertdb"))
    engine = open_engine(settings.need("level1"))
    try:
        async with publishing(engine, store, clock, lambda text: click.echo(f"skyburst: {text}", err=True)) as one:
            with translated():
                number = await survey_number(engine, survey.name, survey.digest, one.daemon.instance)
                where = Where(number, survey.name, survey.digest, night_at(survey, clock.now()))
                return await work(one, where)
    finally:
        await engine.dispose()
