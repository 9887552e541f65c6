"""`skyburst replay SOURCE…`: visits from files, stored nights or made ones, sent to Kafka and confirmed."""

from __future__ import annotations

import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click

from producers.acknowledged import Acknowledged
from producers.pace import BURST_S, VISIT_EVERY_S, parse_pace
from producers.receipts import Identity, Receipt, Receipts, Unacknowledged, default_state
from producers.replay import Outcome, Plan, Replay
from producers.watch import watch_for
from stream.cli.options import json_option, shared_options
from stream.cli.output import show_fields
from stream.clock import SystemClock
from stream.config import Settings, need_apart
from stream.errors import Wrong
from stream.transport.admin import Topics, TopicState
from stream.transport.kafka import STOCK_SEND, KafkaPublisher, SendLimits
from stream.transport.security import security_of

NO_SOURCE = ("source", "source_missing", "night_unknown", "unknown_model", "unknown_size", "bad_count")
"""Of a source that cannot give anything, so that there is nothing to go on with."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier try of this run left behind; nothing, for a new run."""

    receipt: Receipt
    failed: dict[int, Unacknowledged]
    reannounce: bool


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE…")
@click.option("--to", "to", metavar="TOPIC", help="Topic to send to; the setting topic if not given.")
@click.option("--pace", default="sky", show_default=True, help="sky, max, or a number of alerts a second.")
@click.option(
    "--visit-every", type=click.FloatRange(0.001), default=VISIT_EVERY_S, show_default=True, help="Seconds, for sky."
)
@click.option(
    "--burst", type=click.FloatRange(0), default=BURST_S, show_default=True, help="Seconds that a visit's alerts take."
)
@click.option("--visits-topic", default="visits", show_default=True, help="Topic for the announcements; empty: none.")
@click.option(
    "--state", type=click.Path(file_okay=False, path_type=Path), help="Folder that keeps what was acknowledged."
)
@click.option("--resume", is_flag=True, help="Go on with the last run of these sources: only what is not acknowledged.")
@click.option("--run", "run", metavar="ID", help="Id of the run; with --resume, which run.")
@click.option("--unread-limit", type=click.IntRange(1), metavar="BYTES", help="Of a partition; waits for the ledger.")
@click.option(
    "--compression",
    type=click.Choice(["none", "lz4", "zstd", "snappy", "gzip"]),
    default="none",
    show_default=True,
    help="Of the batches on their way and in the broker's log.",
)
@click.option(
    "--past-retention", is_flag=True, help="Send a stored night also where the topic keeps messages for a shorter time."
)
@json_option
@shared_options
def replay(
    settings: Settings,
    sources: tuple[str, ...],
    to: str | None,
    pace: str,
    visit_every: float,
    burst: float,
    visits_topic: str,
    state: Path | None,
    resume: bool,
    run: str | None,
    unread_limit: int | None,
    compression: str,
    past_retention: bool,
    as_json: bool,
) -> int:
    """Send visits to Kafka and confirm each message.

    A SOURCE is a .wire or .avro file with one message, a folder of them, a .tar.gz of a night (also .tar, .tar.bz2,
    .tar.xz, .tar.zst), alertdb:YYYYMMDD for a stored night, or synthetic:visits=2,alerts=10000,size=NAME,seed=1 for
    made ones. With a survey set, each visit is announced.

    Exit code 1 where anything was not acknowledged: `--resume` sends that, and what was not reached.
    """
    topic = to or _only(settings.need_topics())
    parsed = parse_pace(pace, visit_every, burst)
    announced_on = visits_topic if visits_topic and settings.survey else None
    need_apart(announced_on, [topic])
    receipts = Receipts(state or default_state())
    if resume:
        run = receipts.find(list(sources), topic, run).run
    run = run or f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"
    click.get_current_context().with_resource(receipts.hold(run))
    earlier = _earlier(receipts, list(sources), topic, run, resume)
    cluster = Topics(settings.need("bootstrap"), security_of(settings))
    cluster.need([topic, *([announced_on] if announced_on else [])])
    from producers.replay_means import headroom_for, means_of, survey_name
    from producers.retention import need_retention
    from producers.sources.identity import identities

    means, described = means_of(settings), cluster.describe(topic)
    earlier.receipt.same_topic((cluster.cluster(), described.topic_id))
    _same_sources(earlier.receipt, identities(sources, means), resume)
    if not past_retention:
        _say(need_retention(described, sources, means, time.time()))
    plan = Plan(earlier.receipt.run, topic, survey_name(settings), announced_on, parsed)
    done = Acknowledged(earlier.receipt.acknowledged)
    with headroom_for(settings, cluster, topic, unread_limit) as headroom, _told_to_stop() as stopping:
        limits = SendLimits(compression=compression, batch_bytes=_batch_bytes(described))
        publisher = KafkaPublisher(settings.need("bootstrap"), security_of(settings), limits=limits)
        clock = SystemClock()
        player = Replay(
            publisher,
            plan,
            done=done,
            expected=earlier.failed,
            reannounce=earlier.reannounce,
            headroom=headroom,
            watch=watch_for(sys.stderr, clock),
            save=lambda outcome: _save(receipts, earlier.receipt, done, outcome),
            stopping=stopping,
            clock=clock,
        )
        from producers.sources.opening import open_sources

        outcome = player.run(open_sources(sources, means))
    return _report(outcome, plan, receipts, as_json)


def _batch_bytes(topic: TopicState) -> int:
    # A batch beyond what the topic takes is refused whole, with the small records in it.
    largest = topic.settings.get("max.message.bytes", "")
    return min(STOCK_SEND.batch_bytes, int(largest)) if largest.isdigit() else STOCK_SEND.batch_bytes


def _only(topics: tuple[str, ...]) -> str:
    if len(topics) > 1:
        raise Wrong("topic", f"{len(topics)} topics are set", "say with --to which one to send to")
    return topics[0]


def _earlier(receipts: Receipts, sources: list[str], topic: str, run: str, resume: bool) -> Earlier:
    if not resume:
        receipts.open()
        receipts.need_new(run)
        return Earlier(Receipt(run, sources, topic, time.time()), {}, False)
    receipt = receipts.find(sources, topic, run)
    return Earlier(receipt, receipts.unacknowledged(receipt.run), not receipt.announced)


def _same_sources(receipt: Receipt, now: list[Identity], resume: bool) -> None:
    """Refuse to resume where a number means another message, and note by what the next one can tell."""
    if resume and not receipt.same(now):
        text = f"run {receipt.run} was begun by an earlier skyburst, which did not note what its sources held"
        _say(f"{text}; it goes on by number, as if they had not changed")
    receipt.identity = now


def _say(text: str | None) -> None:
    if text is not None:
        click.echo(f"skyburst: {text}", err=True)


def _save(receipts: Receipts, receipt: Receipt, done: Acknowledged, outcome: Outcome) -> None:
    receipt.taken = max(receipt.taken, outcome.tally.taken)
    receipt.acknowledged = done.ranges()
    receipt.complete = outcome.complete and outcome.ended
    receipt.announced = outcome.ended and outcome.ended_by is None and outcome.tally.unannounced == 0
    receipts.save(receipt, outcome.failed.values())


def _report(outcome: Outcome, plan: Plan, receipts: Receipts, as_json: bool) -> int:
    tally = outcome.tally
    fields = {
        "run": plan.run,
        "topic": plan.topic,
        "visits": tally.visits,
        "alerts": tally.taken,
        "acknowledged before": tally.skipped,
        "sent": tally.sent,
        "acknowledged": tally.acknowledged,
        "not acknowledged": tally.sent - tally.acknowledged,
        "announcements": tally.announced,
        "announcements not acknowledged": tally.unannounced,
        "bytes": tally.nbytes,
        "seconds": round(tally.ended - tally.begun, 3),
        "alerts/s": round(tally.rate, 1),
    }
    show_fields(fields, as_json=as_json)
    if outcome.complete:
        return 0
    code = outcome.ended_by.code if isinstance(outcome.ended_by, Wrong) else None
    if code != "output" and not (code in NO_SOURCE and not tally.taken):
        _say(f"not all is acknowledged; {receipts.folder} has the list, `--resume` sends the rest")
    if outcome.ended_by is not None:
        raise outcome.ended_by
    return 1


@contextmanager
def _told_to_stop() -> Iterator[Callable[[], bool]]:
    """SIGINT and SIGTERM end the run between two messages, and a second one at once."""
    signals: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        if len(signals) > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(signals)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
