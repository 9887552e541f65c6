"""``skyburst quarantine``: packets that could not be taken, whole; taken after a fix."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from stream.cli.exits import line
from stream.cli.options import ID, NIGHT, json_option, shared_options
from stream.cli.output import show, show_fields, writing
from stream.cli.survey_name import survey_name
from stream.config import Settings
from stream.errors import SkyburstError, Wrong

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from consumers.ingest.again import Came
    from stream.alert import RecordId
    from stream.commit.held import Row

_COLUMNS = ("record", "state", "code", "night", "visit", "detector", "diaSourceId", "bytes", "schemaId", "reason")


@click.group()
def quarantine() -> None:
    """Packets that could not be taken: whole, with the reason; re-driven after a fix."""


@quarantine.command("list")
@click.option("--code", help="Of this code alone.")
@click.option("--visit", type=ID, help="Of this visit alone.")
@click.option("--night", type=NIGHT, metavar="YYYYMMDD", help="Of this night alone.")
@click.option(
    "--state",
    type=click.Choice(["held", "redriven", "all"]),
    default="held",
    show_default=True,
    help="held: nobody has taken it yet.",
)
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="Records at most.")
@json_option
@shared_options
def list_(
    settings: Settings,
    code: str | None,
    visit: int | None,
    night: int | None,
    state: Literal["held", "redriven", "all"],
    limit: int,
    as_json: bool,
) -> None:
    """The records in quarantine, by stream, partition and offset."""
    from stream.tables.nights import day_of

    if night is not None:
        day_of(night)
    rows = asyncio.run(_listed(settings, code, visit, night, state, limit))
    show(rows[:limit], columns=_COLUMNS, as_json=as_json, title="quarantine")
    if len(rows) > limit:
        click.echo(f"skyburst: there are more than {limit}; --limit shows more", err=True)


@quarantine.command("show")
@click.argument("record", metavar="RECORD")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the whole message's bytes here.")
@json_option
@shared_options
def show_(settings: Settings, record: str, out: Path | None, as_json: bool) -> None:
    """One RECORD (STREAM:PARTITION:OFFSET): where it came from, why it was refused, its key, headers and bytes.

    Headers are pairs of name and value, in their order. A key or value that is no printable UTF-8 is {"hex": bytes}.
    """
    fields, value = asyncio.run(_shown(settings, record))
    if out is not None:
        with writing(out):
            out.write_bytes(value)
    show_fields(fields if out is None else fields | {"written": str(out)}, as_json=as_json)


@quarantine.command()
@click.argument("records", metavar="[RECORD]...", nargs=-1)
@click.option("--code", help="All that are held with this code.")
@click.option("--all", "everything", is_flag=True, help="All that are held.")
@json_option
@shared_options
def redrive(settings: Settings, records: tuple[str, ...], code: str | None, everything: bool, as_json: bool) -> int:
    """Take held records again: each that can be read now gets its place in the AlertDB and its row, once.

    Beside running daemons, too. Ends with 1 where one of them stays, and says why; or where a RECORD
    (STREAM:PARTITION:OFFSET) is not held, which is named on stderr. The others are taken all the same.
    """
    if sum(map(bool, (records, code, everything))) != 1:
        raise Wrong("record", "say what to re-drive", "give records, or --code, or --all")
    came, unknown = asyncio.run(_redriven(settings, records, code))
    for error in unknown:
        click.echo(line(error), err=True)
    fields = {"taken": came.taken, "new": came.new, "repeated": came.repeated, "conflicts": came.conflicts}
    stays = [
        {
            "record": f"{s.record.stream}:{s.record.partition}:{s.record.offset}",
            "code": s.code,
            "reason": s.reason,
        }
        for s in came.stays
    ]
    show_fields({**fields, "stays": stays if as_json else len(stays)}, as_json=as_json)
    if stays and not as_json:
        click.echo()
        show(stays, columns=("record", "code", "reason"), as_json=False, title="stays in quarantine")
    return 1 if stays or unknown or not came.taken else 0


@quarantine.command()
@click.argument("count", metavar="N", type=click.IntRange(1, 1_000_000_000))
@shared_options
def allow(settings: Settings, count: int) -> None:
    """Let N more bad packets pass; daemons that stopped polling for too many go on within a second."""
    total = asyncio.run(_allowed(settings, count))
    click.echo(f"{count} more records may go to quarantine; allowed beyond the daemons' own limit so far: {total}")


async def _listed(
    settings: Settings, code: str | None, visit: int | None, night: int | None, state: str, limit: int
) -> list[dict[str, object]]:
    from stream.commit.held import Selection, quarantined, record_of, record_text
    from stream.commit.identity import known_survey
    from stream.tables.engine import open_engine
    from stream.tables.trouble import translated

    engine = open_engine(settings.need("level1"), readonly=True)
    found: list[dict[str, object]] = []
    try:
        with translated():
            survey = await known_survey(engine, survey_name(settings))
            held: Literal["held", "redriven"] | None = None if state == "all" else state  # type: ignore[assignment]
            wanted = Selection(survey, code=code, visit=visit, night=night, state=held)
            after = None
            while len(found) <= limit:
                rows = await quarantined(engine, wanted, after, min(1000, limit + 1 - len(found)))
                if not rows:
                    break
                after = record_of(rows[-1])
                found += [{"record": record_text(row)} | _plain(dict(row._mapping)) for row in rows]
    finally:
        await engine.dispose()
    return found


def _plain(row: dict[str, object]) -> dict[str, object]:
    return row | {name: value.hex() for name, value in row.items() if isinstance(value, bytes)}


async def _shown(settings: Settings, record: str) -> tuple[dict[str, object], bytes]:
    from stream.alertdb.store import open_store
    from stream.commit.held import Selection, fetch, parse_record, quarantined
    from stream.commit.identity import known_survey
    from stream.tables.engine import open_engine
    from stream.tables.trouble import translated

    wanted = parse_record(record)
    engine = open_engine(settings.need("level1"), readonly=True)
    try:
        with translated():
            survey = await known_survey(engine, survey_name(settings))
            rows = await quarantined(engine, Selection(survey, records=(wanted,)), None)
            if not rows:
                raise _unknown(record)
            (message,) = await fetch(engine, open_store(settings.need("alertdb")), rows)
    finally:
        await engine.dispose()
    fields = {"record": record} | _plain(dict(rows[0]._mapping))
    fields |= {
        "cluster": message.source.cluster,
        "topic": message.source.topic,
        "topicId": message.source.topic_id,
        "key": _readable(message.key),
        "headers": [[name, _readable(value)] for name, value in message.headers],
        "begins": message.value[:32].hex(" "),
    }
    return fields, message.value


def _readable(value: bytes | None) -> str | dict[str, str] | None:
    """Printable UTF-8 as text, and other bytes marked, so that nobody takes their digits for text."""
    if value is None:
        return None
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return {"hex": value.hex()}
    return text if text.isprintable() else {"hex": value.hex()}


async def _redriven(settings: Settings, records: tuple[str, ...], code: str | None) -> tuple[Came, list[SkyburstError]]:
    """What came of it, and an error for each of `records` that is not held."""
    from concurrent.futures import ThreadPoolExecutor

    from consumers.ingest.again import Redriver
    from consumers.ingest.place import Placer
    from stream.alertdb.store import open_store
    from stream.clock import SystemClock
    from stream.codec.decoder import Decoder
    from stream.codec.sources import open_schemas
    from stream.commit.held import Selection, parse_record
    from stream.commit.identity import survey_number
    from stream.commit.publishing import publishing
    from stream.config import IngestSettings
    from stream.sky import Layout
    from stream.survey import load_survey
    from stream.tables.engine import open_engine
    from stream.tables.trouble import translated

    ours = IngestSettings.load({}, config=settings.config)
    survey = load_survey(settings.need("survey"))
    wanted = tuple(parse_record(text) for text in records) or None
    store = open_store(settings.need("alertdb"))
    schemas = open_schemas(settings.value("schemas"), cache=settings.kept_schemas())
    decoder = Decoder(schemas, survey.paths, max_packet=ours.max_packet_bytes)
    engine = open_engine(settings.need("level1"))
    try:
        async with publishing(engine, store, SystemClock(), _say) as committer:
            with translated():
                number = await survey_number(engine, survey.name, survey.digest, committer.daemon.instance)
            placer = Placer(survey, number, Layout(ours.stripes, ours.sub_stripes, ours.overlap_deg))
            with ThreadPoolExecutor(ours.compress_threads, "compress") as pool:
                redriver = Redriver(committer, store, decoder, placer, pool)
                unknown = await _not_held(engine, number, wanted or ())
                return await redriver.redrive(Selection(number, records=wanted, code=code, state="held")), unknown
    finally:
        await engine.dispose()


async def _not_held(engine: AsyncEngine, survey: int, wanted: tuple[RecordId, ...]) -> list[SkyburstError]:
    from stream.commit.held import Selection, quarantined, record_of
    from stream.tables.trouble import translated

    with translated():
        rows = await quarantined(engine, Selection(survey, records=wanted), None, len(wanted)) if wanted else []
    found = {record_of(row): row for row in rows}
    return [
        _unknown(f"{record.stream}:{record.partition}:{record.offset}", found.get(record))
        for record in dict.fromkeys(wanted)
        if record not in found or found[record].state != "held"
    ]


def _unknown(record: str, row: Row | None = None) -> SkyburstError:
    where = "is not in quarantine" if row is None else f"is held no more: commit {row.redriveCommit} took it"
    return SkyburstError("record_unknown", f"{record} {where}", "see `skyburst quarantine list`")


def _say(text: str) -> None:
    click.echo(f"skyburst: {text}", err=True)


async def _allowed(settings: Settings, count: int) -> int:
    from stream.commit.held import allow as allow_more
    from stream.commit.identity import known_survey
    from stream.tables.engine import open_engine
    from stream.tables.trouble import translated

    engine = open_engine(settings.need("level1"))
    try:
        with translated():
            return await allow_more(engine, await known_survey(engine, survey_name(settings)), count)
    finally:
        await engine.dispose()
