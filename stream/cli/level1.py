"""`skyburst level1`: the tables themselves."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stream.cli.exits import DONE, NO
from stream.cli.options import NIGHT, json_option, shared_options, survey_file_option
from stream.cli.output import show_fields
from stream.config import IngestSettings, Settings
from stream.errors import Wrong

if TYPE_CHECKING:
    from stream.audit.rebuild import Rebuilt, Word


@click.group()
def level1() -> None:
    """Make, migrate, rebuild and retire the Level-1 tables."""


@level1.command()
@shared_options
@click.option("--from-night", type=NIGHT, help="First night to make partitions for, YYYYMMDD; default 60 days ago.")
@click.option("--upto-night", type=NIGHT, help="Last night to make partitions for, YYYYMMDD; default in a year.")
def migrate(settings: Settings, from_night: int | None, upto_night: int | None) -> None:
    """Make what is missing: all tables in an empty database, the steps to this version, partitions of 30 nights.

    Needs the migrate role on MariaDB. Safe to run again at any time.
    """
    from stream.tables.nights import day_of

    today = datetime.now(UTC).date()
    first = from_night or int((today - timedelta(days=60)).strftime("%Y%m%d"))
    last = upto_night or int((today + timedelta(days=365)).strftime("%Y%m%d"))
    if day_of(first) > day_of(last):
        raise Wrong("night", f"the night {first} is later than {last}", "give --from-night before --upto-night")
    asyncio.run(_migrate(settings.need("level1"), first, last))


async def _migrate(url: str, first: int, last: int) -> None:
    from stream.tables.engine import open_engine
    from stream.tables.migrate import migrate as bring_up

    engine = open_engine(url)
    try:
        done = await bring_up(engine, first, last)
    finally:
        await engine.dispose()
    before = "empty" if done.found is None else f"version {done.found}"
    click.echo(f"Level-1: {before}, now version {done.now.version}; partitions made: {len(done.partitions)}")


@level1.command()
@click.option(
    "--accept-gap",
    "gaps",
    nargs=4,
    type=click.IntRange(0),
    multiple=True,
    metavar="STREAM PARTITION START END",
    help="Give these offsets up for good and take what lies behind them; may be said more than once.",
)
@click.option("--reason", help="Why, with --accept-gap; `verify` shows it every time.")
@click.option(
    "--stop-at-gap",
    "stop",
    is_flag=True,
    help="Take nothing behind a gap: a daemon sweeps it, and ingests it from Kafka again.",
)
@survey_file_option
@click.option(
    "--other-survey",
    is_flag=True,
    help="Where the survey file that was used is not at hand, make values by another one of it, and record that.",
)
@click.option(
    "--columns",
    metavar="NAMES",
    help="Only fill these columns (comma-separated), added by a migration, in the tables that are there.",
)
@json_option
@shared_options
def rebuild(
    gaps: tuple[tuple[int, int, int, int], ...],
    reason: str | None,
    stop: bool,
    more: tuple[Path, ...],
    other_survey: bool,
    columns: str | None,
    as_json: bool,
    settings: Settings,
) -> int:
    """Make all tables again from the segments alone, into an empty database that `level1 migrate` has made.

    Stop every daemon first. Open segments are sealed by copying, and the database gets a new instance id, so that a
    daemon of the old one can publish nothing. Layout and survey files must be those that ingest had. What is not in
    the files: announcements of visits (they are read again from their topic), other sinks' places, heartbeats.
    Exit code 1 where files are damaged: what is intact is taken, and they are named.
    """
    from stream.audit.order import Gap
    from stream.audit.rebuild import Word
    from stream.tables.lock import only_daemon

    if columns is not None:
        names = tuple(name.strip() for name in columns.split(",") if name.strip())
        show_fields({"alerts": asyncio.run(_refill(settings, more, names))}, as_json=as_json)
        return DONE
    if gaps and not (reason or "").strip():
        raise Wrong("gap", "a gap needs a reason", "say with --reason why these offsets are given up")
    word = Word(tuple(Gap(*gap) for gap in gaps), reason or "", stop, other_survey)
    with only_daemon(settings.need("level1")):
        done = asyncio.run(_rebuild(settings, more, word))
    fields: dict[str, object] = {
        "segments": done.segments,
        "commits": done.commits,
        "alerts": done.alerts,
        "quarantined": done.quarantined,
        "leftOut": done.left_out,
        "torn": done.torn,
        "gaps": [[gap.stream, gap.partition, gap.start, gap.end] for gap in done.gaps],
        "begins": [[*place, low] for place, low in done.begins],
        "damaged": list(done.damaged),
        "instance": done.instance,
    }
    show_fields(fields, as_json=as_json)
    return NO if done.damaged else DONE


async def _refill(settings: Settings, more: tuple[Path, ...], columns: tuple[str, ...]) -> int:
    from stream.audit.files import open_files
    from stream.audit.refill import Refill
    from stream.cli.verify import survey_files
    from stream.sky import Layout
    from stream.tables.engine import open_engine

    ingest = IngestSettings.load(config=settings.config)
    engine = open_engine(settings.need("level1"))
    try:
        return await Refill(
            engine=engine,
            files=open_files(settings.need("alertdb")),
            survey_files=survey_files(settings, more),
            layout=Layout(ingest.stripes, ingest.sub_stripes, ingest.overlap_deg),
            columns=columns,
            say=lambda line: click.echo(f"skyburst: {line}", err=True),
        ).run()
    finally:
        await engine.dispose()


async def _rebuild(settings: Settings, more: tuple[Path, ...], word: Word) -> Rebuilt:
    from stream.alertdb.store import open_store
    from stream.audit.files import open_files
    from stream.audit.rebuild import Rebuild
    from stream.cli.verify import survey_files
    from stream.clock import SystemClock
    from stream.sky import Layout
    from stream.tables.engine import open_engine

    ingest = IngestSettings.load(config=settings.config)
    engine = open_engine(settings.need("level1"))
    alertdb = settings.need("alertdb")
    try:
        return await Rebuild(
            engine=engine,
            store=open_store(alertdb),
            files=open_files(alertdb),
            clock=SystemClock(),
            survey_files=survey_files(settings, more),
            layout=Layout(ingest.stripes, ingest.sub_stripes, ingest.overlap_deg),
            word=word,
            say=lambda line: click.echo(f"skyburst: {line}", err=True),
        ).run()
    finally:
        await engine.dispose()


@level1.command()
@click.option("--before", required=True, type=NIGHT, metavar="NIGHT", help="The first night that stays, YYYYMMDD.")
@json_option
@shared_options
def retire(settings: Settings, before: int, as_json: bool) -> None:
    """Let go of packets and rows of the nights before NIGHT for good, in blocks of 30 nights.

    Needs the migrate role on MariaDB. What lies in quarantine stays. Cut off, call it again.
    """
    from stream.cli.ledger import publish
    from stream.commit.retire import retire_nights
    from stream.tables.nights import day_of

    day_of(before)
    done = asyncio.run(publish(settings, lambda committer, where: retire_nights(committer, where, before)))
    show_fields(
        {"before": done.before, "segments": done.segments, "bytes": done.bytes, "partitions": list(done.partitions)},
        as_json=as_json,
    )
