"""``skyburst verify``: whether what is stored is what the commit protocol promises."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stream.cli.options import NIGHT, json_option, shared_options, survey_file_option
from stream.cli.output import show, show_json
from stream.config import IngestSettings, Settings

if TYPE_CHECKING:
    from stream.audit.report import Report
    from stream.audit.verify import Stores
    from stream.survey import Survey


@click.command()
@click.argument("night", type=NIGHT, required=False, metavar="[NIGHT]")
@click.option("--offline", is_flag=True, help="Leave the broker out: tiling and digests prove what they can.")
@survey_file_option
@json_option
@shared_options
def verify(night: int | None, offline: bool, more: tuple[Path, ...], as_json: bool, settings: Settings) -> int:
    """Prove the invariants on what is stored, of one NIGHT (YYYYMMDD) or of all; also while ingest runs.

    Reads segments, tables and what the broker still has. Ends with 1 where an invariant fails, and says what, where
    and what to do. With a NIGHT the broker is left out. Stripes and sub-stripes must be those that ingest had.
    """
    from stream.audit.verify import verify as judge
    from stream.tables.nights import day_of

    if night is not None:
        day_of(night)
    stores = _stores(settings, more, offline or night is not None)
    try:
        report = judge(stores, night)
    finally:
        stores.engine.dispose()
    if as_json:
        show_json(report.document())
    else:
        _print(report)
    return 0 if report.sound else 1


def _stores(settings: Settings, more: tuple[Path, ...], offline: bool) -> Stores:
    from stream.audit.broker import Broker
    from stream.audit.chunks import Chunks
    from stream.audit.files import open_files
    from stream.audit.verify import Stores
    from stream.clock import SystemClock
    from stream.tables.engine import open_reader
    from stream.transport.security import security_of

    connect = None
    if not offline:
        bootstrap, security = settings.need("bootstrap"), security_of(settings)
        connect = lambda streams: Broker(bootstrap, security, streams)  # noqa: E731
    files, ingest = open_files(settings.need("alertdb")), IngestSettings.load(config=settings.config)
    surveys, chunks = survey_files(settings, more), Chunks(ingest.stripes, ingest.sub_stripes)
    return Stores(open_reader(settings.need("level1")), files, connect, surveys, SystemClock(), chunks)


def survey_files(settings: Settings, more: tuple[Path, ...] = ()) -> dict[str, Survey]:
    """The survey files at hand by their digests, the strongest last: shipped, that of the setting, and `more`."""
    from importlib.resources import files

    from stream.survey import load_survey

    shipped = (item.name for item in (files("schemas") / "surveys").iterdir())
    names = [name.removesuffix(".toml") for name in shipped if name.endswith(".toml")]
    given: list[str | Path] = [*sorted(names), *filter(None, [settings.survey]), *more]
    found: dict[str, Survey] = {}
    for survey in map(load_survey, given):
        found.pop(survey.digest, None)
        found[survey.digest] = survey
    return found


def _print(report: Report) -> None:
    if report.empty:
        click.echo(f"nothing is stored of night {report.night}\n")
    show(report.invariants(), columns=("invariant", "says", "verdict", "counted"), as_json=False, title="invariants")
    if report.partitions:
        columns = ("stream", "topic", "partition", "by digests", "with the broker", "compared", "gone", "lag")
        click.echo()
        show([each.row() for each in report.partitions], columns=columns, as_json=False, title="offsets")
    if report.gaps:
        named = ("stream", "kafkaPartition", "startOffset", "endOffset", "reason")
        click.echo()
        show(report.gaps, columns=named, as_json=False, title="accepted gaps")
    for finding in report.findings.kept:
        click.echo(
            f"\n{finding.invariant} {finding.code}: {finding.what}\n  where: {finding.where}\n  do: {finding.advice}"
        )
    for code, more in report.findings.more.items():
        click.echo(f"\nand {more} more of {code}")
