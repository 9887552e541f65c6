"""``skyburst alerts``: what do we know here? Level-1 rows by object, visit, place or time."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from stream.cli.moments import mjd_tai
from stream.cli.options import ID, json_option, shared_options
from stream.cli.output import printing, show, show_json, writing
from stream.cli.survey_name import survey_name
from stream.clock import SystemClock
from stream.config import Settings
from stream.errors import Wrong

if TYPE_CHECKING:
    from stream.level1 import Level1

Format = Literal["table", "csv", "parquet"]
COLUMNS = (
    "night", "diaSourceId", "diaObjectId", "objectName", "visit", "detector", "band", "midpointMjdTai", "ra", "dec",
    "psfFlux", "psfFluxErr", "snr", "reliability", "flags",
)  # fmt: skip
"""What a table shows; CSV, Parquet and JSON have every column of Level-1."""


class Cone(click.ParamType[tuple[float, float, float]]):
    """``RA,DEC,R`` in degrees."""

    name = "RA,DEC,R"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float, float]:
        if isinstance(value, tuple):
            return value
        parts = [part for part in re.split(r"[,\s]+", str(value).strip()) if part]
        try:
            ra, dec, radius = map(float, parts)
        except ValueError:
            self.fail(f"{value!r} is not RA,DEC,R in degrees, e.g. 150.1,2.2,0.01", param, ctx)
        return ra, dec, radius


@click.command()
@click.option(
    "--object",
    "thing",
    metavar="ID",
    help="An object, by diaObjectId or by its name (digits: by both), in order of time.",
)
@click.option("--visit", type=ID, help="A visit.")
@click.option("--detector", type=ID, help="With --visit: one detector of it.")
@click.option("--cone", type=Cone(), help="Around a position, degrees, nearest first.")
@click.option("--since", metavar="TIME", help="From a time on: MJD TAI, ISO 8601 (UTC), or an age such as 2h, 30m, 1d.")
@click.option("--until", metavar="TIME", help="With --since: before this time.")
@click.option("--limit", type=click.IntRange(1, 10**12), help="So many rows at most.")
@click.option(
    "--format", "form", type=click.Choice(["table", "csv", "parquet"]), default="table", show_default=True,
    help="csv and parquet have every column.",
)  # fmt: skip
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="File, for csv and parquet alone; stdout if not given."
)
@shared_options
@json_option
def alerts(
    thing: str | None,
    visit: int | None,
    detector: int | None,
    cone: tuple[float, float, float] | None,
    since: str | None,
    until: str | None,
    limit: int | None,
    form: Format,
    output: Path | None,
    settings: Settings,
    as_json: bool,
) -> None:
    """What we know of an object, a visit, a place or a time: rows of Level-1."""
    asked = [
        name
        for name, given in zip(("object", "visit", "cone", "since"), (thing, visit, cone, since))
        if given is not None
    ]
    if len(asked) != 1:
        raise click.UsageError("give one of --object, --visit, --cone, --since")
    if (detector is not None and visit is None) or (until is not None and since is None):
        raise click.UsageError("--detector goes with --visit, --until with --since")
    _must_fit(form, output, as_json)
    from stream.level1 import Level1

    survey = survey_name(settings) or settings.need("survey")
    with Level1(settings.need("level1"), survey) as level1:
        if thing is not None:
            rows = _object(level1, thing)
        elif visit is not None:
            rows = level1.by_visit(visit, detector)
        elif cone is not None:
            rows = level1.cone(*cone)
        else:
            rows = _times(level1, since or "", until, limit)
    _give(rows if limit is None else rows.slice(0, limit), form, output, as_json)


def _must_fit(form: Format, output: Path | None, as_json: bool) -> None:
    if as_json and form != "table":
        raise click.UsageError(f"give --json or --format {form}, not both")
    if output is not None and (as_json or form == "table"):
        raise click.UsageError("--output goes with --format csv or parquet; send other output where you want it with >")


def _object(level1: Level1, thing: str) -> Any:
    """By name, and where it is a number by diaObjectId, too: a survey may make its names of numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    named = level1.by_object(thing)
    if not re.fullmatch(r"-?\d+", thing) or (len(named) and not _fits(int(thing))):
        return named
    number = ID(thing)
    others = named.filter(pc.fill_null(pc.not_equal(named["diaObjectId"], number), True))
    return pa.concat_tables([level1.by_object(number), others]).sort_by("midpointMjdTai")


def _fits(number: int) -> bool:
    return -(1 << 63) <= number < 1 << 63


def _times(level1: Level1, since: str, until: str | None, limit: int | None) -> Any:
    now = SystemClock().now()
    start = mjd_tai(since, now)
    return level1.since(start, limit) if until is None else level1.between(start, mjd_tai(until, now), limit)


def _give(rows: Any, form: Format, output: Path | None, as_json: bool) -> None:
    if as_json:
        show_json(_readable(rows).to_pylist())
    elif form == "table":
        some = [name for name in COLUMNS if name in rows.column_names and rows[name].null_count < max(1, len(rows))]
        show(rows.select(some).to_pylist(), columns=some, as_json=False)
    elif form == "csv":
        from pyarrow import csv

        _write(output, "csv", lambda sink: csv.write_csv(_readable(rows), sink))
    else:
        from pyarrow import parquet

        _write(output, "parquet", lambda sink: parquet.write_table(rows, sink, compression="zstd"))


def _readable(rows: Any) -> Any:
    """Digests as hexadecimal text."""
    import pyarrow as pa

    for number, field in enumerate(rows.schema):
        if pa.types.is_fixed_size_binary(field.type):
            text = [None if value is None else value.hex() for value in rows.column(number).to_pylist()]
            rows = rows.set_column(number, field.name, pa.array(text, pa.string()))
    return rows


def _write(output: Path | None, form: str, write: Callable[[Any], None]) -> None:
    if output is not None:
        with writing(output):
            output.parent.mkdir(parents=True, exist_ok=True)
            write(str(output))
        return
    if form == "parquet" and sys.stdout.isatty():
        raise Wrong("output", "a terminal cannot show Parquet", "give a file with --output, or use a pipe")
    with printing():
        write(sys.stdout.buffer)
        sys.stdout.buffer.flush()
